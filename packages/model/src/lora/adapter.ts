/**
 * A trainable adapter over a frozen base: y = W x + s · B (A x). The parameters are A and B of every adapted layer, in a
 * parameter set of their own; the base has neither gradients nor moments. With the adapter left out the same base is the
 * reference policy, so a KL term costs no second copy of a model.
 */
import { ge, linear, matmul, mul, ParameterSet, randomUniform, where, type Device, type Tensor } from '@revisual/tensor'
import type { Architecture } from '../config/architecture.js'
import { plainProjection, type Weights } from '../network/layers.js'
import { hashName, uniformValues } from '../network/parameters.js'
import type { LoraConfig } from './config.js'
import { loraModules, type LoraModule } from './targets.js'

/** Names of a layer's two matrices in the parameter set: A [rank, in], B [out, rank]. */
export const factorNames = (module: string) => ({ a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` }) as const

/** Where dropout draws from: the same numbers for the same pair. */
export interface DropoutSeed {
  /** Optimizer updates made so far. */
  readonly step: number
  /** Micro-batches of this update so far. */
  readonly microBatch: number
}

export class LoraAdapter {
  readonly modules: readonly LoraModule[]
  /** A and B of every module, by {@link factorNames}. */
  readonly parameters: ParameterSet
  private readonly byName: ReadonlyMap<string, LoraModule>

  /**
   * A fresh adapter: A uniform in ±1/√in (Kaiming with a = √5, as PEFT), B zero, so that it changes nothing yet.
   *
   * @throws {ConfigError} the targets select nothing.
   */
  constructor(
    private readonly device: Device,
    architecture: Architecture,
    readonly config: LoraConfig,
    private readonly seed: number,
  ) {
    this.modules = loraModules(architecture, config)
    this.byName = new Map(this.modules.map((module) => [module.name, module]))
    this.parameters = new ParameterSet(
      device,
      this.modules.flatMap(({ name, inputs, outputs, rank, group }) => [
        { name: factorNames(name).a, shape: [rank, inputs], group, decay: true },
        { name: factorNames(name).b, shape: [outputs, rank], group, decay: true },
      ]),
    )
    for (const { name, inputs, rank } of this.modules) {
      const { a } = factorNames(name)
      this.parameters.write(a, uniformValues(rank * inputs, 1 / Math.sqrt(inputs), seed, a))
    }
  }

  /**
   * The base with factors on top.
   *
   * @param factor A or B by name. Default: the live ones.
   * @param dropout Absent: no dropout, as for sampling and scoring.
   */
  over(
    base: Weights,
    factor: (name: string) => Tensor = (name) => this.parameters.get(name),
    dropout?: DropoutSeed,
  ): Weights {
    const project = (name: string, x: Tensor, bias: boolean): Tensor => {
      const y = (base.project ?? plainProjection(base))(name, x, bias)
      const module = this.byName.get(name)
      if (!module) return y
      const { a, b } = factorNames(name)
      const inputs = dropout && this.config.dropout > 0 ? this.drop(x, name, dropout) : x
      return y.add(mul(linear(linear(inputs, factor(a)), factor(b)), module.scale))
    }
    return Object.assign((name: string) => base(name), { project })
  }

  /** The adapted layer whose weight (`….weight`) this is. */
  moduleOf(weight: string): LoraModule | undefined {
    return weight.endsWith('.weight') ? this.byName.get(weight.slice(0, -'.weight'.length)) : undefined
  }

  /** What the factors add to the layer's weight: scale · B·A, in f32. */
  delta({ name, scale }: LoraModule): Tensor {
    const { a, b } = factorNames(name)
    return mul(matmul(this.parameters.get(b), this.parameters.get(a)), scale)
  }

  /** x with a share of its elements zeroed and the others scaled up, as torch.nn.Dropout. */
  private drop(x: Tensor, name: string, { step, microBatch }: DropoutSeed): Tensor {
    const { dropout } = this.config
    // Every layer of every micro-batch has a stream of its own; a resumed run draws what the killed one would have.
    const stream = (hashName(name) ^ Math.imul(microBatch + 1, 0x9e3779b1)) >>> 0
    const uniforms = randomUniform(this.device, x.shape, {
      seed: (this.seed >>> 0) * 2 ** 20 + (step % 2 ** 20),
      stream,
    })
    const kept = mul(x, 1 / (1 - dropout))
    return where(ge(uniforms, dropout), kept, 0)
  }
}
