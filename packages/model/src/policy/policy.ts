/**
 * The model as a policy of `@revisual/rl`. Losses live on the host: `accumulate` evaluates the forward pass and keeps what
 * the backward pass needs, hands log-probs and entropies to the loss, writes the gradients it returns into two placeholder
 * tensors, and runs the backward graph that was built on them.
 */
import type {
  Completion,
  LossReport,
  Policy,
  SampleOptions,
  SampleRequest,
  StepOptions,
  StepReport,
  TokenBatch,
  TokenGradients,
  TokenLoss,
  TokenScores,
} from '@revisual/rl'
import { AdamW, clipScale, grad, noGrad, OutOfMemoryError, type Tensor } from '@revisual/tensor'
import { ConfigError } from '../config/json.js'
import { generate, type GenerationOptions, type RequestedSequence } from '../generation/generate.js'
import { samplingMask } from '../generation/sampling-mask.js'
import type { VisionLanguageModel } from '../model.js'
import type { Network } from '../network/forward.js'
import type { Weights } from '../network/layers.js'
import type { ModelPrompt } from '../prompt.js'
import { readScores, scoreTokens, tokenCount } from './completion-batch.js'
import { loadPolicyState, savePolicyState, type ParameterValues } from './state.js'

export interface PolicyOptions {
  /** Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Default 1e-8. */
  readonly epsilon?: number
  /** Bits of AdamW's moments: 32 (default), or 8 at a quarter of the memory (arXiv 2110.02861). */
  readonly momentBits?: 32 | 8
  /** Most sequences generated at once. Default 512. */
  readonly maxConcurrentSequences?: number
  /**
   * Keeps only what enters each decoder layer for the backward pass and computes the layer again there: far less memory for
   * activations, for about a third more computation. Default false.
   */
  readonly checkpointLayers?: boolean
  /**
   * What a KL term compares with where an adapter learns. `adapter-off` (default): the frozen base, which costs nothing.
   * `copy`: the adapter as it was at the last `snapshotReference()`. Weights that learn themselves are always copied.
   */
  readonly reference?: 'adapter-off' | 'copy'
}

export type ModelPolicy = Required<Policy<ModelPrompt>>

/** Makes the model trainable and samplable. The policy works on the model's own weights. */
export function createPolicy(model: VisionLanguageModel, options: PolicyOptions = {}): ModelPolicy {
  return new NetworkPolicy(model, options)
}

/** A frozen copy of the weights. */
interface Reference {
  readonly values: ParameterValues
  readonly tensors: ReadonlyMap<string, Tensor>
}

class NetworkPolicy implements ModelPolicy {
  readonly #mask: Float32Array
  readonly #optimizer: AdamW
  #reference: Reference | null = null
  /** Micro-batches since the last step: what dropout counts by. */
  #microBatches = 0

