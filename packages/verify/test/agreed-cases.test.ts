import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { isEquivalent, verify, type VerifyOptions } from '../src/index.js'

interface AgreedCase {
  readonly id: string
  readonly form: 'text' | 'bare'
  readonly gold: string
  readonly prediction: string
  readonly options?: VerifyOptions
  readonly correct: boolean
}

const path = fileURLToPath(new URL('fixtures/agreed-cases.json', import.meta.url))
const cases = JSON.parse(readFileSync(path, 'utf8')) as readonly AgreedCase[]

describe('cases from public test suites', () => {
  test('the fixture is whole and has both verdicts', () => {
    expect(cases).toHaveLength(408)
    expect(cases.filter(({ correct }) => !correct)).toHaveLength(70)
  })

  test.each(cases)('$id', ({ form, gold, prediction, options, correct }) => {
    const judge = form === 'bare' ? isEquivalent : verify
    expect(judge(gold, prediction, options).correct).toBe(correct)
  })
})
