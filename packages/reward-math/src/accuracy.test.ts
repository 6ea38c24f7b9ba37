import type { RewardBatch, RewardValue } from '@revisual/rl'
import { describe, expect, test } from 'vitest'
import accuracy, { type AccuracyOptions } from './index.js'

const context = { signal: new AbortController().signal }

function batch(pairs: readonly (readonly [answer: string | number | null, completion: string])[]): RewardBatch {
  return {
    prompts: pairs.map(() => 'question'),
    completions: pairs.map(([, completion]) => completion),
    completionLengths: pairs.map(([, completion]) => completion.length),
    finishReasons: pairs.map(() => 'stop'),
    rows: pairs.map(([answer]) => ({ answer, other: '7' })),
    step: 1,
  }
}

async function rewards(
  pairs: readonly (readonly [string | number | null, string])[],
  options: AccuracyOptions = {},
): Promise<readonly RewardValue[]> {
  const reward = await accuracy.create(options)
  return await reward(batch(pairs), context)
}

const score = (value: RewardValue | undefined) => (typeof value === 'object' && value !== null ? value.score : value)

test('is called accuracy', () => {
  expect(accuracy.name).toBe('accuracy')
})

const table: readonly [answer: string | number, completion: string, score: number, options?: AccuracyOptions][] = [
  ['12', '<think>5+7</think>\\boxed{12}', 1],
  ['16', '<think> 8 + 8 = 1 6 </think> \\boxed{ 1 6 }', 1],
  [12, '<think>5+7</think>\\boxed{12}', 1],
  ['12', '<think>5+7</think>\\boxed{13}', 0],
  ['1/2', '<think></think>\\boxed{0.5}', 1],
  ['\\frac{\\sqrt2}{2}', '\\boxed{\\frac{1}{\\sqrt{2}}}', 1],
  ['12', '<think>\\boxed{12}</think>', 0],
  ['12', '<think>\\boxed{12}', 0],
  ['12', '\\boxed{12 or 13}', 0],
  ['12', '\\boxed{12}, or maybe 13', 0],
  ['12', '\\boxed{12', 0],
  ['12', '', 0],
  ['12', '<answer>12</answer>', 1],
  ['12', 'Therefore the answer is 12.', 1],
  ['12', 'It has 12 of them', 0],
  ['12', 'It has 12 of them', 1, { rules: ['last-number'] }],
  ['12', 'Therefore the answer is 12.', 0, { rules: ['boxed'] }],
  ['10', '\\boxed{10\\%}', 0],
  ['10', '\\boxed{10\\%}', 1, { percent: 'ignore' }],
  ['1/3', '\\boxed{0.333333}', 1],
  ['1/3', '\\boxed{0.333333}', 0, { decimals: 'exact' }],
  ['12', '\\boxed{5+7}', 1],
  ['12', '\\boxed{5+7}', 0, { requireEvaluated: true }],
  ['12', '\\boxed{11} or \\boxed{12}', 0],
  ['12', '\\boxed{11} or \\boxed{12}', 1, { boxes: 'last' }],
  ['12', '\\boxed{7}', 1, { column: 'other' }],
  ['12', 'Therefore the answer is 12.', 0, { profile: 'strict' }],
  ['649', '\\boxed{3245/5}', 0, { profile: 'strict' }],
  ['649', '\\boxed{3245/5}', 0.5, { profile: 'strict', credit: { unevaluated: 0.5 } }],
  ['12', '\\boxed{13}', 0.1, { credit: { answered: 0.1 } }],
  ['12', 'nothing', 0, { credit: { answered: 0.1 } }],
  ['12', '\\boxed{12}, or maybe 13', 0.2, { credit: { hedged: 0.2, answered: 0.1 } }],
  ['1/2', '\\boxed{2/4}', 0, { profile: 'gradeAnswer' }],
  ['10', '\\boxed{10\\%}', 1, { profile: 'gradeAnswer' }],
]

test.each(table)('gold %s, %s: %d %j', async (answer, completion, expected, options) => {
  const [value] = await rewards([[answer, completion]], options)
  expect(score(value)).toBe(expected)
})

test('one value per completion, in order, with parts', async () => {
  const values = await rewards([
    ['1', '\\boxed{1}'],
    ['1', 'nothing'],
    ['1', '\\boxed{1}. Or 2.'],
    ['1', '\\boxed{@}'],
  ])
  expect(values).toEqual([
    { score: 1, parts: { answered: 1, undecided: 0, hedged: 0 } },
    { score: 0, parts: { answered: 0, undecided: 0, hedged: 0 } },
    { score: 0, parts: { answered: 1, undecided: 0, hedged: 1 } },
    { score: 0, parts: { answered: 1, undecided: 1, hedged: 0 } },
  ])
})

test('undecided answers can be skipped', async () => {
  const values = await rewards(
    [
      ['1', '\\boxed{9^{9^{9^9}}}'],
      ['1', '\\boxed{2}'],
    ],
    { undecided: 'skip' },
  )
  expect(values.map(score)).toEqual([null, 0])
})

test('a row without an answer is named', async () => {
  await expect(rewards([[null, '\\boxed{1}']])).rejects.toThrow(/column 'answer' of completion 0 is null.*other/)
  await expect(rewards([['1', '\\boxed{1}']], { column: 'gold' })).rejects.toThrow(/column 'gold'.*missing/)
})

describe('options', () => {
  const validate = async (value: unknown) => await accuracy.options?.['~standard'].validate(value)

  test.each([
    undefined,
    {},
    { column: 'gold', rules: ['boxed'], boxes: 'last', percent: 'either', decimals: 3, requireEvaluated: true },
    { decimals: 'exact', undecided: 'skip' },
    { profile: 'strict', credit: { hedged: 0.5 } },
  ])('%j is allowed', async (value) => {
    expect(await validate(value)).toEqual({ value: value ?? {} })
  })

  test.each<readonly [unknown, RegExp]>([
    [null, /an object/],
    [[], /an object/],
    [{ colum: 'x' }, /unknown; allowed: profile, credit, column, rules/],
    [{ profile: 'mild' }, /mathVerify, gradeAnswer, strict/],
    [{ credit: { hedged: 2 } }, /from 0 to 1/],
    [{ column: '' }, /a column name/],
    [{ rules: [] }, /a list of boxed/],
    [{ rules: ['box'] }, /\["box"\]; allowed: a list of boxed/],
    [{ boxes: 'first' }, /join, last/],
    [{ percent: 1 }, /is 1; allowed: hundredth/],
    [{ decimals: 2.5 }, /0 to 15/],
    [{ requireEvaluated: 'yes' }, /true, false/],
    [{ undecided: 'half' }, /zero, skip/],
  ])('%j is refused', async (value, message) => {
    const result = await validate(value)
    expect(result?.issues?.map((issue) => issue.message).join()).toMatch(message)
  })
})
