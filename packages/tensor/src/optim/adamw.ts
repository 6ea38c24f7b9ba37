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
import { BLOCK } from './arena.js'
import type { ParameterSet } from './parameters.js'

export interface AdamWOptions {
  readonly betas?: readonly [number, number]
  readonly eps?: number
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
  private steps = 0

  constructor(
    private readonly parameters: ParameterSet,
    { betas = [0.9, 0.999], eps = 1e-8 }: AdamWOptions = {},
  ) {
    if (!betas.every((beta) => beta >= 0 && beta < 1)) {
      throw new ShapeError(`AdamW: betas [${betas.join(', ')}] must lie in [0, 1).`)
    }
    this.betas = betas
    this.eps = eps
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
        kernel({
          name: 'adamw',
          inputs: { gradient: run(arena.gradient), flags: slice(arena.flags, 0, from, to) },
          outputs: {},
          writes: { value: run(arena.value), first: run(arena.firstMoment), second: run(arena.secondMoment) },
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
      const { value, firstMoment, secondMoment, size, learns, decays } = this.parameters.state(name)
      if (!sameShape(gradient.shape, value.shape)) {
        throw new ShapeError(
          `AdamW: the gradient of '${name}' has shape [${gradient.shape.join(', ')}], not [${value.shape.join(', ')}].`,
        )
      }
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
      this.parameters.device.clear(arena.firstMoment)
      this.parameters.device.clear(arena.secondMoment)
    }
  }

  async state(): Promise<AdamWState> {
    return {
      step: this.steps,
      firstMoments: await this.parameters.readArenas((arena) => arena.firstMoment),
      secondMoments: await this.parameters.readArenas((arena) => arena.secondMoment),
    }
  }

  load(state: AdamWState): void {
    this.steps = state.step
    this.parameters.writeArenas((arena) => arena.firstMoment, state.firstMoments)
    this.parameters.writeArenas((arena) => arena.secondMoment, state.secondMoments)
  }
}
