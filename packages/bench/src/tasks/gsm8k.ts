/** GSM8K, test split (Cobbe et al., arXiv 2110.14168), zero-shot with a boxed answer. */
import { gsm8kPath, loadGsm8k } from '@revisual/data'
import { mathScorer } from '../scorers.js'
import type { Task } from '../types.js'

export interface Gsm8kTaskOptions {
  /** First problems of the file. Default all 1,319. */
  readonly n?: number
  /** System turn. The default asks for reasoning in `<think>` tags and a boxed answer. */
  readonly system?: string
}

const instruction =
  'First think step by step between <think> and </think>, then give the final answer, a number, within \\boxed{}.'

export function gsm8kTask({ n, system = instruction }: Gsm8kTaskOptions = {}): Task {
  return {
    name: 'gsm8k',
    description: 'Grade-school word problems, test split',
    load: async () => (await loadGsm8k(gsm8kPath('test'))).slice(0, n),
    prompt: ({ question }) => ({ ...(system === '' ? {} : { system }), question }),
    score: mathScorer,
    maxTokens: 1024,
    categories: ['steps'],
  }
}
