/**
 * Numbers every library is given: the same for the same size and seed, so that results can be compared.
 */

/** `size` values, uniform in [-scale, scale), by a linear congruential generator (Numerical Recipes' constants). */
export function numbers(size, seed, scale = 1) {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0
  const values = new Float32Array(size)
  for (let index = 0; index < size; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    values[index] = ((state >>> 8) / 2 ** 23 - 1) * scale
  }
  return values
}

/** About sixty-four values spread over a result. */
export function pick(values) {
  const step = Math.max(1, Math.floor(values.length / 61))
  const picked = []
  for (let index = 0; index < values.length; index += step) picked.push(Number(values[index]))
  return picked
}
