import type { OptionsSchema, RewardBatch, RewardPlugin } from '@revisual/rl'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import plugin, { format, hasReasoningFormat, length, lengthReward, repetition, repetitionScore } from './index.js'

const context = { signal: new AbortController().signal }

function batch(
  completions: readonly string[],
  completionLengths = completions.map((text) => text.length),
): RewardBatch {
  return {
    prompts: completions.map(() => 'question'),
    completions,
    completionLengths,
    finishReasons: completions.map(() => 'stop'),
    rows: completions.map(() => ({ answer: '1' })),
    step: 1,
  }
}

/** Loads a plugin as the trainer does: options checked, then created. */
async function load<Options>(reward: RewardPlugin<Options>, options: unknown) {
  const result = await (reward.options as OptionsSchema<Options>)['~standard'].validate(options)
  if (result.issues) throw new RangeError(result.issues.map((issue) => issue.message).join('; '))
  return await reward.create(result.value)
}

describe('format', () => {
  test('is the default export, called format', () => {
    expect(plugin).toBe(format)
    expect(format.name).toBe('format')
  })

  test.each([
    '<think>because</think>\\boxed{1}',
    '  <think>\nbecause\n</think>\n\nSo \\boxed{\\frac{1}{2}}. Done.',
    '<think> 8 + 7 = 1 5 </think> \\boxed{ 1 5 }',
    '<think>\\boxed{1}? No.</think>\\boxed{\\{1\\}}',
  ])('%j has it', (text) => {
    expect(hasReasoningFormat(text)).toBe(true)
  })

  test.each([
    '',
    '\\boxed{1}',
    '<think>because</think>1',
    '<think>because \\boxed{1}</think>',
    '<think>because \\boxed{1}',
    '<think></think>\\boxed{1}',
    '<think> </think>\\boxed{1}',
    'Sure! <think>because</think>\\boxed{1}',
    '<think>a</think><think>b</think>\\boxed{1}',
    '<think>a</think>b</think>\\boxed{1}',
    '<think><think>a</think>\\boxed{1}',
    '<think>a</think>\\boxed{}',
    '<think>a</think>\\boxed{ }',
    '<think>a</think>\\boxed{1',
    '<think>a</think>\\boxed{\\}',
    '<think>a</think>\\boxed{1} \\boxed{2}',
    '<think>a</think>\\boxed{\\boxed{1}}',
  ])('%j has not', (text) => {
    expect(hasReasoningFormat(text)).toBe(false)
  })

  test('thoughts may have been opened by the prompt', async () => {
    const texts = ['because</think>\\boxed{1}', '<think>because</think>\\boxed{1}', '</think>\\boxed{1}']
    expect(await (await load(format, { openInPrompt: true }))(batch(texts), context)).toEqual([1, 0, 0])
    expect(await (await load(format, undefined))(batch(texts), context)).toEqual([0, 1, 0])
  })

  test('never throws', () => {
    const piece = fc.constantFrom('<think>', '</think>', '\\boxed{', '{', '}', '\\', 'a', ' ')
    fc.assert(
      fc.property(
        fc.array(piece).map((pieces) => pieces.join('')),
        (text) => {
          expect(typeof hasReasoningFormat(text)).toBe('boolean')
        },
      ),
    )
  })
})

describe('length', () => {
  test.each([
    [0, 1],
    [900, 1],
    [950, 0.75],
    [1000, 0.5],
    [1050, 0.25],
    [1100, 0],
    [5000, 0],
  ])('%d tokens of 1000: %d', (tokens, score) => {
    expect(lengthReward(tokens, { budget: 1000 })).toBeCloseTo(score, 12)
  })

  test('reads token counts, not characters', async () => {
    const reward = await load(length, { budget: 100, alpha: 0.01, delta: 1 })
    expect(await reward(batch(['a long text of many characters', ''], [150, 100]), context)).toEqual([0.5, 1])
  })

  test('falls with length and stays in [0, 1]', () => {
    fc.assert(
      fc.property(fc.nat(10_000), fc.nat(10_000), fc.integer({ min: 1, max: 9000 }), (a, b, budget) => {
        const [short, long] = [Math.min(a, b), Math.max(a, b)].map((tokens) => lengthReward(tokens, { budget }))
        expect(short).toBeGreaterThanOrEqual(long ?? NaN)
        expect(long).toBeGreaterThanOrEqual(0)
        expect(short).toBeLessThanOrEqual(1)
      }),
    )
  })
})

