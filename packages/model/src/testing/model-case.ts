/**
 * Runs a case: visual tokens, positions, logits, greedy ids, loss, gradients and optimizer steps against what a reference
 * computed, each as one number, the largest error. Tolerances are those the goldens come with: logits 2e-4 absolute,
 * gradient norms 1e-3 relative, ids and positions exact.
 *
 * A reference whose whole module was cast to bf16 has rotary frequencies in bf16 too, which no implementation that loads
 * the checkpoint shares. For bf16 checkpoints both are tried; the nearer is reported and named.
 */
import { AdamW, clipScale, grad, linear, linearLogProb, noGrad, type Device, type Tensor } from '@revisual/tensor'
import { loadModel } from '../checkpoint/folder.js'
import { generate } from '../generation/generate.js'
import type { VisionLanguageModel } from '../model.js'
import { layoutOptions, layOutTokens } from '../network/batch.js'
import { headWeight } from '../network/decoder.js'
import { forward, type Network } from '../network/forward.js'
import { parameterName } from '../network/parameters.js'
import { pickRows } from '../network/rows.js'
import { visionBatch, visionTower } from '../network/vision.js'
import { TextRotary } from '../positions/rotary.js'
import type { ModelPrompt } from '../prompt.js'
import { CaseError, readCase, type ExpectedJson, type ModelCase } from './case-files.js'
import { casePrompt } from './case-prompt.js'
import { differingPlaces, l2, largestDifference, relativeDifference, scaledDifference } from './measure.js'

/** Largest error allowed of each quantity. */
export const modelTolerances = {
  /** Absolute. */
  vision: 2e-4,
  deepstack: 2e-4,
  logits: 2e-4,
  loss: 2e-4,
  /** Relative. */
  grad_norms: 1e-3,
  grad_tensors: 1e-3,
  adamw_losses: 1e-3,
  adamw_grad_norms: 1e-3,
  /** Number of wrong places. */
  position_ids: 0,
  next_position: 0,
  greedy: 0,
} as const

export type ModelQuantity = keyof typeof modelTolerances

export interface ModelCaseReport {
  readonly case: string
  readonly ok: boolean
  readonly family?: string
  /** Largest error of each quantity the case gives. */
  readonly errors?: Partial<Record<ModelQuantity, number>>
  /** Quantities beyond their tolerance. */
  readonly beyond?: readonly ModelQuantity[]
  /** Values of the case nothing here compares. */
  readonly ignored?: readonly string[]
  /** Present for bf16 checkpoints. */
  readonly rotaryFrequencies?: 'exact' | 'bf16'
  /** Why the case could not be run. */
  readonly problem?: string
}

/** Runs the case in a folder. Never throws: what goes wrong is in the report. */
export async function runModelCase(directory: string, device: Device): Promise<ModelCaseReport> {
  const name = directory.replace(/[\\/]+$/, '').replace(/^.*[\\/]/, '')
  try {
    const modelCase = await readCase(directory)
    const model = await loadCaseModel(modelCase, device)
    try {
      return await new CaseRun(modelCase, model).report()
    } finally {
      model.dispose()
    }
  } catch (error) {
    return { case: name, ok: false, problem: error instanceof Error ? error.message : String(error) }
  }
}

const loadCaseModel = ({ base, isAdapter, directory }: ModelCase, device: Device) =>
  loadModel(base, device, isAdapter ? { adapter: directory } : {})

/** Name of a parameter whose gradient a reference gives: of a model, or of an adapter as PEFT names it. */
const learnedName = (name: string) =>
  parameterName(name.replace(/^base_model\.model\./, '').replace(/\.(lora_[AB])\.default\./, '.$1.'))

const isBfloat16 = ({ parts }: VisionLanguageModel) => {
  const { json } = parts.config
  const text = (json['text_config'] ?? {}) as { readonly [key: string]: unknown }
  return [json['dtype'], json['torch_dtype'], text['dtype'], text['torch_dtype']].includes('bfloat16')
}

function withFrequencies(network: Network, precision: 'exact' | 'bf16'): Network {
  const architecture = { ...network.architecture, rotaryFrequencies: precision }
  return { ...network, architecture, textRotary: new TextRotary(architecture.text, precision) }
}

