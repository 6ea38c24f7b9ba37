import { expect, test } from 'vitest'
import { expandPresets } from './rewards.js'

test('a preset becomes the released rewards, its weight their common factor', () => {
  const parts = expandPresets([
    { use: 'revisual-r1/math', weight: 0.5 },
    { use: 'format', weight: 0.1 },
  ])
  expect(parts.map(({ use, weight }) => [use, weight])).toEqual([
    ['accuracy', 0.4],
    ['selfCritique', 0.025],
    ['imageRevisit', 0.025],
    ['repetition', 0.025],
    ['format', 0.1],
  ])
  expect(parts[0]?.options).toEqual({ profile: 'gradeAnswer' })
})

test('the text mix, with options for its accuracy', () => {
  const parts = expandPresets([{ use: 'revisual-r1/text', options: { profile: 'strict', column: 'gold' } }])
  expect(parts.map(({ use, weight }) => [use, weight])).toEqual([
    ['accuracy', 0.85],
    ['repetition', 0.1],
    ['selfCritique', 0.05],
  ])
  expect(parts[0]?.options).toEqual({ profile: 'strict', column: 'gold' })
  expect(parts[1]?.options).toBeUndefined()
})

test('a preset has no name of its own', () => {
  expect(() => expandPresets([{ use: 'revisual-r1/text', name: 'mix' }])).toThrow(/remove its name 'mix'/)
})
