/**
 * `language`: share of the letters of a completion that are in one script, after the language consistency reward of
 * DeepSeek-R1 (arXiv 2501.12948, section 2.3.2: the proportion of words in the target language). Scripts are what can be
 * told without a dictionary. Letters of formulas are Latin and Greek in every language, so LaTeX commands and single
 * letters do not count; a completion without words gives null.
 */
import type { RewardPlugin, RewardValue } from '@revisual/rl'
import { optionsSchema } from './schema.js'

const SCRIPTS = {
  Latin: /^\p{Script=Latin}/u,
  Han: /^\p{Script=Han}/u,
  Cyrillic: /^\p{Script=Cyrillic}/u,
  Arabic: /^\p{Script=Arabic}/u,
  Devanagari: /^\p{Script=Devanagari}/u,
  Hangul: /^\p{Script=Hangul}/u,
} as const
export type Script = keyof typeof SCRIPTS

export interface LanguageOptions {
  /** Script of the language asked for. Default `Latin`. */
  readonly script?: Script
}

/** Share of the words of two letters or more (in Han of every letter) in the script; null without any. */
export function languageShare(text: string, { script = 'Latin' }: LanguageOptions = {}): number | null {
  let [inside, all] = [0, 0]
  for (const [word] of text.replace(/\\[a-zA-Z]+/g, ' ').matchAll(/\p{L}+/gu)) {
    if (word.length < 2 && !SCRIPTS.Han.test(word)) continue
    const weight = SCRIPTS.Han.test(word) ? word.length : 1
    all += weight
    if (SCRIPTS[script].test(word)) inside += weight
  }
  return all === 0 ? null : inside / all
}

export const language: RewardPlugin<LanguageOptions> = {
  name: 'language',
  options: optionsSchema<LanguageOptions>({
    script: {
      allowed: Object.keys(SCRIPTS).join(', '),
      test: (value) => typeof value === 'string' && Object.hasOwn(SCRIPTS, value),
    },
  }),
  create:
    (options) =>
    ({ completions }) =>
      completions.map((text): RewardValue => languageShare(text, options)),
}
