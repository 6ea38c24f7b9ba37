import { expect, it } from 'vitest'
import { overlongPenalty } from './overlong.js'

it('falls linearly over the buffer and no further', () => {
  const settings = { buffer: 4, factor: 0.5, maxTokens: 10 }
  expect([1, 6, 7, 8, 10, 12].map((length) => overlongPenalty(length, settings) + 0)).toEqual([
    0, 0, -0.125, -0.25, -0.5, -0.5,
  ])
})
