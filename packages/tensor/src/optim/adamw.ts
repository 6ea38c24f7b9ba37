/**
 * AdamW with decoupled weight decay (arXiv 1711.05101), as torch.optim.AdamW computes it, over all parameters in one
 * kernel per arena. Learning rate, step count and clipping are uniform data of each step.
 */
import { ShapeError } from '../device/errors.js'
import type { KernelParameter } from '../graph/node.js'
import { sameShape } from '../graph/shape.js'
import type { Tensor } from '../graph/tensor.js'
import { kernel } from '../ops/kernel.js'
import { slice } from '../ops/view.js'
import { BLOCK, type Arena } from './arena.js'
import { decodeMoments, encodeMoments, updateEightBit, type HostCodes } from './eight-bit.js'
import type { ParameterSet } from './parameters.js'

export interface AdamWOptions {
  readonly betas?: readonly [number, number]
  readonly eps?: number
  /** Bits of a stored moment: 32 (f32), or 8 (block-wise, see docs/tensor.md) for a quarter of the memory. Default 32. */
  readonly momentBits?: 32 | 8
}

export interface AdamWStep {
  readonly learningRate: number
  readonly weightDecay?: number
  /** Gradients are multiplied by this first; see {@link clipScale}. Default 1. */
  readonly gradScale?: number
}

/** What must be kept to continue an optimisation bit for bit. */
export interface AdamWState {
  readonly step: number
  readonly firstMoments: ReadonlyMap<string, Float32Array>
  readonly secondMoments: ReadonlyMap<string, Float32Array>
}

/** Factor that scales gradients of global norm `norm` to at most `maxNorm`, as torch.nn.utils.clip_grad_norm_ does. */
export function clipScale(norm: number, maxNorm: number): number {
  return Math.min(1, maxNorm / (norm + 1e-6))
}

/** Element i, given whether it `decays`. */
const UPDATE = /* wgsl */ `let g = load_gradient(i) * params.gradScale;
  let m = params.beta1 * load_first(i) + params.rest1 * g;
  let v = params.beta2 * load_second(i) + params.rest2 * g * g;
  store_first(i, m);
  store_second(i, v);
  let w = load_value(i) * (1.0 - params.decay * decays);
  store_value(i, w - params.stepSize * m / (sqrt(v) * params.scale2 + params.eps));`

export class AdamW {
  private readonly betas: readonly [number, number]
  private readonly eps: number
  private readonly momentBits: 32 | 8
  private steps = 0

  constructor(
    private readonly parameters: ParameterSet,
    { betas = [0.9, 0.999], eps = 1e-8, momentBits = 32 }: AdamWOptions = {},
  ) {
    if (!betas.every((beta) => beta >= 0 && beta < 1)) {
      throw new ShapeError(`AdamW: betas [${betas.join(', ')}] must lie in [0, 1).`)
    }
    this.betas = betas
    this.eps = eps
    this.momentBits = momentBits
    // Their memory is taken now, not in the middle of the first step.
    for (const arena of parameters.arenas) void (momentBits === 8 ? arena.codes : arena.moments)
  }

  /** Updates made so far. */
  get step(): number {
    return this.steps
  }

  /** Updates every trainable parameter from the gradients held. Runs with the next evaluation. */
  update(step: AdamWStep): void {
    const params = this.begin(step)
    for (const arena of this.parameters.arenas) {
      for (const { from, to } of arena.pieces) {
        const run = (tensor: Tensor) => slice(tensor, 0, from * BLOCK, to * BLOCK)
        if (this.momentBits === 8) {
          this.updateCodes(arena, from * BLOCK, (to - from) * BLOCK, run(arena.value), run(arena.gradient), params)
          continue
        }
        const [first, second] = arena.moments
        kernel({
          name: 'adamw',
          inputs: { gradient: run(arena.gradient), flags: slice(arena.flags, 0, from, to) },
          outputs: {},
          writes: { value: run(arena.value), first: run(first), second: run(second) },
          params: { ...params, blocks: ['u32', to - from] },
          workgroupSize: [BLOCK, 1, 1],
          dispatch: [to - from, 1, 1],
          body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  if (wid.x >= params.blocks || load_flags(wid.x * 2u) == 0.0) { return; }
  let i = wid.x * ${BLOCK}u + lidx;
  let decays = load_flags(wid.x * 2u + 1u);
  ${UPDATE}
}`,
        })
      }
    }
  }

  /**
   * One update, parameter by parameter, as the gradients arrive: no memory is taken for the gradients of all. There is no
   * clipping by the global norm, which is known only at the end, and no accumulation over micro-batches.
   *
   * @example
   * const apply = optimizer.arriving({ learningRate: 1e-3 })
   * grad(loss, names.map((name) => parameters.get(name)), { onGradient: (index, gradient) => apply(names[index], gradient) })
   * await device.eval([])
   *
   * @returns To be called once per trainable parameter, with its complete gradient.
   */
  arriving(step: AdamWStep): (name: string, gradient: Tensor) => void {
    const params = this.begin(step)
    return (name, gradient) => {
      if (this.momentBits === 8) {
        const place = this.parameters.placeOf(name)
        checkGradient(name, gradient, place.value)
        if (place.learns) this.updateCodes(place.arena, place.offset, place.size, place.value, gradient, params)
        return
      }
      const { value, firstMoment, secondMoment, size, learns, decays } = this.parameters.state(name)
      checkGradient(name, gradient, value)
      if (!learns) return
      kernel({
        name: 'adamw',
        inputs: { gradient },
        outputs: {},
        writes: { value, first: firstMoment, second: secondMoment },
        params: { ...params, size: ['u32', size], decays: ['f32', decays ? 1 : 0] },
        workgroupSize: [BLOCK, 1, 1],
        dispatch: [Math.ceil(size / BLOCK), 1, 1],
        body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let i = wid.x * ${BLOCK}u + lidx;
  if (i >= params.size) { return; }
  let decays = params.decays;
  ${UPDATE}
}`,
      })
    }
  }

