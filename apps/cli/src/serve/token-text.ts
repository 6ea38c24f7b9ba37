/**
 * The text and the bytes of single tokens, for log-probs. A token of a byte-level vocabulary may be part of a character:
 * its bytes are exact, its text has U+FFFD where they are no text.
 */
import type { Tokenizer } from '@revisual/model'

export interface TokenText {
  readonly token: string
  readonly bytes: readonly number[]
}

/** GPT-2's map: printable bytes stand for themselves, the others for characters from U+0100 on. */
function byteOfCharacter(): ReadonlyMap<string, number> {
  const map = new Map<string, number>()
  let next = 0x100
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
    map.set(String.fromCodePoint(isPrintable ? byte : next++), byte)
  }
  return map
}

type Json = { readonly [key: string]: unknown }

const isRecord = (value: unknown): value is Json => typeof value === 'object' && value !== null

export class TokenTexts {
  readonly #pieces = new Map<number, string>()
  readonly #special = new Map<number, string>()
  readonly #bytes: ReadonlyMap<string, number> | null

  constructor(private readonly tokenizer: Tokenizer) {
    const { json } = tokenizer
    const added: unknown = json['added_tokens']
    for (const token of (Array.isArray(added) ? added : []) as Json[]) {
      this.#special.set(Number(token['id']), String(token['content']))
    }
    const isByteLevel = JSON.stringify(json['decoder'] ?? null).includes('"ByteLevel"')
    this.#bytes = isByteLevel ? byteOfCharacter() : null
    const vocabulary: unknown = isRecord(json['model']) ? json['model']['vocab'] : null
    if (isByteLevel && isRecord(vocabulary)) {
      for (const [piece, id] of Object.entries(vocabulary)) this.#pieces.set(Number(id), piece)
    }
  }

  of(id: number): TokenText {
    const special = this.#special.get(id)
    const piece = this.#pieces.get(id)
    if (special !== undefined || piece === undefined || !this.#bytes) {
      const token = special ?? this.tokenizer.decode([id])
      return { token, bytes: [...Buffer.from(token)] }
    }
    const bytes = Array.from(piece, (character) => this.#bytes?.get(character) ?? 0)
    return { token: Buffer.from(bytes).toString('utf8'), bytes }
  }
}
