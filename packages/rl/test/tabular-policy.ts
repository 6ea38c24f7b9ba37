/**
 * The smallest policy that has everything: one row of logits per (prompt, position), softmax, Adam, a reference, files.
 * Prompts are numbers; token 0 ends a completion.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createRandom } from '../src/random.js'
import type {
  Completion,
  LossReport,
  Policy,
  SampleOptions,
  SampleRequest,
  StepOptions,
  StepReport,
  TokenBatch,
  TokenLoss,
  TokenScores,
} from '../src/types.js'

export type Call = 'sample' | 'score' | 'accumulate' | 'step' | 'save' | 'load' | 'discardGradients'

interface Tables {
  logits: number[][]
  gradients: number[][]
  first: number[][]
  second: number[][]
  updates: number
  reference: number[][] | null
}

const zeros = (rows: number, width: number) => Array.from({ length: rows }, () => Array<number>(width).fill(0))

function logSoftmax(logits: readonly number[], temperature: number): number[] {
  const scaled = logits.map((value) => value / temperature)
  const largest = Math.max(...scaled)
  const norm = largest + Math.log(scaled.reduce((total, value) => total + Math.exp(value - largest), 0))
  return scaled.map((value) => value - norm)
}

export class TabularPolicy implements Required<Policy<number>> {
  /** Calls so far, by name; a test may replace this to fail at some moment. */
  onCall: (call: Call) => void = () => undefined
  trainable: readonly string[] = ['table']
  /** Most tokens, padding included, of a batch that fits into memory. */
  memory = Infinity
  readonly tables: Tables

  constructor(
    readonly prompts: number,
    readonly positions: number,
    readonly vocabulary: number,
  ) {
    const table = () => zeros(prompts * positions, vocabulary)
    this.tables = { logits: table(), gradients: table(), first: table(), second: table(), updates: 0, reference: null }
  }

  #row(prompt: number, position: number): number {
    return prompt * this.positions + Math.min(position, this.positions - 1)
  }

  async sample(requests: readonly SampleRequest<number>[], options: SampleOptions): Promise<Completion[]> {
    this.onCall('sample')
    const one = ({ prompt, seed }: SampleRequest<number>, requestIndex: number, sampleIndex: number): Completion => {
      const random = createRandom(seed, sampleIndex)
      const completionIds: number[] = []
      const logProbs: number[] = []
      while (completionIds.length < options.maxTokens && completionIds.at(-1) !== 0) {
        const distribution = logSoftmax(
          this.tables.logits[this.#row(prompt, completionIds.length)] as number[],
          options.temperature === 0 ? 1 : options.temperature,
        )
        let left = random.uniform()
        const token =
          options.temperature === 0
            ? distribution.indexOf(Math.max(...distribution))
            : distribution.findIndex((logProb) => (left -= Math.exp(logProb)) < 0)
        completionIds.push(token < 0 ? this.vocabulary - 1 : token)
        logProbs.push(distribution[completionIds.at(-1) as number] as number)
      }
      const finishReason = completionIds.at(-1) === 0 ? 'stop' : 'length'
      const text = completionIds.filter((id) => id !== 0).join(' ')
      return { requestIndex, sampleIndex, completionIds, text, logProbs, finishReason }
    }
    return requests.flatMap((request, index) => Array.from({ length: request.n }, (_, k) => one(request, index, k)))
  }

  #scores(logits: readonly number[][], { sequences, temperature }: TokenBatch<number>): TokenScores {
    const rows = sequences.map(({ prompt, completionIds }) =>
      completionIds.map((id, t) => {
        const distribution = logSoftmax(logits[this.#row(prompt, t)] as number[], temperature)
        const entropy = -distribution.reduce((total, logProb) => total + Math.exp(logProb) * logProb, 0)
        return { logProb: distribution[id] as number, entropy }
      }),
    )
    return {
      logProbs: rows.map((tokens) => Float32Array.from(tokens, ({ logProb }) => logProb)),
      entropies: rows.map((tokens) => Float32Array.from(tokens, ({ entropy }) => entropy)),
    }
  }

  async score(batch: TokenBatch<number>): Promise<TokenScores> {
    this.onCall('score')
    this.#allocate(batch)
    return this.#scores(this.tables.logits, batch)
  }

  async scoreReference(batch: TokenBatch<number>): Promise<TokenScores> {
    if (!this.tables.reference) throw new Error('no reference')
    return this.#scores(this.tables.reference, batch)
  }

  async snapshotReference(): Promise<void> {
    this.tables.reference = structuredClone(this.tables.logits)
  }

  async accumulate(batch: TokenBatch<number>, loss: TokenLoss): Promise<LossReport> {
    this.onCall('accumulate')
    this.#allocate(batch)
    const scores = this.#scores(this.tables.logits, batch)
    const { loss: value, logProbGradients, entropyGradients } = loss(scores)
    batch.sequences.forEach(({ prompt, completionIds }, index) => {
      completionIds.forEach((id, t) => {
        const row = this.#row(prompt, t)
        const distribution = logSoftmax(this.tables.logits[row] as number[], batch.temperature)
        const entropy = scores.entropies[index]?.[t] as number
        const fromLogProb = logProbGradients[index]?.[t] as number
        const fromEntropy = entropyGradients?.[index]?.[t] ?? 0
        distribution.forEach((logProb, token) => {
          const p = Math.exp(logProb)
          const gradient = fromLogProb * ((token === id ? 1 : 0) - p) - fromEntropy * p * (logProb + entropy)
          const gradients = this.tables.gradients[row] as number[]
          gradients[token] = (gradients[token] as number) + gradient / batch.temperature
        })
      })
    })
    return { loss: value, scores }
  }

  async step({ learningRate, weightDecay, maxGradNorm = Infinity }: StepOptions): Promise<StepReport> {
    this.onCall('step')
    const { logits, gradients, first, second } = this.tables
    const gradNorm = Math.sqrt(gradients.flat().reduce((total, value) => total + value * value, 0))
    this.tables.gradients = zeros(gradients.length, this.vocabulary)
    if (!Number.isFinite(gradNorm)) return { gradNorm, applied: false }
    const scale = Math.min(1, maxGradNorm / gradNorm)
    const t = ++this.tables.updates
    for (let row = 0; row < logits.length; row++) {
      for (let token = 0; token < this.vocabulary; token++) {
        const at = (table: number[][]) => (table[row] as number[])[token] as number
        const set = (table: number[][], value: number) => ((table[row] as number[])[token] = value)
        const gradient = at(gradients) * scale
        set(first, 0.9 * at(first) + 0.1 * gradient)
        set(second, 0.999 * at(second) + 0.001 * gradient * gradient)
        const direction = at(first) / (1 - 0.9 ** t) / (Math.sqrt(at(second) / (1 - 0.999 ** t)) + 1e-8)
        set(logits, at(logits) * (1 - learningRate * weightDecay) - learningRate * direction)
      }
    }
    return { gradNorm, applied: true }
  }

  discardGradients(): void {
    this.onCall('discardGradients')
    this.tables.gradients = zeros(this.tables.logits.length, this.vocabulary)
  }

  /** Fails as a device does that has too little memory. */
  #allocate({ sequences }: TokenBatch<number>): void {
    const tokens = sequences.length * Math.max(...sequences.map(({ completionIds }) => 1 + completionIds.length))
    if (tokens <= this.memory) return
    const error = new Error(`${tokens} tokens do not fit into memory for ${this.memory}.`)
    error.name = 'OutOfMemoryError'
    throw error
  }

  setTrainable(groups: readonly string[]): void {
    this.trainable = groups
  }

  async resetOptimizer(): Promise<void> {
    const { logits } = this.tables
    Object.assign(this.tables, {
      first: zeros(logits.length, this.vocabulary),
      second: zeros(logits.length, this.vocabulary),
      updates: 0,
    })
  }

  async save(directory: string): Promise<void> {
    await writeFile(join(directory, 'logits.json'), JSON.stringify(this.tables.logits))
    this.onCall('save')
    const { first, second, updates, reference } = this.tables
    await writeFile(join(directory, 'optimizer.json'), JSON.stringify({ first, second, updates, reference }))
  }

  async load(directory: string): Promise<void> {
    this.onCall('load')
    const read = async (name: string) => JSON.parse(await readFile(join(directory, name), 'utf8')) as Partial<Tables>
    Object.assign(this.tables, { logits: await read('logits.json') }, await read('optimizer.json'))
    this.tables.gradients = zeros(this.tables.logits.length, this.vocabulary)
  }

  promptLength(): number {
    return 1
  }

  /** Probability that a prompt's completion is exactly these tokens. */
  probability(prompt: number, tokens: readonly number[]): number {
    return tokens.reduce((product, token, position) => {
      const distribution = logSoftmax(this.tables.logits[this.#row(prompt, position)] as number[], 1)
      return product * Math.exp(distribution[token] as number)
    }, 1)
  }
}
