/**
 * The plain f64 implementation of every operation, in one place.
 */
import { adamW } from './reference/adamw.js'
import { attentions } from './reference/attention.js'
import { elementwise } from './reference/elementwise.js'
import { fused } from './reference/fused.js'
import { matrices } from './reference/matmul.js'
import { philox, randomNormal, randomUniform } from './reference/random.js'
import { reductions } from './reference/reduce.js'
import { sampleTokens, topK } from './reference/sampling.js'
import { views } from './reference/view.js'

/**
 * Operations by name: each has `forward(inputs, options)` and, when it is differentiable,
 * `vjp(inputs, outputGradients, options)`. Random numbers, sampling and the optimizer are plain functions.
 */
export const reference = {
  ...elementwise,
  ...reductions,
  ...views,
  ...matrices,
  ...attentions,
  ...fused,
  philox,
  randomUniform,
  randomNormal,
  topK,
  sampleTokens,
  adamW,
} as const
