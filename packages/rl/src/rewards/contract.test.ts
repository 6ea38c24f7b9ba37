import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { checkReward, type RewardCase, type RewardCheck } from './contract.js'

const lookup = { baseDir: fileURLToPath(new URL('../../test/fixtures/rewards', import.meta.url)) }

const cases: readonly RewardCase[] = ['yes', 'no', 'yes, and much more of it'].map((completion) => ({ completion }))

const failures = (checks: readonly RewardCheck[]) =>
  Object.fromEntries(checks.filter(({ outcome }) => outcome === 'failed').map(({ check, detail }) => [check, detail]))

const failuresOf = async (use: string, more: object = {}) =>
  failures(await checkReward({ use }, lookup, cases, { timeout: 2000, ...more }))

describe('checkReward', () => {
  it('passes a reward that keeps the contract, point by point', async () => {
    const spec = { use: './contract.mjs#kept', options: { target: 'yes' } }
    const expected = [1, 0, 0].map((score, index) => ({ ...(cases[index] as RewardCase), expected: score }))
    const checks = await checkReward(spec, lookup, expected)
    expect(checks.map(({ check, outcome }) => `${check} ${outcome}`)).toEqual([
      'load passed',
      'values passed',
      'time passed',
      'repeat passed',
      'split passed',
      'no changes passed',
      'expected passed',
      'odd texts passed',
      'options passed',
    ])
  })

  it('compares with what a case should get', async () => {
    const spec = { use: './contract.mjs#kept', options: { target: 'yes' } }
    const got = async (expected: number | null, tolerance?: number) =>
      failures(
        await checkReward(spec, lookup, [
          { completion: 'yes', expected, ...(tolerance === undefined ? {} : { tolerance }) },
        ]),
      )
    expect(await got(0.9)).toEqual({ expected: 'completion 0 got 1; expected: 0.9 ± 0.000001' })
    expect(await got(0.9, 0.2)).toEqual({})
    expect(await got(null)).toEqual({ expected: expect.stringContaining('expected: null') as unknown })
  })

  it.each([
    ['short', ['values'], /returned 1 values for 3 completions/],
    ['infinite', ['values'], /the value of completion 0 is Infinity/],
    ['moody', ['repeat', 'split'], /when the same batch was scored again/],
    ['ranking', ['split'], /completion 0 got .* with the batch in reverse order/],
    ['meddling', ['no changes'], /it changed completions of the batch; work on a copy/],
    ['fragile', ['odd texts'], /threw/],
    ['careless', ['options'], /accepts the unknown option 'no-such-option'/],
    ['thrower', ['options'], /cannot be loaded: must be an object/],
  ])('%s fails at %j', async (name, points, message) => {
    const found = await failuresOf(`./contract.mjs#${name}`)
    expect(Object.keys(found)).toEqual(points)
    expect(Object.values(found).join('\n')).toMatch(message)
  })

  it('stops a reward that does not return, and still examines its options', async () => {
    const checks = await checkReward({ use: './contract.mjs#endless' }, lookup, cases, { timeout: 200 })
    expect(failures(checks)).toEqual({ values: expect.stringContaining('took longer than 200 ms') as unknown })
    expect(checks.filter(({ outcome }) => outcome === 'skipped')).toHaveLength(5)
    expect(checks.at(-1)).toMatchObject({ check: 'options', outcome: 'passed' })
  })

  it('holds a reward to a time per completion', async () => {
    expect(await failuresOf('./contract.mjs#slow', { timePerCompletion: 1 })).toMatchObject({
      time: expect.stringMatching(/ms per completion; allowed: 1 ms/) as unknown,
    })
  })

  it('says that a reward cannot be loaded', async () => {
    expect(failures(await checkReward({ use: './none.mjs' }, lookup, cases))).toEqual({
      load: expect.stringContaining('There is no file') as unknown,
    })
  })

  it('wants cases', async () => {
    await expect(checkReward({ use: './good.mjs' }, lookup, [])).rejects.toThrow(/no cases/)
  })
})