  constructor(
    private readonly model: VisionLanguageModel,
    private readonly options: PolicyOptions,
  ) {
    this.#mask = samplingMask(model)
    this.#optimizer = new AdamW(model.parameters, {
      betas: options.betas ?? [0.9, 0.999],
      eps: options.epsilon ?? 1e-8,
      momentBits: options.momentBits ?? 32,
    })
  }

  async sample(requests: readonly SampleRequest<ModelPrompt>[], options: SampleOptions): Promise<Completion[]> {
    const { tokenizer, parts } = this.model
    const { stopIds } = parts.generation
    const maxSequences = this.options.maxConcurrentSequences ?? 512
    const generated = await this.#generate(requests, {
      ...options,
      stopIds,
      mask: this.#mask,
      tokenizer,
      maxSequences,
    })
    return generated.map(({ requestIndex, sampleIndex, ids, text, logProbs, finishReason }) => ({
      requestIndex,
      sampleIndex,
      completionIds: ids,
      text,
      logProbs,
      finishReason,
    }))
  }

  score(batch: TokenBatch<ModelPrompt>): Promise<TokenScores> {
    return this.#score(this.model.network, batch)
  }

  scoreReference(batch: TokenBatch<ModelPrompt>): Promise<TokenScores> {
    return this.#score({ ...this.model.network, weights: this.#referenceWeights() }, batch)
  }

  #referenceWeights(): Weights {
    const { frozen } = this.model
    if (this.model.adapterMerged)
      throw new ConfigError('scoreReference(): the adapter is merged; unmergeAdapter() first.')
    if (frozen && this.#adapterOff) return frozen.weights.source
    const reference = this.#reference
    if (!reference) throw new Error('There is no reference yet: call snapshotReference() before scoreReference().')
    return this.model.weightsWith((name) => reference.tensors.get(name) as Tensor)
  }

  /** The reference is the base without its adapter. */
  get #adapterOff(): boolean {
    return this.model.adapter !== null && (this.options.reference ?? 'adapter-off') === 'adapter-off'
  }

  async snapshotReference(): Promise<void> {
    if (!this.#adapterOff) this.#setReference(await this.model.parameters.values())
  }

  async accumulate(batch: TokenBatch<ModelPrompt>, loss: TokenLoss): Promise<LossReport> {
    const { network, parameters, device } = this.model
    const tokens = tokenCount(batch)
    if (tokens === 0) {
      const scores = emptyScores(batch)
      return { loss: loss(scores).loss, scores }
    }
    using _scope = device.scope()
    if (this.model.adapterMerged) throw new ConfigError('accumulate(): the adapter is merged; unmergeAdapter() first.')
    const dropout = { step: this.#optimizer.step, microBatch: this.#microBatches++ }
    const weights = this.model.weightsWith((name) => parameters.get(name), dropout)
    const { checkpointLayers = false } = this.options
    const lazy = device.tag('activations', () =>
      scoreTokens({ ...network, weights, checkpointLayers }, batch, this.#mask),
    )
    const placeholders = [device.buffer([tokens]), device.buffer([tokens])] as const
    const learning = parameters.trainable
    const inputs = learning.map((name) => parameters.get(name))
    const gradients = device.tag('backward', () =>
      grad([lazy.logProbs, lazy.entropies], inputs, { gradOutputs: placeholders }),
    )
    await device.eval([lazy.logProbs, lazy.entropies], { retainFor: gradients })
    const scores = await readScores(network, batch, lazy)
    const report = loss(scores)
    const flat = flatten(batch, report)
    if (flat.some((values) => values.some((value) => value !== 0))) {
      device.write(placeholders[0], flat[0])
      device.write(placeholders[1], flat[1])
      gradients.forEach((gradient, index) => parameters.accumulate(learning[index] as string, gradient))
      await device.eval([])
    }
    return { loss: report.loss, scores }
  }

  async step({ learningRate, weightDecay, maxGradNorm }: StepOptions): Promise<StepReport> {
    const { parameters } = this.model
    const gradNorm = await parameters.gradNorm()
    const applied = Number.isFinite(gradNorm)
    if (applied) {
      const gradScale = maxGradNorm === undefined ? 1 : clipScale(gradNorm, maxGradNorm)
      this.#optimizer.update({ learningRate, weightDecay, gradScale })
    }
    parameters.zeroGrad()
    this.#microBatches = 0
    return { gradNorm, applied }
  }

  discardGradients(): void {
    this.model.parameters.zeroGrad()
    this.#microBatches = 0
  }

  setTrainable(groups: readonly string[]): void {
    const { parameters, adapter } = this.model
    // An adapter may leave a group of the model alone; what it has of the groups learns.
    const there = adapter ? groups.filter((group) => parameters.groups.includes(group)) : groups
    if (there.length === 0) {
      throw new ConfigError(
        `setTrainable(): the adapter has no factors in ${groups.join(', ')}; it adapts ${parameters.groups.join(', ')}.`,
      )
    }
    parameters.setTrainable(there)
  }

  resetOptimizer(): Promise<void> {
    this.#optimizer.reset()
    return Promise.resolve()
  }

  save(directory: string): Promise<void> {
    return savePolicyState(directory, this.model, this.#optimizer, this.#reference?.values ?? null)
  }

  async load(directory: string): Promise<void> {
    this.#microBatches = 0
    this.#setReference(await loadPolicyState(directory, this.model, this.#optimizer))
  }

  promptLength(prompt: ModelPrompt): number {
    return prompt.ids.length
  }

  #setReference(values: ParameterValues | null): void {
    const { parameters, device } = this.model
    for (const tensor of this.#reference?.tensors.values() ?? []) tensor.dispose()
    this.#reference = values && {
      values,
      tensors: new Map([...values].map(([name, value]) => [name, device.tensor(value, parameters.shape(name))])),
    }
  }

  async #score(network: Network, batch: TokenBatch<ModelPrompt>): Promise<TokenScores> {
    if (tokenCount(batch) === 0) return emptyScores(batch)
    using _scope = network.device.scope()
    return await readScores(
      network,
      batch,
      noGrad(() => scoreTokens(network, batch, this.#mask)),
    )
  }

  /** Generates, in halves when all at once do not fit into memory. What a sequence draws does not depend on the others. */
  async #generate(
    requests: readonly SampleRequest<ModelPrompt>[],
    options: GenerationOptions,
  ): Promise<RequestedSequence[]> {
    try {
      return await generate(this.model.network, requests, options)
    } catch (error) {
      if (!(error instanceof OutOfMemoryError) || requests.length < 2) throw error
    }
    const half = Math.ceil(requests.length / 2)
    const first = await this.#generate(requests.slice(0, half), options)
    const second = await this.#generate(requests.slice(half), options)
    return [...first, ...second.map((one) => ({ ...one, requestIndex: one.requestIndex + half }))]
  }
}

function emptyScores(batch: TokenBatch<ModelPrompt>): TokenScores {
  const empty = () => batch.sequences.map(() => new Float32Array())
  return { logProbs: empty(), entropies: empty() }
}

/** Gradients of the loss, sequences end to end. */
function flatten(batch: TokenBatch<ModelPrompt>, gradients: TokenGradients): readonly [Float32Array, Float32Array] {
  const join = (name: string, arrays: readonly Float32Array[]) => {
    const result = new Float32Array(tokenCount(batch))
    let offset = 0
    batch.sequences.forEach(({ completionIds }, index) => {
      const values = arrays[index]
      if (values?.length !== completionIds.length) {
        throw new RangeError(
          `The loss returned ${values?.length ?? 'no'} ${name} for sequence ${index}, which has ${completionIds.length} tokens.`,
        )
      }
      result.set(values, offset)
      offset += values.length
    })
    return result
  }
  return [
    join('log-prob gradients', gradients.logProbGradients),
    gradients.entropyGradients
      ? join('entropy gradients', gradients.entropyGradients)
      : new Float32Array(tokenCount(batch)),
  ]
}
