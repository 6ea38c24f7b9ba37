/**
 * The nano preset of `@revisual/model`: one supervised step of its policy (vision tower, decoder, log-probs, backward,
 * AdamW), and generation. Images are rows of patches made here; questions and answers are fixed.
 */
import { createModel, createPolicy, nanoConfig } from '@revisual/model'
import { numbers } from '../lib/data.mjs'
import { promptFromIds } from '../../packages/model/src/prompt.ts'
import { createNanoTokenizer } from '../../packages/model/src/text/nano-tokenizer.ts'

const words = [...'0123456789', '+', '-', '=', ',', '.', '?', 'the', 'digits', 'are', 'what', 'is', 'sum', 'of', 'and']

/** What the processor makes of a picture `digits` digits wide: rows of patches, here of noise. */
function picture({ patchSize, temporalPatchSize }, digits, seed) {
  const [rows, columns] = [28 / patchSize, (28 * digits) / patchSize]
  const pixelValues = numbers(rows * columns * 3 * temporalPatchSize * patchSize ** 2, seed)
  return { grid: [1, rows, columns], pixelValues }
}

function open(device) {
  const config = nanoConfig()
  const { tokens, text, vision } = config.architecture
  const tokenizer = createNanoTokenizer(words, text.vocabularySize)
  const model = createModel(device, { config, tokenizer, seed: 1 })
  const control = (name) => tokenizer.encode(name, 'all')
  const prompt = (index) => {
    const digits = 2 + (index % 2)
    const image = picture(vision, digits, index)
    const [, rows, columns] = image.grid
    const cells = (rows * columns) / vision.mergeSize ** 2
    const ids = [
      ...control('<|vision_start|>'),
      ...new Array(cells).fill(tokens.image),
      ...control('<|vision_end|>'),
      ...tokenizer.encode('what is the sum of the digits ?', 'text'),
      ...control('<|im_start|>'),
    ]
    return promptFromIds(config, '', ids, [image])
  }
  return { model, policy: createPolicy(model), prompt }
}

const answers = [
  '<think> the digits are 3 and 5 . 3 + 5 = 8 </think> \\boxed{8}',
  '<think> 1 + 9 = 1 0 </think> \\boxed{10}',
]

/** Mean negative log-probability over `total` tokens. */
const crossEntropy =
  (total) =>
  ({ logProbs }) => ({
    loss: logProbs.reduce((sum, row) => sum - row.reduce((a, b) => a + b, 0), 0) / total,
    logProbGradients: logProbs.map((row) => new Float32Array(row.length).fill(-1 / total)),
  })

export function buildNano(device, { sequences }) {
  const { model, policy, prompt } = open(device)
  const batch = {
    sequences: Array.from({ length: sequences }, (_, index) => ({
      prompt: prompt(index),
      completionIds: model.encodeCompletion(answers[index % 2]),
    })),
    temperature: 1,
    vocabulary: 'full',
  }
  const total = batch.sequences.reduce((sum, { completionIds }) => sum + completionIds.length, 0)
  let loss = NaN
  return {
    async step() {
      loss = (await policy.accumulate(batch, crossEntropy(total))).loss
      await policy.step({ learningRate: 1e-3, weightDecay: 0, maxGradNorm: 1 })
    },
    finish: () => device.sync(),
    sample: async () => [loss],
    dispose: () => model.parameters.dispose(),
  }
}

export function buildDecode(device, { sequences, tokens }) {
  const { model, policy, prompt } = open(device)
  let last = []
  return {
    async step() {
      const requests = [0, 1, 2, 3].map((index) => ({ prompt: prompt(index), n: sequences / 4, seed: index }))
      last = await policy.sample(requests, { maxTokens: tokens, temperature: 1 })
    },
    finish: () => device.sync(),
    sample: async () => last.slice(0, 8).map(({ completionIds }) => completionIds[0] ?? -1),
    dispose: () => model.parameters.dispose(),
  }
}
