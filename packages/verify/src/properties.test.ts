/** Invariants of the three profiles on generated answers. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { extractAnswer, isEquivalent, PROFILE_NAMES, verify } from './index.js'

const natural = fc.integer({ min: 1, max: 1e9 })
const fraction = fc.tuple(fc.integer({ min: -1e6, max: 1e6 }), fc.integer({ min: 1, max: 1e6 }))

const grouped = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ',')

describe('numbers', () => {
  test('thousands may be written with commas, kerns or spaces', () => {
    fc.assert(
      fc.property(natural, (n) => {
        for (const text of [grouped(n), grouped(n).replaceAll(',', '{,}'), grouped(n).replaceAll(',', ' ')])
          expect(isEquivalent(String(n), text).equal).toBe(true)
      }),
    )
  })

  test('sums of fractions are exact', () => {
    fc.assert(
      fc.property(fraction, fraction, ([a, b], [c, d]) => {
        const total = `\\frac{${BigInt(a) * BigInt(d) + BigInt(c) * BigInt(b)}}{${BigInt(b) * BigInt(d)}}`
        expect(isEquivalent(total, `\\frac{${a}}{${b}}+\\frac{${c}}{${d}}`).equal).toBe(true)
        expect(isEquivalent(`${total}+10^{-30}`, `\\frac{${a}}{${b}}+\\frac{${c}}{${d}}`).equal).toBe(false)
      }),
    )
  })

  test('mixed numbers, percents and scientific notation are values', () => {
    fc.assert(
      fc.property(natural, fc.integer({ min: 1, max: 98 }), fc.integer({ min: 1, max: 12 }), (n, part, exponent) => {
        expect(isEquivalent(`${n} ${part}/99`, `\\frac{${BigInt(n) * 99n + BigInt(part)}}{99}`).equal).toBe(true)
        expect(isEquivalent(`${n}\\%`, `\\frac{${n}}{100}`).equal).toBe(true)
        expect(isEquivalent(`${n}e${exponent}`, `${n} \\times 10^{${exponent}}`).equal).toBe(true)
      }),
    )
  })
})

describe('collections', () => {
  const items = fc.uniqueArray(fc.integer({ min: -500, max: 500 }), { minLength: 2, maxLength: 8 })
  const shuffled = items.chain((list) =>
    fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length, maxLength: list.length })),
  )

  test('sets and lists have no order, tuples have', () => {
    fc.assert(
      fc.property(shuffled, ([list, other]) => {
        const same = list.every((item, i) => item === other[i])
        expect(isEquivalent(`\\{${list.join()}\\}`, `\\{${other.join(', ')}\\}`).equal).toBe(true)
        expect(isEquivalent(list.join(' ; '), other.join(' ; ')).equal).toBe(true)
        expect(isEquivalent(`(${list.join(', ')})`, `(${other.join(', ')})`).equal).toBe(same)
      }),
    )
  })

  test('cardinality is met exactly, in every profile', () => {
    fc.assert(
      fc.property(items, fc.integer({ min: 501, max: 900 }), (list, extra) => {
        for (const profile of PROFILE_NAMES) {
          const gold = `\\{${list.join(', ')}\\}`
          expect(verify(gold, `\\boxed{\\{${[...list, extra].join(', ')}\\}}`, { profile }).equal).toBe(false)
          expect(verify(gold, `\\boxed{\\{${list.slice(1).join(', ')}\\}}`, { profile }).equal).toBe(false)
        }
      }),
      { numRuns: 40 },
    )
  })
})

describe('intervals', () => {
  const ends = fc.tuple(fc.integer({ min: -900, max: 900 }), natural).map(([a, width]) => [a, a + width] as const)

  test('an inequality is answered by its interval, and never the other way round', () => {
    fc.assert(
      fc.property(ends, fc.boolean(), ([a, b], closed) => {
        const interval = closed ? `[${a}, ${b}]` : `(${a}, ${b})`
        const relation = closed ? `${a} \\le x \\le ${b}` : `${a} < x < ${b}`
        expect(isEquivalent(relation, interval).equal).toBe(true)
        expect(isEquivalent(interval, relation).equal).toBe(false)
        expect(isEquivalent(interval, relation, { relationForSet: true }).equal).toBe(true)
      }),
    )
  })

  test('a union may be cut anywhere', () => {
    fc.assert(
      fc.property(ends, ends, ([a, b], [c, d]) => {
        const [low, high] = [Math.min(a, c), Math.max(b, d)]
        const overlap = Math.max(a, c) < Math.min(b, d)
        expect(isEquivalent(`(${low}, ${high})`, `(${a}, ${b}) \\cup (${c}, ${d})`).equal).toBe(overlap)
      }),
    )
  })
})

describe('matrices', () => {
  const entry = fc.integer({ min: -50, max: 50 })
  const square = fc.array(fc.array(entry, { minLength: 2, maxLength: 2 }), { minLength: 2, maxLength: 2 })
  const text = (rows: readonly (readonly number[])[]): string =>
    `\\begin{pmatrix}${rows.map((row) => row.join(' & ')).join(' \\\\ ')}\\end{pmatrix}`

  test('sums, products and determinants are computed', () => {
    fc.assert(
      fc.property(square, square, (a, b) => {
        const at = (m: readonly (readonly number[])[], i: number, j: number): number => m[i]?.[j] ?? 0
        const sum = a.map((row, i) => row.map((value, j) => value + at(b, i, j)))
        const product = a.map((_, i) => [0, 1].map((j) => at(a, i, 0) * at(b, 0, j) + at(a, i, 1) * at(b, 1, j)))
        expect(isEquivalent(text(sum), `${text(a)} + ${text(b)}`).equal).toBe(true)
        expect(isEquivalent(text(product), `${text(a)} ${text(b)}`).equal).toBe(true)
        const det = at(a, 0, 0) * at(a, 1, 1) - at(a, 0, 1) * at(a, 1, 0)
        expect(isEquivalent(String(det), `\\det ${text(a)}`).equal).toBe(true)
        expect(isEquivalent(String(det + 1), `\\det ${text(a)}`).equal).toBe(false)
      }),
    )
  })
})

describe('every profile', () => {
  const soup = fc
    .array(
      fc.constantFrom(
        ...'\\boxed{|}|{|\\frac|\\sqrt|^|_|(|)|[|]|,|;|=|≈|$|1|23|.5|x|\\pi|\\pm|-|+|/|!|%| |\\\\|&|\\sum_{k=1}^|\\$'.split(
          '|',
        ),
        ...[
          '\\text{ or }',
          '\\begin{pmatrix}',
          '\\end{pmatrix}',
          '<think>',
          '</think>',
          'answer is',
          '\\cup',
          '\\setminus',
        ],
      ),
      { maxLength: 30 },
    )
    .map((pieces) => pieces.join(''))
  const anything = fc.oneof(soup, fc.string({ unit: 'binary' }))

  test.each(PROFILE_NAMES)('%s never throws, and never for a defect of its own', (profile) => {
    fc.assert(
      fc.property(anything, anything, (a, b) => {
        expect(isEquivalent(a, b, { profile }).how.comparison).not.toBe('failure')
        expect(verify(a, b, { profile }).how.comparison).not.toBe('failure')
        expect(extractAnswer(b, { profile })).toHaveProperty('answer')
      }),
      { numRuns: 1500 },
    )
  })

  test.each(PROFILE_NAMES)('%s takes what is not text for nothing', (profile) => {
    const missing = undefined as unknown as string
    expect(verify('5', missing, { profile }).equal).toBe(false)
    expect(verify(missing, '\\boxed{5}', { profile }).equal).toBe(false)
    expect(extractAnswer(missing, { profile }).answer).toBeNull()
  })

  test('names that do not exist are refused with those that do', () => {
    expect(() => isEquivalent('1', '1', { profile: 'lenient' as never })).toThrow(
      /lenient; allowed: mathVerify, gradeAnswer/,
    )
  })
})