/** One case with its model. */
class CaseRun {
  readonly #errors: Partial<Record<ModelQuantity, number>> = {}
  readonly #compared = new Set<string>(['pixel_values', 'pixel_values_videos'])
  readonly #prompt: ModelPrompt
  #network: Network

  constructor(
    private readonly modelCase: ModelCase,
    private readonly model: VisionLanguageModel,
  ) {
    this.#network = model.network
    this.#prompt = casePrompt(modelCase.inputs, model.parts.config)
  }

  async report(): Promise<ModelCaseReport> {
    const { name, expected } = this.modelCase
    const precision = isBfloat16(this.model) ? await this.#nearerFrequencies() : null
    this.#positions()
    await this.#vision()
    await this.#logits()
    await this.#greedy()
    await this.#gradients()
    await this.#optimizer()
    const measured = Object.keys(this.#errors) as ModelQuantity[]
    if (measured.length === 0) throw new CaseError(`${this.modelCase.directory}: there is nothing to compare with.`)
    const beyond = measured.filter((key) => !((this.#errors[key] as number) <= modelTolerances[key]))
    return {
      case: name,
      ok: beyond.length === 0,
      family: this.model.parts.config.architecture.modelType,
      errors: this.#errors,
      beyond,
      ignored: [...expected.tensors.keys()].filter((key) => !this.#compared.has(key)),
      ...(precision ? { rotaryFrequencies: precision } : {}),
    }
  }

  #note(quantity: ModelQuantity, error: number): void {
    this.#errors[quantity] = Math.max(this.#errors[quantity] ?? 0, error)
  }

  #tensor(key: string): Float32Array | undefined {
    this.#compared.add(key)
    return this.modelCase.expected.tensors.get(key)
  }

  #layout() {
    const sequences = [{ prompt: this.#prompt, continuation: [] }]
    return layOutTokens(sequences, layoutOptions(this.#network.architecture), 'packed')
  }

  async #nearerFrequencies(): Promise<'exact' | 'bf16'> {
    const logits = this.#tensor('logits')
    if (!logits) return 'exact'
    const network = withFrequencies(this.model.network, 'bf16')
    const [exact, rounded] = [await this.#logitsOf(this.model.network), await this.#logitsOf(network)]
    if (largestDifference(exact, logits) <= largestDifference(rounded, logits)) return 'exact'
    this.#network = network
    return 'bf16'
  }

  #positions(): void {
    const { json } = this.modelCase.expected
    const positions = this.#tensor('position_ids')
    if (positions) this.#note('position_ids', differingPlaces(this.#prompt.positions, positions))
    if (json.has('next_position')) {
      this.#note('next_position', differingPlaces([this.#prompt.nextPosition], [json.number('next_position')]))
    }
  }

  async #vision(): Promise<void> {
    const { device, weights, architecture } = this.#network
    const merged = this.#tensor('vision')
    const count = architecture.vision.deepStack.length
    const deepStack = Array.from({ length: count }, (_, k) => this.#tensor(`deepstack.${k}`))
    if (this.#prompt.images.length === 0 || [merged, ...deepStack].every((values) => !values)) return
    using _scope = device.scope()
    const outputs = noGrad(() => {
      const batch = visionBatch(this.#prompt.images, architecture)
      const output = visionTower(device, weights, architecture.vision, batch)
      return [output.merged, ...output.deepStack].map((tokens) => pickRows(tokens, batch.rowOfCell))
    })
    const values = await device.read(outputs)
    ;[merged, ...deepStack].forEach((expected, index) => {
      if (!expected) return
      this.#note(index === 0 ? 'vision' : 'deepstack', largestDifference(values[index] ?? [], expected))
    })
  }

  async #logitsOf(network: Network): Promise<Float32Array> {
    using _scope = network.device.scope()
    const logits = noGrad(() =>
      linear(forward(network, this.#layout()).hidden, headWeight(network.weights, network.architecture.text)),
    )
    return (await logits.read()) as Float32Array
  }

  async #logits(): Promise<void> {
    const expected = this.#tensor('logits')
    if (expected) this.#note('logits', largestDifference(await this.#logitsOf(this.#network), expected))
  }

  async #greedy(): Promise<void> {
    const { json } = this.modelCase.expected
    if (!json.has('greedy')) return
    const greedy = json.numbers('greedy')
    const [sequence] = await generate(this.#network, [{ prompt: this.#prompt, n: 1, seed: 0 }], {
      maxTokens: greedy.length,
      temperature: 0,
      stopIds: [],
    })
    this.#note('greedy', differingPlaces(sequence?.ids ?? [], greedy))
  }

  /** Log-probs of the labels, each predicted by the token before it. */
  #labelLogProbs(): Tensor {
    const { json } = this.modelCase.inputs
    const labels = json.numbers('labels')
    const places = labels.flatMap((label, index) => (index > 0 && label !== -100 ? [index] : []))
    const before = Uint32Array.from(places, (place) => place - 1)
    const targets = Uint32Array.from(places, (place) => labels[place] as number)
    const { device, weights, architecture } = this.#network
    const rows = pickRows(forward(this.#network, this.#layout()).hidden, before)
    return linearLogProb(rows, headWeight(weights, architecture.text), device.tensor(targets)).logProbs
  }

  async #gradients(): Promise<void> {
    const { json, tensors } = this.modelCase.expected
    const norms = json.numberMap('grad_l2')
    const wanted = [...tensors.keys()].filter((key) => key.startsWith('grad.'))
    if (!json.has('loss') && norms.length + wanted.length === 0) return
    const { device, architecture } = this.#network
    const { parameters } = this.model
    using _scope = device.scope()
    const loss = this.#labelLogProbs().mean().neg()
    const names = parameters.names
    const gradients = grad(
      loss,
      names.map((name) => parameters.get(name)),
    )
    const values = new Map((await device.read(gradients)).map((value, index) => [names[index] as string, value]))
    if (json.has('loss')) this.#note('loss', Math.abs((await loss.item()) - json.number('loss')))
    const gradientOf = (name: string) => {
      const value = values.get(learnedName(name))
      if (!value) throw new CaseError(`${this.modelCase.directory}: there is no parameter '${name}'.`)
      return value
    }
    for (const [name, norm] of norms) this.#note('grad_norms', relativeDifference(l2(gradientOf(name)), norm))
    for (const key of wanted) {
      const head = architecture.text.tiedHead ? 'model.embed_tokens.weight' : 'lm_head.weight'
      const name = key === 'grad.lm_head_or_embed' ? head : key.slice('grad.'.length)
      this.#note('grad_tensors', scaledDifference(gradientOf(name), this.#tensor(key) ?? []))
    }
  }

  /** Trains the model; the last thing that can be asked of it. */
  async #optimizer(): Promise<void> {
    const { json } = this.modelCase.expected
    const steps = json.has('adamw') ? json.child('adamw') : json.has('losses') ? json : null
    if (!steps) return
    const losses = steps.has('losses') ? steps.numbers('losses') : []
    const norms = steps.has('grad_norms') ? steps.numbers('grad_norms') : []
    const { parameters } = this.model
    const { device } = this.#network
    const optimizer = new AdamW(parameters, optimizerOptions(steps))
    for (let step = 0; step < Math.max(losses.length, norms.length); step++) {
      using _scope = device.scope()
      const loss = this.#labelLogProbs().mean().neg()
      const names = parameters.trainable
      const gradients = grad(
        loss,
        names.map((name) => parameters.get(name)),
      )
      names.forEach((name, index) => parameters.accumulate(name, gradients[index] as Tensor))
      const [value, norm] = [await loss.item(), await parameters.gradNorm()]
      const [expectedLoss, expectedNorm] = [losses[step], norms[step]]
      if (expectedLoss !== undefined) this.#note('adamw_losses', relativeDifference(value, expectedLoss))
      if (expectedNorm !== undefined) this.#note('adamw_grad_norms', relativeDifference(norm, expectedNorm))
      optimizer.update({
        learningRate: steps.number('lr'),
        weightDecay: steps.numberOr('weight_decay', 0),
        gradScale: steps.has('max_grad_norm') ? clipScale(norm, steps.number('max_grad_norm')) : 1,
      })
      parameters.zeroGrad()
    }
  }
}

function optimizerOptions(steps: ExpectedJson): { betas: [number, number]; eps: number } {
  const [first, second] = steps.has('betas') ? steps.numbers('betas') : [0.9, 0.999]
  if (first === undefined || second === undefined) throw new CaseError(`'betas' must be two numbers.`)
  return { betas: [first, second], eps: steps.numberOr('eps', 1e-8) }
}