  /** Updates `size` elements from element `start` of an arena, a multiple of a block. */
  private updateCodes(
    arena: Arena,
    start: number,
    size: number,
    value: Tensor,
    gradient: Tensor,
    params: Record<string, KernelParameter>,
  ): void {
    const [from, to] = [start / BLOCK, Math.ceil((start + size) / BLOCK)]
    const words = (codes: Tensor) => slice(codes, 0, (from * BLOCK) / 4, (to * BLOCK) / 4)
    const { first, second, scales } = arena.codes
    const codes = { first: words(first), second: words(second), scales: slice(scales, 0, from, to) }
    const flags = slice(arena.flags, 0, from, to)
    updateEightBit({ value, gradient, flags, codes, size, start, params, step: this.steps })
  }

  /** Counts a step and gives what its kernels must know of it. */
  private begin({ learningRate, weightDecay = 0, gradScale = 1 }: AdamWStep): Record<string, KernelParameter> {
    this.steps++
    const [beta1, beta2] = this.betas
    return {
      beta1: ['f32', beta1],
      beta2: ['f32', beta2],
      rest1: ['f32', 1 - beta1],
      rest2: ['f32', 1 - beta2],
      stepSize: ['f32', learningRate / (1 - beta1 ** this.steps)],
      scale2: ['f32', 1 / Math.sqrt(1 - beta2 ** this.steps)],
      decay: ['f32', learningRate * weightDecay],
      gradScale: ['f32', gradScale],
      eps: ['f32', this.eps],
    }
  }

  /** Forgets moments and step count. */
  reset(): void {
    this.steps = 0
    for (const arena of this.parameters.arenas) {
      const { codes, moments } =
        this.momentBits === 8 ? { codes: arena.codes, moments: [] } : { codes: null, moments: arena.moments }
      const stored = codes ? [codes.first, codes.second, codes.scales] : moments
      for (const tensor of stored) this.parameters.device.clear(tensor)
    }
  }

  /** Moments as f32, also those of eight bits: a state continues bit for bit where it was saved, and may change its bits. */
  async state(): Promise<AdamWState> {
    const { parameters, steps: step } = this
    if (this.momentBits === 32) {
      return {
        step,
        firstMoments: await parameters.readArenas((arena) => arena.moments[0]),
        secondMoments: await parameters.readArenas((arena) => arena.moments[1]),
      }
    }
    const { arenas, device } = parameters
    const contents = await device.read(arenas.flatMap(({ codes }) => [codes.first, codes.second, codes.scales]))
    const decoded = arenas.map((_, index) => {
      const [first, second, scales] = contents.slice(index * 3, index * 3 + 3)
      return decodeMoments({ first, second, scales } as HostCodes)
    })
    return {
      step,
      firstMoments: parameters.cut(decoded.map(({ first }) => first)),
      secondMoments: parameters.cut(decoded.map(({ second }) => second)),
    }
  }

  load(state: AdamWState): void {
    const { parameters } = this
    this.steps = state.step
    if (this.momentBits === 32) {
      parameters.writeArenas((arena) => arena.moments[0], state.firstMoments)
      parameters.writeArenas((arena) => arena.moments[1], state.secondMoments)
      return
    }
    const second = parameters.joined(state.secondMoments)
    parameters.joined(state.firstMoments).forEach((first, index) => {
      const arena = parameters.arenas[index]
      if (!arena) return
      const codes = encodeMoments(first, second[index] ?? new Float32Array())
      parameters.device.write(arena.codes.first, codes.first)
      parameters.device.write(arena.codes.second, codes.second)
      parameters.device.write(arena.codes.scales, codes.scales)
    })
  }
}

function checkGradient(name: string, gradient: Tensor, value: Tensor): void {
  if (sameShape(gradient.shape, value.shape)) return
  throw new ShapeError(
    `AdamW: the gradient of '${name}' has shape [${gradient.shape.join(', ')}], not [${value.shape.join(', ')}].`,
  )
}
