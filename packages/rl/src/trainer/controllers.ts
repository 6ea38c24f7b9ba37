/**
 * Coefficients that follow what training measures. They decide the future of a run, so they are plain data of a checkpoint.
 */
import { adaptedKlCoefficient } from '../losses/kl.js'
import {
  adaptiveEntropyCoefficient,
  afterEntropy,
  entropyCoefficient,
  type AdaptiveEntropyState,
} from '../schedules.js'
import type { RlStage } from './stages.js'

export interface Controllers {
  /** β of the KL term; null where it does not adapt. */
  readonly kl: number | null
  /** Null where the entropy bonus follows a schedule. */
  readonly entropy: AdaptiveEntropyState | null
}

export const noControllers: Controllers = { kl: null, entropy: null }

/** First values of a stage. */
export function freshControllers<Prompt>({ kl, entropy }: RlStage<Prompt>): Controllers {
  return {
    kl: kl?.adaptive ? kl.coefficient : null,
    entropy: entropy?.adaptive ? { coefficient: entropy.coefficient, last: null } : null,
  }
}

/** β that applies now. */
export const klCoefficientOf = <Prompt>({ kl }: RlStage<Prompt>, { kl: adapted }: Controllers): number =>
  adapted ?? kl?.coefficient ?? 0

/** c that applies to an update; `updates` is how many the stage has had. */
export function entropyCoefficientOf<Prompt>(
  { entropy }: RlStage<Prompt>,
  controllers: Controllers,
  updates: number,
): number {
  if (!entropy) return 0
  if (entropy.adaptive && controllers.entropy) return adaptiveEntropyCoefficient(controllers.entropy, entropy.adaptive)
  return entropyCoefficient(entropy, updates)
}

/** After an update whose mean token entropy was `entropy`. */
export function controllersAfterUpdate<Prompt>(
  stage: RlStage<Prompt>,
  controllers: Controllers,
  entropy: number,
): Controllers {
  const adaptive = stage.entropy?.adaptive
  if (!adaptive || !controllers.entropy || !Number.isFinite(entropy)) return controllers
  return { ...controllers, entropy: afterEntropy(controllers.entropy, entropy, adaptive) }
}

/** After a step of `completions` completions whose mean KL was `kl`. */
export function controllersAfterStep<Prompt>(
  stage: RlStage<Prompt>,
  controllers: Controllers,
  kl: number | undefined,
  completions: number,
): Controllers {
  const adaptive = stage.kl?.adaptive
  if (!adaptive || controllers.kl === null || kl === undefined || !Number.isFinite(kl)) return controllers
  return { ...controllers, kl: adaptedKlCoefficient(controllers.kl, kl, completions, adaptive) }
}
