/**
 * AdamW (arXiv 1711.05101, algorithm 2, with torch.optim.AdamW's decay by learning rate × weight decay).
 */
export interface AdamWReferenceOptions {
  readonly learningRate: number
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly weightDecay: number
}

/** The state of one tensor; `step` counts updates made. */
export interface AdamWReferenceState {
  readonly step: number
  readonly values: readonly number[]
  readonly firstMoments: readonly number[]
  readonly secondMoments: readonly number[]
}

/** One update. */
export function adamW(
  state: AdamWReferenceState,
  gradient: readonly number[],
  { learningRate, betas: [beta1, beta2], eps, weightDecay }: AdamWReferenceOptions,
): AdamWReferenceState {
  const step = state.step + 1
  const firstMoments = gradient.map((g, i) => beta1 * (state.firstMoments[i] ?? 0) + (1 - beta1) * g)
  const secondMoments = gradient.map((g, i) => beta2 * (state.secondMoments[i] ?? 0) + (1 - beta2) * g * g)
  const values = state.values.map((value, i) => {
    const first = (firstMoments[i] ?? 0) / (1 - beta1 ** step)
    const second = (secondMoments[i] ?? 0) / (1 - beta2 ** step)
    return value * (1 - learningRate * weightDecay) - (learningRate * first) / (Math.sqrt(second) + eps)
  })
  return { step, values, firstMoments, secondMoments }
}
