/** What one step of either kind did. */
export interface StepOutcome {
  /** Tokens processed, prompts included. */
  readonly tokens: number
  /** Optimizer steps made. */
  readonly applied: number
  /** Optimizer steps given up because loss or gradient was not finite. */
  readonly skipped: number
  readonly metrics: { readonly [metric: string]: number }
}
