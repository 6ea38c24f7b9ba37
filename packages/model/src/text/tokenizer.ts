/**
 * Text to ids and back, over `@huggingface/tokenizers`. The one thing done here and not there: added tokens are found by
 * our own scan, so that the caller says for every piece of text whether control tokens in it count. What a user types is
 * never allowed to become a control token.
 */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { ConfigError, isJsonObject, type JsonObject } from '../config/json.js'

interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
}

/**
 * Which added tokens are recognised: `all` for text of a template; `text` for a model's answer, only those that are not
 * special (such as Qwen3's `<think>`); `none` for what a user wrote.
 */
export type AddedTokenMode = 'all' | 'text' | 'none'

/** A run of text with its origin. */
export interface TextRun {
  readonly text: string
  readonly addedTokens: AddedTokenMode
}

const matchers: Record<AddedTokenMode, (token: AddedToken) => boolean> = {
  all: () => true,
  text: (token) => !token.special,
  none: () => false,
}

export class Tokenizer {
  readonly #encoder: HuggingFaceTokenizer
  readonly #decoder: HuggingFaceTokenizer
  readonly #added: ReadonlyMap<string, AddedToken>
  readonly #patterns: Record<AddedTokenMode, RegExp | null>
  readonly #forbidden: Record<AddedTokenMode, ForbiddenTokens>
  /** The token unknown words become, if the model has one. */
  readonly unknownTokenId: number | undefined
  /** Ids that stand for a token. Rows of the embedding beyond them are padding. */
  readonly usedIds: ReadonlySet<number>

  /**
   * @param json parsed `tokenizer.json`.
   * @param config parsed `tokenizer_config.json`.
   */
  constructor(
    readonly json: JsonObject,
    readonly config: JsonObject,
  ) {
    const added = readAddedTokens(json)
    this.#added = new Map(added.map((token) => [token.content, token]))
    this.#encoder = new HuggingFaceTokenizer({ ...json, added_tokens: [] }, config)
    this.#decoder = new HuggingFaceTokenizer(json, config)
    const recognised = (mode: AddedTokenMode) => added.filter(matchers[mode]).map((token) => token.content)
    const others = (mode: AddedTokenMode) =>
      forbiddenTokens(added.filter((token) => !matchers[mode](token)).map((token) => token.content))
    this.#patterns = { all: alternatives(recognised('all')), text: alternatives(recognised('text')), none: null }
    this.#forbidden = { all: others('all'), text: others('text'), none: others('none') }
    this.usedIds = new Set(this.#decoder.get_vocab(true).values())
    const model = isJsonObject(json['model']) ? json['model'] : {}
    this.unknownTokenId = typeof model['unk_token'] === 'string' ? this.tokenToId(model['unk_token']) : undefined
  }

  /** Ids of a text. No tokens are put around it. */
  encode(text: string, addedTokens: AddedTokenMode): number[] {
    return this.encodeRuns([{ text, addedTokens }])
  }

  /**
   * Ids of runs laid end to end. Words that reach over the end of a run are split as in the joined text; only the
   * recognition of added tokens follows the runs.
   */
  encodeRuns(runs: readonly TextRun[]): number[] {
    const ids: number[] = []
    let plain = ''
    const flush = () => {
      if (plain !== '') ids.push(...this.#encoder.encode(plain, { add_special_tokens: false }).ids)
      plain = ''
    }
    for (const { text, addedTokens } of runs) {
      const pattern = this.#patterns[addedTokens]
      let start = 0
      for (const match of pattern ? text.matchAll(pattern) : []) {
        plain += text.slice(start, match.index)
        flush()
        ids.push((this.#added.get(match[0]) as AddedToken).id)
        start = match.index + match[0].length
      }
      plain += text.slice(start)
    }
    flush()
    return ids
  }

  /** Text of ids. Special tokens are left out; added tokens that are text (`<think>`) are kept. */
  decode(ids: readonly number[]): string {
    if (ids.length === 0) return ''
    return this.#decoder.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false })
  }

  tokenToId(token: string): number | undefined {
    return this.#decoder.token_to_id(token)
  }

  /** The string of an added token. */
  addedTokenText(id: number): string | undefined {
    return [...this.#added.values()].find((token) => token.id === id)?.content
  }

  /**
   * True when the text holds an added token that `allowed` would not recognise, or begins or ends with a piece of one, which
   * text next to it could make whole.
   */
  touchesAddedToken(text: string, allowed: AddedTokenMode): boolean {
    const { pattern, starts, ends, longest } = this.#forbidden[allowed]
    if (pattern === null) return false
    if (text.search(pattern) >= 0) return true
    for (let size = 1; size < Math.min(longest, text.length + 1); size++) {
      if (ends.has(text.slice(0, size)) || starts.has(text.slice(-size))) return true
    }
    return false
  }
}

/** Strings that would become tokens they may not be. */
interface ForbiddenTokens {
  readonly pattern: RegExp | null
  /** Proper beginnings and endings of the tokens. */
  readonly starts: ReadonlySet<string>
  readonly ends: ReadonlySet<string>
  readonly longest: number
}

function forbiddenTokens(contents: readonly string[]): ForbiddenTokens {
  const cuts = (cut: (content: string, size: number) => string) =>
    new Set(contents.flatMap((content) => Array.from({ length: content.length - 1 }, (_, k) => cut(content, k + 1))))
  return {
    pattern: alternatives(contents),
    starts: cuts((content, size) => content.slice(0, size)),
    ends: cuts((content, size) => content.slice(-size)),
    longest: contents.reduce((most, content) => Math.max(most, content.length), 0),
  }
}

/** Matches any of the strings, the longest first, so that no token hides a longer one. */
function alternatives(contents: readonly string[]): RegExp | null {
  const ordered = [...contents].sort((a, b) => b.length - a.length)
  return ordered.length > 0 ? new RegExp(ordered.map(escapeRegExp).join('|'), 'gu') : null
}

function readAddedTokens(json: JsonObject): AddedToken[] {
  const entries: unknown = json['added_tokens'] ?? []
  if (!Array.isArray(entries)) throw new ConfigError(`tokenizer.json: 'added_tokens' must be a list.`)
  return entries.map((entry: unknown) => {
    if (!isJsonObject(entry) || typeof entry['content'] !== 'string' || typeof entry['id'] !== 'number') {
      throw new ConfigError(`tokenizer.json: added token ${JSON.stringify(entry)} lacks 'content' or 'id'.`)
    }
    for (const flag of ['lstrip', 'rstrip', 'single_word'] as const) {
      if (entry[flag] === true) {
        throw new ConfigError(`tokenizer.json: added token '${entry['content']}' has ${flag}: true; allowed: false.`)
      }
    }
    return { id: entry['id'], content: entry['content'], special: entry['special'] === true }
  })
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
