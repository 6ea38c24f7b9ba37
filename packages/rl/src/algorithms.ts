/**
 * Algorithms by name: each is nothing but settings of a stage, and every one of them can be set on its own. What a stage says
 * itself goes before what its algorithm says.
 *
 * | name                           | source             | where its numbers come from                                          |
 * | ------------------------------ | ------------------ | -------------------------------------------------------------------- |
 * | `grpo`                         | arXiv 2402.03300   | eq. 3 and section 4.1; clip 0.2 is usual, the paper gives none       |
 * | `dapo`                         | arXiv 2503.14476   | 3.1 clip-higher 0.28, 3.2 dynamic sampling, 3.3 token mean, 3.4 filtering |
 * | `dr_grpo`                      | arXiv 2503.20783   | section 3.2: no std, constant length                                 |
 * | `bnpo`                         | TRL `bnpo`         | token mean of local batches of 8 (its per-device batch size)         |
 * | `lite_ppo`                     | arXiv 2508.08221   | group mean, batch std, token mean                                    |
 * | `gdpo`                         | arXiv 2601.05242   | rewards normalised one by one                                        |
 * | `rloo`                         | arXiv 2402.14740   | leave-one-out baseline; the loss of verl and EasyR1                  |
 * | `reinforce_plus_plus`          | arXiv 2501.03262   | returns whitened over the batch                                      |
 * | `reinforce_plus_plus_baseline` | arXiv 2501.03262   | the same after subtracting the group's mean                          |
 * | `remax`                        | arXiv 2310.10505   | greedy baseline; no ratio                                            |
 * | `opo`                          | arXiv 2505.23585   | length-weighted baseline, exact on-policy: no ratio                  |
 * | `gpg`                          | arXiv 2504.02546   | no ratio, no std                                                     |
 * | `pass_at_k`                    | arXiv 2503.19595   | the best of a group alone                                            |
 * | `max_rl`                       | arXiv 2602.02710   | divided by the group's mean; no ratio                                |
 * | `gspo`, `gspo_token`           | arXiv 2507.18071   | section 5.1: 3e-4 and 4e-4                                           |
 * | `gmpo`                         | arXiv 2507.20673   | (e^−0.4, e^0.4)                                                      |
 * | `cispo`                        | arXiv 2506.13585   | cap 5 as ScaleRL (2510.13786) and TRL advise                         |
 * | `sapo`                         | arXiv 2511.20347   | τ 1.0 and 1.05                                                       |
 * | `luspo`                        | arXiv 2602.05261   | section 5.1: 2e-3 and 2.5e-3                                         |
 * | `vespo`                        | arXiv 2602.10693   | k, λ: 2, 3 and 3, 2                                                  |
 * | `clip_cov`, `kl_cov`           | arXiv 2505.22617   | verl's defaults                                                      |
 */
import type { RlSettings } from './trainer/stages.js'

export const algorithmNames = [
  'grpo',
  'dapo',
  'dr_grpo',
  'bnpo',
  'lite_ppo',
  'gdpo',
  'rloo',
  'reinforce_plus_plus',
  'reinforce_plus_plus_baseline',
  'remax',
  'opo',
  'gpg',
  'pass_at_k',
  'max_rl',
  'gspo',
  'gspo_token',
  'gmpo',
  'cispo',
  'sapo',
  'luspo',
  'vespo',
  'clip_cov',
  'kl_cov',
] as const
export type AlgorithmName = (typeof algorithmNames)[number]

/** The settings an algorithm is made of. */
export type AlgorithmSettings = Pick<
  RlSettings,
  'advantage' | 'loss' | 'clip' | 'aggregation' | 'localBatch' | 'dynamicSampling' | 'maskTruncated'
>

const usualClip = { low: 0.2, high: 0.2 }
const grpo: AlgorithmSettings = { advantage: { kind: 'grpo' }, clip: usualClip, aggregation: 'sequence-mean' }
const tokenMean: AlgorithmSettings = { advantage: { kind: 'grpo' }, clip: usualClip, aggregation: 'token-mean' }

/**
 * Settings of an algorithm.
 * @param maxTokens sampling limit of the stage; Dr. GRPO divides by it
 */
export function algorithmSettings(name: AlgorithmName, maxTokens: number): AlgorithmSettings {
  switch (name) {
    case 'grpo':
      return grpo
    case 'dapo':
      return { ...tokenMean, clip: { low: 0.2, high: 0.28 }, dynamicSampling: {}, maskTruncated: true }
    case 'dr_grpo':
      return {
        ...grpo,
        advantage: { kind: 'grpo', scale: 'none' },
        aggregation: { kind: 'sequence-sum-constant', length: maxTokens },
      }
    case 'bnpo':
      return { ...grpo, aggregation: 'local-token-mean', localBatch: 8 }
    case 'lite_ppo':
      return { ...tokenMean, advantage: { kind: 'grpo', scale: 'batch', epsilon: 1e-4 } }
    case 'gdpo':
      return { ...tokenMean, advantage: { kind: 'gdpo' } }
    case 'rloo':
      return { ...tokenMean, advantage: { kind: 'rloo' } }
    case 'reinforce_plus_plus':
      return { ...tokenMean, advantage: { kind: 'reinforce-plus-plus' } }
    case 'reinforce_plus_plus_baseline':
      return { ...tokenMean, advantage: { kind: 'reinforce-plus-plus-baseline' } }
    case 'remax':
      return { ...tokenMean, advantage: { kind: 'remax' }, loss: { kind: 'reinforce' } }
    case 'opo':
      return { ...tokenMean, advantage: { kind: 'opo' }, loss: { kind: 'reinforce' } }
    case 'gpg':
      return { ...tokenMean, advantage: { kind: 'gpg' }, loss: { kind: 'reinforce' } }
    case 'pass_at_k':
      return { ...tokenMean, advantage: { kind: 'pass-at-k' } }
    case 'max_rl':
      return { ...tokenMean, advantage: { kind: 'max-rl' }, loss: { kind: 'reinforce' } }
    case 'gspo':
      return { ...grpo, loss: { kind: 'clip', level: 'sequence' }, clip: { low: 3e-4, high: 4e-4 } }
    case 'gspo_token':
      return { ...grpo, loss: { kind: 'clip', level: 'sequence-token' }, clip: { low: 3e-4, high: 4e-4 } }
    case 'gmpo':
      return { ...grpo, loss: { kind: 'gmpo' }, clip: { low: 0.4, high: 0.4 } }
    case 'cispo':
      return { ...tokenMean, loss: { kind: 'cispo', bound: 'cap', max: 5 } }
    case 'sapo':
      return { ...grpo, loss: { kind: 'sapo' } }
    case 'luspo':
      return {
        ...grpo,
        loss: { kind: 'clip', level: 'sequence' },
        clip: { low: 2e-3, high: 2.5e-3 },
        aggregation: 'sequence-sum',
      }
    case 'vespo':
      return { ...tokenMean, loss: { kind: 'vespo' } }
    case 'clip_cov':
      return { ...tokenMean, loss: { kind: 'clip-cov' } }
    case 'kl_cov':
      return { ...tokenMean, loss: { kind: 'kl-cov' } }
  }
}

/** The stage with its algorithm's settings filled in where it has none of its own. */
export function withAlgorithm<Settings extends RlSettings>(stage: Settings): Settings {
  if (stage.algorithm === undefined) return stage
  return { ...algorithmSettings(stage.algorithm, stage.sampling.maxTokens), ...stage }
}
