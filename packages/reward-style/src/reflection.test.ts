import { describe, expect, test } from 'vitest'
import {
  cosineLengthReward,
  hasReasoningFormat,
  imageRevisit,
  imageRevisitScore,
  languageShare,
  selfCritique,
  selfCritiqueScore,
} from './index.js'

describe('selfCritique', () => {
  test.each<[string, number]>([
    ['Two and two are four.', 0],
    ['There is a mistake here', 0.12],
    ['A mistake. A mistake', 0.18],
    ['This is wrong, so one.', 0.1],
  ])('%j earns %d', (text, score) => {
    expect(selfCritiqueScore(text).score).toBeCloseTo(score, 12)
  })

  test('a word that is repeated does not go on earning, as released it does', () => {
    const text = Array.from({ length: 50 }, () => 'but').join(' ')
    expect(selfCritiqueScore(text).score).toBeCloseTo(0.06, 12)
    expect(selfCritiqueScore(text, { maxCount: 1000 }).score).toBe(1)
  })

  test('a doubt with its correction is worth more, within three sentences', () => {
    const near = 'It is 5. I made a mistake. So. The correct answer is 6.'
    const far = 'It is 5. I made a mistake. So. So. So. The correct answer is 6.'
    expect(selfCritiqueScore(near).pairs).toBe(1)
    expect(selfCritiqueScore(far).pairs).toBe(0)
  })

  test('stays in [0, 1] and takes time by length', () => {
    const text = 'Wait, this is wrong. The error was mine. '.repeat(5000)
    const { score } = selfCritiqueScore(text)
    expect(score).toBeGreaterThan(0.5)
    expect(score).toBeLessThanOrEqual(1)
    expect(selfCritiqueScore(' '.repeat(100_000)).score).toBe(0)
  })

  test('is a plugin with parts', async () => {
    const reward = await selfCritique.create({})
    const batch = {
      prompts: [''],
      completions: ['A mistake.'],
      completionLengths: [2],
      finishReasons: ['stop' as const],
      rows: [{}],
      step: 1,
    }
    expect(await reward(batch, { signal: new AbortController().signal })).toEqual([
      { score: 0.12, parts: { words: 0.12, pairs: 0 } },
    ])
    expect(imageRevisit.name).toBe('imageRevisit')
  })
})

describe('imageRevisit', () => {
  test.each<[string, number]>([
    ['It is 5.', 0],
    ['The image shows 5.', 0.2],
    ['The image shows 5. The image shows 5. The image shows 5.', 0.2],
    ['As shown, in the image there are 5. From the image we take 6.', 0.4],
    ['Taking another look. I see that it is 6.', 0],
    ['The image shows 5. Taking another look. I see that it is 6.', 0.8],
  ])('%j earns %d', (text, score) => {
    expect(imageRevisitScore(text).score).toBeCloseTo(score, 12)
  })
})

describe('language', () => {
  test.each<[string, number | null]>([
    ['All of this is one language', 1],
    ['所以 answer 是', 1 / 4],
    ['$x + y = 5$', null],
    ['\\frac{1}{2}', null],
  ])('%j: %d', (text, share) => {
    expect(languageShare(text)).toBe(share)
  })
  test('in another script', () => {
    expect(languageShare('所以答案是五', { script: 'Han' })).toBe(1)
  })
})

test('cosine-scaled length runs from short to long', () => {
  const options = { maxLength: 100 }
  expect([0, 50, 100, 500].map((tokens) => cosineLengthReward(tokens, options))).toEqual([
    1,
    expect.closeTo(0.5, 12),
    0,
    0,
  ])
  expect(cosineLengthReward(100, { maxLength: 100, short: 0, long: -1 })).toBe(-1)
})

test('the lenient format allows several boxes and text around them', () => {
  const text = '<think>a</think> \\boxed{1} or rather \\boxed{2}'
  expect(hasReasoningFormat(text)).toBe(false)
  expect(hasReasoningFormat(text, { mode: 'lenient' })).toBe(true)
  expect(hasReasoningFormat('\\boxed{1} <think>a</think>', { mode: 'lenient' })).toBe(false)
})
