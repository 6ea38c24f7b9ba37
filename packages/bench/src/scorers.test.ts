import { digitsRow } from '@revisual/data'
import { describe, expect, it } from 'vitest'
import { hasReasoningFormat, mathScorer } from './scorers.js'

const row = { id: '1', question: 'q', images: [], answer: '10', source: 'test', tags: {} }

describe('hasReasoningFormat', () => {
  it.each([
    ['<think> 3 + 7 = 10 </think> \\boxed{10}', true],
    ['  <think>a</think>\nSo the answer is \\boxed{\\frac{1}{2}}.', true],
    ['<think> </think> \\boxed{10}', false],
    ['<think>a</think> \\boxed{}', false],
    ['<think>a</think> \\boxed{ }', false],
    ['<think>a</think> \\boxed{10', false],
    ['<think>a</think> \\boxed{\\frac{1}{2}', false],
    ['<think>a</think> 10', false],
    ['<think>a \\boxed{10}</think>', false],
    ['<think>a</think><think>b</think> \\boxed{10}', false],
    ['<think>a</think> \\boxed{10} \\boxed{11}', false],
    ['\\boxed{10}', false],
    ['so <think>a</think> \\boxed{10}', false],
    ['<think>a \\boxed{10}', false],
  ])('%s: %s', (text, expected) => {
    expect(hasReasoningFormat(text)).toBe(expected)
  })
})

describe('mathScorer', () => {
  it('takes the right answer, however it is written', async () => {
    for (const text of [
      '<think>3 + 7</think>\\boxed{10}',
      '\\boxed{10.0}',
      '<think>a</think>The answer is $\\boxed{\\frac{20}{2}}$.',
    ]) {
      expect(await mathScorer(row, text), text).toMatchObject({ correct: true })
    }
    expect(await mathScorer(row, '<think>a</think>\\boxed{10}')).toEqual({
      correct: true,
      formatted: true,
      extracted: '10',
      rule: 'boxed, same-text: correct',
    })
  })

  it('gives nothing for a wrong, hedged, missing, or only thought answer', async () => {
    for (const text of [
      '\\boxed{11}',
      '',
      '<think>\\boxed{10}</think>',
      '<think>\\boxed{10}',
      '<think>a</think> 10',
      '\\boxed{10} or 11',
      '\\boxed{10} or \\boxed{11}',
      '<think>\\boxed{10}</think>\\boxed{11}',
    ]) {
      expect(await mathScorer(row, text), text).toMatchObject({ correct: false })
    }
  })

  it('takes the worked solutions of the digits task as the nano tokenizer prints them', async () => {
    for (let index = 0; index < 100; index++) {
      const example = await digitsRow(index, { split: 'heldout', modality: 'text', seed: 0 })
      const printed = example.solution!.replace(/(?<=\d) (?=\d)/g, '').replace(/(?<=\{) | (?=\})/g, '')
      expect(await mathScorer(example, printed), printed).toMatchObject({
        correct: true,
        formatted: true,
        extracted: example.answer,
      })
    }
  })
})
