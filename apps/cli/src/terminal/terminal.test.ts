import { expect, it } from 'vitest'
import { duration, rate } from './progress.js'
import { resultsTable } from './results.js'
import { bytesText, textTable } from './table.js'

it.each([
  [5.4, '5 s'],
  [61, '1 min 01 s'],
  [3599.6, '1 h 00 min'],
  [7260, '2 h 01 min'],
  [Infinity, '–'],
])('says %d seconds as %s', (seconds, text) => expect(duration(seconds)).toBe(text))

it.each([
  [2.5, '2.5/s'],
  [0.25, '4.0 s each'],
  [0, '–'],
])('says %d per second as %s', (perSecond, text) => expect(rate(perSecond)).toBe(text))

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [959_680 * 4, '3.7 MiB'],
  [200 * 2 ** 30, '200 GiB'],
])('says %d bytes as %s', (bytes, text) => expect(bytesText(bytes)).toBe(text))

it('aligns columns', () => {
  expect(textTable(['a', 'bb'], [['ccc', 'd']])).toBe('a    bb\n───  ──\nccc   d')
})

it('tables stages and tasks, with gaps where a task was not run', () => {
  const result = { n: 100, accuracy: 0.5, ci95: [0.404, 0.596] as const, formatRate: 1, meanTokens: 12.34 }
  const lines = resultsTable([
    { name: 'base', tasks: { image: result }, seconds: 0, steps: 0 },
    { name: 'rl', tasks: { image: result, text: result }, seconds: 90, steps: 40 },
  ]).split('\n')
  expect(lines[2]).toMatch(/^base +50\.0 % \[40\.4, 59\.6\] +100\.0 % +12\.3 +– +– +– +0 +–$/)
  expect(lines[3]).toMatch(/^rl .* 40 +1 min 30 s$/)
})
