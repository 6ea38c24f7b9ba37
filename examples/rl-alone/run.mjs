/**
 * GRPO with PAD on a policy of our own: for each of 6 prompts one of 8 answers is right, and the policy is a table of
 * logits. @revisual/rl never sees the table, only log-probs; a language model would stand behind the same methods.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { combineRewards, createRandom, train } from '@revisual/rl'

const PROMPTS = 6
const ANSWERS = 8
const rightAnswer = (prompt) => (5 * prompt + 3) % ANSWERS

const softmax = (logits) => {
  const weights = logits.map((logit) => Math.exp(logit - Math.max(...logits)))
  const total = weights.reduce((a, b) => a + b)
  return weights.map((weight) => weight / total)
}

class TablePolicy {
  logits = Array.from({ length: PROMPTS }, () => Array(ANSWERS).fill(0))
  gradients = this.logits.map((row) => [...row])

  /** n completions of one token for each prompt. */
  async sample(requests) {
    return requests.flatMap(({ prompt, n, seed }, requestIndex) =>
      Array.from({ length: n }, (_, sampleIndex) => {
        const probabilities = softmax(this.logits[prompt])
        let left = createRandom(seed, sampleIndex).uniform()
        const answer = Math.max(
          0,
          probabilities.findIndex((probability) => (left -= probability) < 0),
        )
        const logProbs = [Math.log(probabilities[answer])]
        const text = String(answer)
        return { requestIndex, sampleIndex, completionIds: [answer], text, logProbs, finishReason: 'stop' }
      }),
    )
  }

  async score({ sequences }) {
    const distributions = sequences.map(({ prompt }) => softmax(this.logits[prompt]))
    return {
      logProbs: distributions.map((p, i) => Float32Array.of(Math.log(p[sequences[i].completionIds[0]]))),
      entropies: distributions.map((p) => Float32Array.of(-p.reduce((total, q) => total + q * Math.log(q), 0))),
    }
  }

  /** The chain rule from log-probs to logits: d log p(a) / d logit(b) = [a = b] − p(b). */
  async accumulate(batch, loss) {
    const scores = await this.score(batch)
    const { loss: value, logProbGradients } = loss(scores)
    batch.sequences.forEach(({ prompt, completionIds: [answer] }, i) => {
      softmax(this.logits[prompt]).forEach((p, b) => {
        this.gradients[prompt][b] += logProbGradients[i][0] * ((b === answer ? 1 : 0) - p)
      })
    })
    return { loss: value, scores }
  }

  /** Plain gradient descent. */
  async step({ learningRate }) {
    const gradNorm = Math.hypot(...this.gradients.flat())
    const applied = Number.isFinite(gradNorm)
    if (applied) this.logits = this.logits.map((row, s) => row.map((x, b) => x - learningRate * this.gradients[s][b]))
    this.gradients = this.logits.map((row) => row.map(() => 0))
    return { gradNorm, applied }
  }

  setTrainable() {}
  async resetOptimizer() {}
  save = (directory) => writeFile(`${directory}/logits.json`, JSON.stringify(this.logits))
  load = async (directory) => void (this.logits = JSON.parse(await readFile(`${directory}/logits.json`, 'utf8')))
  promptLength = () => 1
}

let next = 0
const data = {
  next: (count) =>
    Array.from({ length: count }, () => next++ % PROMPTS).map((prompt) => {
      return { id: String(prompt), prompt, row: { answer: String(rightAnswer(prompt)) } }
    }),
  state: () => next,
  restore: (state) => void (next = state),
}

const accuracy = ({ completions, rows }) => completions.map((text, i) => (text === rows[i].answer ? 1 : 0))
const stage = { name: 'bandit', kind: 'rl', data, steps: 60, promptsPerStep: PROMPTS, groupSize: 8, learningRate: 4 }
const settings = { sampling: { maxTokens: 1, temperature: 1 }, pad: { variant: 'paper', low: 0.1, ratio: 0.75 } }
const rewards = combineRewards([{ name: 'accuracy', weight: 1, reward: accuracy }])

const onMetrics = ({ step, reward, ...metrics }) => {
  if (step % 5 !== 0) return
  const kept = `PAD kept ${metrics['pad/num_selected_samples']} of ${PROMPTS * 8}`
  console.log(
    `${String(step).padStart(3)}  reward ${reward.toFixed(3)}  ${'█'.repeat(Math.round(reward * 40)).padEnd(40)}  ${kept}`,
  )
}
await train({ policy: new TablePolicy(), stages: [{ ...stage, ...settings, rewards }], seed: 1, hooks: { onMetrics } })