describe('repetition', () => {
  test.each<[text: string, sentences: number, ngrams: number, score: number]>([
    ['', 0, 0, 1],
    ['One two three. Four five six.', 0, 0, 1],
    ['One two three. one two THREE! Four.', 1, 0, 0.9],
    ['So. So. So. So.', 0, 0, 1],
    ['We get 3.5 here. We get 3.6 here.', 0, 0, 1],
    ['one two three four five, and one two three four five, yes', 0, 1, 0.95],
    ['But wait. But wait. But wait.', 0, 0, 1],
  ])('%j', (text, duplicateSentences, duplicateNgrams, score) => {
    const result = repetitionScore(text)
    expect(result).toMatchObject({ duplicateSentences, duplicateNgrams })
    expect(result.score).toBeCloseTo(score, 12)
  })

  test('deductions are capped: 0.5 for sentences, 0.3 for n-grams', () => {
    expect(repetitionScore('the same words again and again. '.repeat(50)).score).toBeCloseTo(0.2, 12)
    expect(repetitionScore('word '.repeat(500)).score).toBeCloseTo(0.7, 12)
  })

  test('options set the size and the price', async () => {
    const reward = await load(repetition, { n: 2, ngramPenalty: 0.5, ngramCap: 1, sentencePenalty: 0 })
    expect(await reward(batch(['a b a b', 'a b c']), context)).toEqual([
      { score: 0.5, parts: { duplicateSentences: 0, duplicateNgrams: 1 } },
      { score: 1, parts: { duplicateSentences: 0, duplicateNgrams: 0 } },
    ])
  })

  test('a text of n different words has no duplicates, said twice it has', () => {
    fc.assert(
      fc.property(fc.integer({ min: 5, max: 60 }), (count) => {
        const text = `${Array.from({ length: count }, (_, i) => `w${i}`).join(' ')}.`
        expect(repetitionScore(text).score).toBe(1)
        expect(repetitionScore(`${text} ${text}`).duplicateSentences).toBe(1)
        expect(repetitionScore(`${text} ${text}`).duplicateNgrams).toBe(count - 4)
      }),
    )
  })

  test('long runs of spaces, which hang the released patterns, are harmless', () => {
    expect(repetitionScore(' '.repeat(200_000)).score).toBe(1)
    expect(repetitionScore(`${' '.repeat(20_000)} But wait ${' '.repeat(20_000)}`).score).toBe(1)
  })
})

describe('options', () => {
  test.each<readonly [string, () => Promise<unknown>, RegExp]>([
    ['unknown name', () => load(format, { open: true }), /unknown; allowed: openInPrompt/],
    ['no object', () => load(format, 3), /is 3; allowed: an object/],
    ['wrong type', () => load(format, { openInPrompt: 'yes' }), /is "yes"; allowed: true, false/],
    ['missing', () => load(length, undefined), /is missing; allowed: a number from 1/],
    ['out of range', () => load(length, { budget: 100, delta: 2 }), /is 2; allowed: a number from 0 to 1/],
    ['not a number', () => load(length, { budget: NaN }), /allowed: a number from 1/],
    ['not an integer', () => load(repetition, { n: 2.5 }), /is 2.5; allowed: an integer from 2 to 64/],
  ])('%s', async (_, loading, message) => {
    await expect(loading()).rejects.toThrow(message)
  })
})
