import type { Controllers } from './controllers.js'

/** What one step of either kind did. */
export interface StepOutcome {
  /** Tokens processed, prompts included. */
  readonly tokens: number
  /** Optimizer steps made. */
  readonly applied: number
  /** Optimizer steps given up because loss or gradient was not finite. */
  readonly skipped: number
  /** Coefficients that adapt, after the step; absent where nothing does. */
  readonly controllers?: Controllers
  readonly metrics: { readonly [metric: string]: number }
}
