import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { extractAnswer, isEquivalent, verify, type VerifyOptions } from '../src/index.js'

interface JudgedCase {
  readonly id: string
  readonly form: 'text' | 'bare'
  readonly gold: string
  readonly prediction: string
  readonly options?: VerifyOptions
  readonly equal: boolean
  /** MathRuler's recorded verdict, for bare answers. */
  readonly mathRuler?: boolean
}

interface ExtractionCase {
  readonly id: string
  readonly form: 'extract'
  readonly text: string
  readonly options?: VerifyOptions
  readonly lowercase: boolean
  readonly extracted: readonly string[]
}

const path = fileURLToPath(new URL('fixtures/agreed-cases.json', import.meta.url))
const cases = JSON.parse(readFileSync(path, 'utf8')) as readonly (JudgedCase | ExtractionCase)[]
const judged = cases.filter((entry) => entry.form !== 'extract')
const extractions = cases.filter((entry) => entry.form === 'extract')

describe('cases from public test suites', () => {
  test('the fixture is whole and has both verdicts', () => {
    expect(extractions).toHaveLength(12)
    expect(judged.length).toBeGreaterThan(400)
    expect(judged.filter(({ equal }) => !equal).length).toBeGreaterThan(70)
  })

  test.each(judged)('$id', ({ form, gold, prediction, options, equal }) => {
    const judge = form === 'bare' ? isEquivalent : verify
    expect(judge(gold, prediction, options).equal).toBe(equal)
  })

  test.each(extractions)('$id', ({ text, options, lowercase, extracted }) => {
    const { answer, value } = extractAnswer(text, options)
    const choice = options?.choices !== undefined
    const found =
      answer === null ? [] : choice ? [lowercase ? answer.toLowerCase() : answer, answer] : [value ?? answer]
    expect(found).toEqual(extracted)
  })
})

describe('profile gradeAnswer', () => {
  const recorded = judged.filter(({ mathRuler }) => mathRuler !== undefined)

  test('has both verdicts to agree with', () => {
    expect(recorded.length).toBeGreaterThan(80)
    expect(new Set(recorded.map(({ mathRuler }) => mathRuler)).size).toBe(2)
  })

  test.each(recorded)('$id as MathRuler', ({ gold, prediction, mathRuler }) => {
    expect(isEquivalent(gold, prediction, { profile: 'gradeAnswer' }).equal).toBe(mathRuler)
  })
})
