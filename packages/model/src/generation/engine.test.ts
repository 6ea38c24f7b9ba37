import { createDevice, type Device } from '@revisual/tensor'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { difference, nanoModel, samplePrompts } from '../../test/support.js'
import type { VisionLanguageModel } from '../model.js'
import { createPolicy } from '../policy/policy.js'
import type { ModelPrompt } from '../prompt.js'
import { EngineClosedError, GenerationEngine, type EngineOptions } from './engine.js'
import type { EngineRequest } from './request.js'
import { samplingMask } from './sampling-mask.js'
import type { GeneratedSequence, GenerationEvent } from './sequence.js'

let device: Device
let model: VisionLanguageModel
let prompts: ModelPrompt[]
let engines: GenerationEngine[] = []
beforeAll(async () => {
  device = await createDevice()
  model = nanoModel(device)
  prompts = await samplePrompts(model)
})
afterEach(async () => {
  await Promise.all(engines.map((engine) => engine.close()))
  engines = []
})
afterAll(() => device.destroy())

function engine(options: EngineOptions = {}): GenerationEngine {
  const made = new GenerationEngine(model.network, {
    tokenizer: model.tokenizer,
    mask: samplingMask(model),
    ...options,
  })
  engines.push(made)
  return made
}

const request = (prompt: number, more: Partial<EngineRequest> = {}): EngineRequest => ({
  prompt: prompts[prompt] as ModelPrompt,
  n: 1,
  seed: 1,
  maxTokens: 8,
  temperature: 1,
  ...more,
})

async function alone(one: EngineRequest, options: EngineOptions = {}): Promise<GeneratedSequence[]> {
  const own = engine(options)
  const result = await own.submit(one).result
  await own.close()
  return result
}

const idsOf = (sequences: readonly GeneratedSequence[]) => sequences.map(({ ids }) => ids)

async function checkIndependence(options: EngineOptions): Promise<void> {
  const requests = [
    request(0, { n: 3, maxTokens: 5 }),
    request(1, { temperature: 0, maxTokens: 40 }),
    request(2, { seed: 9, topK: 5, topP: 0.9, maxTokens: 11 }),
    request(0, { seed: 7, temperature: 0.6, minP: 0.05, repetitionPenalty: 1.3, maxTokens: 9 }),
    request(1, { n: 2, frequencyPenalty: 0.7, presencePenalty: 0.2, logitBias: new Map([[20, 3]]), maxTokens: 3 }),
  ]
  const limits = { maxSequences: 3, maxPrefillTokens: 16, ...options }
  const shared = engine(limits)
  const [first, ...rest] = requests as [EngineRequest, ...EngineRequest[]]
  const running = [shared.submit(first)]
  // The others arrive while it runs.
  await new Promise((resolve) => setTimeout(resolve, 30))
  running.push(...rest.map((each) => shared.submit(each)))
  const together = await Promise.all(running.map(({ result }) => result))
  for (const [index, each] of requests.entries()) {
    const solo = await alone(each, options.fixedBatch ? limits : {})
    expect(idsOf(together[index] ?? []), `request ${index}`).toEqual(idsOf(solo))
    expect(together[index]?.map(({ logProbs }) => logProbs)).toEqual(solo.map(({ logProbs }) => logProbs))
  }
  expect(shared.status).toMatchObject({ runningSequences: 0, waitingSequences: 0, reservedTokens: 0 })
}

