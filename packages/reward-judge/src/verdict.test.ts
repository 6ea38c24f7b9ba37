import { describe, expect, test } from 'vitest'
import { afterThoughts, fillTemplate, shortened } from './prompt.js'
import { parseVerdict } from './verdict.js'

const table: readonly [reply: string, score: number | null, scale?: readonly [number, number]][] = [
  ['{"score": 0.8}', 0.8],
  ['{"score":1}', 1],
  ['{"reason": "right", "score": "0.25"}', 0.25],
  ['```json\n{"score": 0}\n```', 0],
  ['{"score": 0.1} no, {"score": 0.9}', 0.9],
  ['<think>maybe {"score": 1}</think>{"score": 0}', 0],
  ['<think>{"score": 1}', null],
  ['0.5', 0.5],
  ['Both agree.\n**Score: 0.75**', 0.75],
  ['Rating: 7', 2 / 3, [1, 10]],
  ['{"score": 10}', 1, [1, 10]],
  ['{"score": -1}', 0, [-1, 1]],
  ['{"score": 1.5}', null],
  ['{"score": 0.5/10}', null],
  ['{"score": null}', null],
  ['{"score": 1e-3}', null],
  ['{"score"', null],
  ['Score: 0.5/1', null],
  ['it took 1', null],
  ['the answer: 1', null],
  ['', null],
]

test.each(table)('%s: %d', (reply, expected, scale) => {
  const score = parseVerdict(reply, scale ?? [0, 1])
  if (expected === null) expect(score).toBeNull()
  else expect(score).toBeCloseTo(expected, 12)
})

test('long replies are read from their end, hostile ones in one pass', () => {
  expect(parseVerdict('x'.repeat(1_000_000) + '{"score": 1}', [0, 1])).toBe(1)
  expect(parseVerdict(`{"score": 1}${' '.repeat(1_000_000)}?`, [0, 1])).toBeNull()
  for (const piece of ['"score"', '<think>', '{', '\n', '9', '"score": ']) {
    expect(parseVerdict(piece.repeat(200_000), [0, 1])).toBeNull()
  }
})

describe('the prompt', () => {
  test('filled-in text is not read again', () => {
    const fields = { question: '{answer}', answer: 'secret', completion: '{question} {answer} $&' }
    expect(fillTemplate('Q {question} C {completion} {other}', fields)).toBe(
      'Q {answer} C {question} {answer} $& {other}',
    )
  })

  test('long texts lose their middle', () => {
    const text = shortened('a'.repeat(500) + 'b'.repeat(500), 100)
    expect(text).toMatch(/^a+\n\[…\]\nb+$/)
    expect(text.length).toBeLessThanOrEqual(100)
    expect(shortened('short', 100)).toBe('short')
  })

  test('thoughts are no answer', () => {
    expect(afterThoughts('<think>12</think> 13')).toBe('13')
    expect(afterThoughts('<think>12')).toBe('')
    expect(afterThoughts('12')).toBe('12')
  })
})
