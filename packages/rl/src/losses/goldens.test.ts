import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as rl from '../index.js'

interface CheckedCase {
  readonly id: string
  readonly settings: { readonly [setting: string]: unknown }
  readonly error: number
  readonly ok: boolean
}

/** The conformance module, run on the sources instead of the build. */
const { checkFile } = (await import(new URL('../../../../scripts/conformance/rl.mjs', import.meta.url).href)) as {
  readonly checkFile: (module: typeof rl, file: unknown) => readonly CheckedCase[]
}

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../test/fixtures/${name}.json`, import.meta.url), 'utf8')) as {
    readonly cases?: readonly { readonly settings: object; readonly grad: number[][] }[]
    readonly losses?: readonly { readonly advantages: number[] }[]
  }

describe('values and gradients of other trainers', () => {
  it.each([
    ['trl-losses', 15],
    ['easyr1-core', 26],
  ])('%s', (name, count) => {
    const results = checkFile(rl, read(name))
    expect(results).toHaveLength(count)
    for (const result of results) expect(result, JSON.stringify(result)).toMatchObject({ ok: true })
  })

  it('are not met by other values or settings', () => {
    const { cases = [] } = read('trl-losses')
    const changed = cases.map((golden, index) => {
      if (index % 3 === 0) return { ...golden, grad: golden.grad.map((row) => row.map((value) => value + 1e-8)) }
      return { ...golden, settings: { ...golden.settings, ...(index % 3 === 1 ? { beta: 0.5 } : { unheard_of: 1 }) } }
    })
    expect(checkFile(rl, { cases: changed }).filter(({ ok }) => ok)).toEqual([])
  })
})
