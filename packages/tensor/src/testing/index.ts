/**
 * `@revisual/tensor/testing`: the plain f64 reference of every operation, comparison with it, and gradient checks, for
 * tests of operations of one's own.
 */
export { assertClose, NotCloseError, type Tolerance } from './close.js'
export { compareWithReference, randomArray, roundToFloat32, upload, type Comparison } from './compare.js'
export { checkGradients, checkReferenceGradients, type GradientCheckOptions } from './gradient-check.js'
export { generate, map, ndarray, scalar, zeros, type NdArray } from './ndarray.js'
export { reference } from './reference.js'
export type { DifferentiableOp, ReferenceOp } from './reference/operation.js'
export type { FlashReferenceOptions, MaskReferenceOptions, SequenceReference } from './reference/attention.js'
export type { AdamWReferenceOptions, AdamWReferenceState } from './reference/adamw.js'
export type { NormOptions, RotaryOptions, TokenLogProbOptions } from './reference/fused.js'
export type { RandomReferenceOptions } from './reference/random.js'
export type { ReduceOptions } from './reference/reduce.js'
export type { SampleReference, SampleReferenceOptions } from './reference/sampling.js'
export type { PadOptions, SliceOptions } from './reference/view.js'
