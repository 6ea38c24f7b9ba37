import { expect, test } from 'vitest'
import { assertClose, NotCloseError } from './close.js'

test('accepts what the tolerance allows', () => {
  assertClose([100.0009, NaN, Infinity, -0], [100, NaN, Infinity, 0])
  assertClose([1.05], [1], { relative: 0, absolute: 0.1 })
})

test.each([
  [
    [1, 2.1, 3.5],
    [1, 2, 3],
    /values: 2 of 3 elements are off, the worst at 2: 3.5, expected 3 \(difference 0.5, allowed/,
  ],
  [[1], [1, 2], /1 elements; 2 were expected/],
  [[NaN], [1], /the worst at 0: NaN/],
  [[Infinity], [1e30], /the worst at 0: Infinity/],
  [[1], [NaN], /expected NaN/],
])('%j against %j fails', (actual, expected, message) => {
  expect(() => assertClose(actual, expected)).toThrow(message)
  expect(() => assertClose(actual, expected)).toThrow(NotCloseError)
})
