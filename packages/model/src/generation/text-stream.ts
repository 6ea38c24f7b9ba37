/**
 * Tokens into text as they come. Two things are held back: characters whose bytes are not complete yet, and text that
 * may be the beginning of a stop string. What has been handed out never changes, and all of it together is the text of
 * all tokens, cut before the first stop string.
 *
 * A token's text may depend on its neighbours (bytes of one character, spaces between words), so each piece is the
 * difference of two decodings of a short window: the tokens of the last piece, with and without the new ones. The idea
 * is that of text-generation-inference and vLLM.
 */
import type { Tokenizer } from '../text/tokenizer.js'

/** What an incomplete or invalid byte sequence decodes to. */
const replacement = '\uFFFD'

/** Text a push has made final. */
export interface TextPiece {
  readonly text: string
  /** The stop string that has been found; nothing comes after it. */
  readonly stop: string | null
}

export class TextStream {
  readonly #ids: number[] = []
  /** The window: tokens from `#from` to `#read` have been turned into text. */
  #from = 0
  #read = 0
  #held = ''
  #decoded = 0

  constructor(
    private readonly tokenizer: Pick<Tokenizer, 'decode'>,
    private readonly stopStrings: readonly string[] = [],
  ) {}

  /** Characters decoded so far, held ones included. */
  get length(): number {
    return this.#decoded
  }

  /** Takes the next token. */
  push(id: number): TextPiece {
    this.#ids.push(id)
    const text = this.#newText()
    if (text === '' || text.endsWith(replacement)) return { text: '', stop: null }
    return this.#release(text)
  }

  /** Ends the stream: what was held back is final now. */
  end(): TextPiece {
    const piece = this.#release(this.#newText())
    if (piece.stop !== null) return piece
    const text = piece.text + this.#held
    this.#held = ''
    return { text, stop: null }
  }

  #newText(): string {
    const before = this.tokenizer.decode(this.#ids.slice(this.#from, this.#read))
    return this.tokenizer.decode(this.#ids.slice(this.#from)).slice(before.length)
  }

  #release(text: string): TextPiece {
    if (text !== '') {
      this.#from = this.#read
      this.#read = this.#ids.length
      this.#decoded += text.length
      this.#held += text
    }
    const found = this.#firstStop()
    const keep = found ? found.at : this.#held.length - this.#possibleStop()
    const released = this.#held.slice(0, keep)
    this.#held = found ? '' : this.#held.slice(keep)
    return { text: released, stop: found?.stop ?? null }
  }

  #firstStop(): { at: number; stop: string } | null {
    let first: { at: number; stop: string } | null = null
    for (const stop of this.stopStrings) {
      const at = this.#held.indexOf(stop)
      if (at >= 0 && (first === null || at < first.at)) first = { at, stop }
    }
    return first
  }

  /** Characters at the end that begin a stop string. */
  #possibleStop(): number {
    let most = 0
    for (const stop of this.stopStrings) {
      for (let size = Math.min(stop.length - 1, this.#held.length); size > most; size--) {
        if (stop.startsWith(this.#held.slice(-size))) most = size
      }
    }
    return most
  }
}
