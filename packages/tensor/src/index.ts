/**
 * `@revisual/tensor`: lazy tensors on WebGPU in Node, with fused kernels, autograd, optimizers and safetensors.
 */
export { createDevice, type Device, type DeviceOptions } from './device/device.js'
export type { KernelEvent, KernelTime, Profile } from './device/profiler.js'
export type { ExplainedKernel, Explanation } from './graph/explain.js'
export type { MemoryPlan } from './graph/rehearse.js'
export type { MemoryPart, TagBytes } from './memory/pool.js'
export type { TensorData, TensorInput } from './device/transfer.js'
export type { Scope } from './memory/scope.js'
export type { AdapterInfo } from './device/adapter.js'
export type { MatrixUnit } from './kernels/matmul-units.js'
export {
  AdapterError,
  DeviceLostError,
  GpuValidationError,
  OutOfMemoryError,
  ShapeError,
  TensorStateError,
} from './device/errors.js'
export { Tensor } from './graph/tensor.js'
export type { DType, Shape } from './graph/shape.js'
export { fromBfloat16, fromHalf, toBfloat16Bits, toHalfBits } from './graph/half.js'
export { checkpoint, customGrad, grad, type CustomResult, type GradOptions } from './autograd/grad.js'
export { noGrad } from './autograd/tape.js'
export {
  abs,
  add,
  cast,
  clamp,
  copy,
  cos,
  div,
  eq,
  erf,
  exp,
  floor,
  ge,
  gelu,
  gt,
  le,
  log,
  lt,
  maximum,
  minimum,
  mul,
  ne,
  neg,
  pow,
  reciprocal,
  relu,
  round,
  rsqrt,
  sigmoid,
  sign,
  silu,
  sin,
  softplus,
  sqrt,
  square,
  sub,
  tanh,
  where,
  type Operand,
} from './ops/elementwise.js'
export { argmax, max, mean, min, sum, type Axes } from './ops/reduce.js'
export {
  contiguous,
  expand,
  flatten,
  pad,
  permute,
  reshape,
  slice,
  split,
  squeeze,
  transpose,
  unsqueeze,
} from './ops/view.js'
export { concat, stack } from './ops/concat.js'
export { linear, matmul } from './ops/matmul.js'
export { quantize, QuantizedWeight, type QuantizeOptions } from './ops/quantized.js'
export { assign } from './ops/assign.js'
export {
  defineKernel,
  type KernelDefinition,
  type KernelLaunch,
  type KernelVjp,
  type TensorType,
} from './ops/define-kernel.js'
export { kernel, type KernelOptions } from './ops/kernel.js'
export { attention, type AttentionOptions } from './ops/fused/attention.js'
export { AttentionPlan, type AttentionSequence, type RowRange } from './ops/fused/attention-plan.js'
export { flashAttention, type FlashAttentionOptions } from './ops/fused/flash-attention.js'
export { embedding, gather, indexPut } from './ops/fused/gather.js'
export { DROPPED, linearLogProb, type LinearLogProbOptions, type TokenLogProbs } from './ops/fused/linear-log-prob.js'
export { layerNorm, rmsNorm } from './ops/fused/norm.js'
export { rotary } from './ops/fused/rotary.js'
export { logSoftmax, maskedSoftmax, NO_SEGMENT, softmax, type MaskOptions } from './ops/fused/softmax.js'
export { swiglu } from './ops/fused/swiglu.js'
export { randomNormal, randomUniform, type RandomOptions } from './ops/random.js'
export { sampleTokens, topK, type PerRow, type SampledTokens, type SampleTokensOptions } from './ops/sampling.js'
export { AdamW, clipScale, type AdamWOptions, type AdamWState, type AdamWStep } from './optim/adamw.js'
export { ParameterSet, type ParameterSpec } from './optim/parameters.js'
export { fromFloat32, toFloat32, type SafetensorsDType, type SafetensorsTensor } from './io/dtypes.js'
export { SafetensorsError } from './io/errors.js'
export type { SafetensorsEntry } from './io/header.js'
export {
  readSafetensors,
  SafetensorsFile,
  writeSafetensors,
  type SafetensorsContents,
  type SafetensorsInput,
} from './io/safetensors.js'
export { SafetensorsFolder } from './io/sharded.js'
export { uploadSafetensors } from './io/upload.js'
export {
  constant,
  cosineDecay,
  linearDecay,
  type ConstantOptions,
  type DecayOptions,
  type Schedule,
} from './optim/schedules.js'
export type { DeviceMemory, LiveTensor, MemoryMark } from './memory/accounting.js'