describe('GenerationEngine', () => {
  it('gives every request what it gets alone, to the bit, whatever else runs and whenever it is admitted', async () => {
    await checkIndependence({})
  })

  it('does so with batches of fixed size where kernels go by the number of rows', async () => {
    const [on, of, its] = [device, model, prompts]
    device = await createDevice({ emulate: 'plain-gpu' })
    try {
      model = nanoModel(device)
      prompts = await samplePrompts(model)
      await checkIndependence({ fixedBatch: true })
    } finally {
      device.destroy()
      ;[device, model, prompts] = [on, of, its]
    }
  })

  it('gives the same with batches of fixed size', async () => {
    const one = request(2, { n: 2, maxTokens: 6 })
    const fixed = engine({ maxSequences: 5, fixedBatch: true })
    const [first] = await Promise.all([fixed.submit(one).result, fixed.submit(request(1)).result])
    expect(idsOf(first)).toEqual(idsOf(await alone(one)))
  })

  it("draws from the distribution that bias, penalties and temperature make of the model's", async () => {
    // All of these but the repetition penalty are the same for logits and for log-probs.
    const [temperature, presencePenalty, frequencyPenalty] = [0.8, 0.5, 0.3]
    const logitBias = new Map([
      [15, 2],
      [21, -1.5],
    ])
    const options = { temperature, presencePenalty, frequencyPenalty, logitBias, maxTokens: 12, topLogProbs: 64 }
    const events: GenerationEvent[] = []
    const onEvent = (event: GenerationEvent) => events.push(event)
    await engine().submit(request(1, options), { onEvent }).result
    const counts = new Map<number, number>()
    for (const { id, logProb, modelLogProb, top = [] } of events.flatMap((event) => event.tokens)) {
      expect(top.length).toBe(samplingMask(model).filter((value) => value === 0).length)
      expect(top.find((each) => each.id === id)?.logProb).toBeCloseTo(modelLogProb ?? NaN, 5)
      const scores = top.map((each) => {
        const count = counts.get(each.id) ?? 0
        const penalty = count > 0 ? presencePenalty + frequencyPenalty * count : 0
        return { id: each.id, score: (each.logProb + (logitBias.get(each.id) ?? 0) - penalty) / temperature }
      })
      const logSum = Math.log(scores.reduce((sum, { score }) => sum + Math.exp(score), 0))
      expect(logProb).toBeCloseTo((scores.find((each) => each.id === id)?.score ?? NaN) - logSum, 4)
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    expect(Math.max(...counts.values())).toBeGreaterThan(1)
  })

  it('never samples what the mask forbids, whatever the bias', async () => {
    const image = model.parts.config.architecture.tokens.image
    const [sequence] = await alone(request(1, { logitBias: new Map([[image, 1000]]), maxTokens: 4 }))
    expect(sequence?.ids).not.toContain(image)
  })

  it('penalises prompt and output for repetition', async () => {
    const one = request(1, { temperature: 0, maxTokens: 20 })
    const [plain] = await alone(one)
    const [penalised] = await alone({ ...one, repetitionPenalty: 1000 })
    expect(new Set(plain?.ids).size).toBeLessThan(20)
    // With such a penalty tokens of positive logit come first, each once, and those of the prompt last.
    const repeated = penalised?.ids.filter(
      (id, index) => one.prompt.ids.includes(id) || penalised.ids.indexOf(id) < index,
    )
    expect(repeated?.length).toBeLessThan(penalised?.ids.length ?? 0)
    expect(new Set(penalised?.ids.slice(0, 5)).size).toBe(5)
  })

  it('ends at stop ids, which are told but not spoken', async () => {
    const [free] = await alone(request(0, { maxTokens: 8 }))
    const stopId = free?.ids[4] as number
    const [sequence] = await alone(request(0, { maxTokens: 8, stopIds: [stopId] }))
    const end = (free?.ids.indexOf(stopId) ?? 0) + 1
    expect(sequence).toMatchObject({ finishReason: 'stop', stop: stopId, ids: free?.ids.slice(0, end) })
    expect(sequence?.text).toBe(model.tokenizer.decode(free?.ids.slice(0, end - 1) ?? []))
  })

  it('ends at stop strings that begin in one token and end in another, and streams none of them', async () => {
    const one = request(0, { maxTokens: 16, seed: 3 })
    const [free] = await alone(one)
    const text = free?.text ?? ''
    const stop = text.slice(7, 12)
    const events: GenerationEvent[] = []
    const onEvent = (event: GenerationEvent) => events.push(event)
    const [sequence] = await engine().submit({ ...one, stopStrings: ['never said', stop] }, { onEvent }).result
    const expected = text.slice(0, text.indexOf(stop))
    expect(sequence).toMatchObject({ finishReason: 'stop', stop, text: expected })
    expect(events.map((event) => event.text).join('')).toBe(expected)
    const told = events.flatMap((event) => event.tokens.map(({ id }) => id))
    expect(told).toEqual(free?.ids.slice(0, told.length))
    expect(told.length).toBeLessThan(sequence?.ids.length ?? 0)
    expect(model.tokenizer.decode(told).startsWith(expected)).toBe(true)
    expect(events.at(-1)?.finishReason).toBe('stop')
  })

  it('streams text that adds up, and aborts when nobody listens any more', async () => {
    const one = request(0, { n: 2, maxTokens: 10 })
    const expected = await alone(one)
    const texts = ['', '']
    const shared = engine()
    for await (const { sampleIndex, text } of shared.stream(one)) texts[sampleIndex] += text
    expect(texts).toEqual(expected.map(({ text }) => text))
    for await (const event of shared.stream(request(0, { maxTokens: 1000 }))) if (event.text !== '') break
    await shared.submit(request(1)).result
    expect(shared.status).toMatchObject({ runningSequences: 0, reservedTokens: 0 })
  })

  it('aborts one request without touching another', async () => {
    const shared = engine()
    const doomed = shared.submit(request(0, { n: 2, maxTokens: 500 }), {
      onEvent: () => doomed.abort(),
    })
    const kept = request(2, { maxTokens: 14 })
    const [aborted, other] = await Promise.all([doomed.result, shared.submit(kept).result])
    expect(aborted.map(({ finishReason }) => finishReason)).toEqual(['aborted', 'aborted'])
    expect(aborted[0]?.ids.length).toBeGreaterThan(0)
    expect(idsOf(other)).toEqual(idsOf(await alone(kept)))
    expect(shared.status.reservedTokens).toBe(0)
  })

  it('keeps to its token budget and refuses what can never fit', async () => {
    const one = request(1, { n: 5, maxTokens: 33 })
    const size = Math.ceil((one.prompt.ids.length - 1) / 32) * 32
    // Room for the prompt and two samples of two blocks.
    const tight = engine({ maxCacheTokens: size + 128 })
    let most = 0
    const generation = tight.submit(one, {
      onEvent: () => {
        most = Math.max(most, tight.status.reservedTokens)
        expect(tight.status.runningSequences).toBeLessThanOrEqual(2)
      },
    })
    expect(idsOf(await generation.result)).toEqual(idsOf(await alone(one)))
    expect(most).toBe(size + 128)
    expect(() => tight.submit(request(1, { maxTokens: 129 }))).toThrow(/maxTokens 129 need 192 cache tokens; 160/)
  })

  it('grows the cache under running sequences', async () => {
    const long = request(0, { maxTokens: 70 })
    const shared = engine()
    const first = shared.submit(long)
    await new Promise((resolve) => setTimeout(resolve, 50))
    const more = [1, 2, 1, 2].map((prompt, seed) => shared.submit(request(prompt, { n: 4, seed, maxTokens: 40 })))
    await Promise.all(more.map(({ result }) => result))
    expect(idsOf(await first.result)).toEqual(idsOf(await alone(long)))
  })

  it('finishes or ends what it has when closed, takes nothing more, and leaves nothing behind', async () => {
    const before = device.memory.liveTensors().length
    const drained = new GenerationEngine(model.network)
    const finishing = drained.submit(request(0, { maxTokens: 5 }))
    await drained.close({ drain: true })
    expect((await finishing.result)[0]).toMatchObject({ finishReason: 'length', text: '' })
    const stopped = new GenerationEngine(model.network)
    const ending = stopped.submit(request(0, { maxTokens: 500 }))
    await stopped.close()
    expect((await ending.result)[0]?.finishReason).toBe('aborted')
    expect(() => stopped.submit(request(0))).toThrow(EngineClosedError)
    expect(device.memory.liveTensors().length).toBe(before)
  })

  it.each([
    [{ n: 0 }, /n is 0; allowed: an integer from 1/],
    [{ maxTokens: 1.5 }, /maxTokens is 1.5; allowed: an integer/],
    [{ temperature: -1 }, /temperature is -1/],
    [{ temperature: NaN }, /temperature is NaN/],
    [{ topP: 0 }, /topP is 0; allowed: a number from 0.000001/],
    [{ minP: 2 }, /minP is 2/],
    [{ logitBias: new Map([[64, 1]]) }, /logitBias names token 64; allowed: ids from 0 to 63/],
    [{ stopStrings: [''] }, /stop string has 0 characters/],
    [{ prompt: { text: '', ids: [], images: [], positions: new Int32Array(), nextPosition: 0 } }, /prompt is empty/],
  ] as const)('refuses %j', (wrong, message) => {
    expect(() => engine().submit(request(0, wrong))).toThrow(message)
  })

  it('refuses stop strings without a tokenizer', () => {
    const mute = engine({ tokenizer: null })
    expect(() => mute.submit(request(0, { stopStrings: ['x'] }))).toThrow(/need a tokenizer/)
  })

  it('tells the log-prob the policy would', async () => {
    const [sequence] = await alone(request(2, { maxTokens: 10, topLogProbs: 1 }))
    const scores = await createPolicy(model).score({
      sequences: [{ prompt: prompts[2] as ModelPrompt, completionIds: sequence?.ids ?? [] }],
      temperature: 1,
      vocabulary: 'sampling',
    })
    expect(difference(scores.logProbs[0] ?? [], sequence?.logProbs ?? [])).toBeLessThan(1e-4)
  })
})
