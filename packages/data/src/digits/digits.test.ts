import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { digitSheetPath } from '../assets.js'
import { imageBytes } from '../images.js'
import type { Row } from '../types.js'
import { digitKinds, levelsOf, type DigitKind } from './problems.js'
import { digitsEvalSet, digitsRow, digitsStream, type DigitsOptions } from './rows.js'
import { digitsVocabulary } from './wording.js'

const train = { split: 'train', modality: 'text', seed: 0 } as const
const text = (count: number, options: Partial<DigitsOptions> = {}) => digitsStream({ ...train, ...options }).next(count)

/** The digits a text problem names. */
const named = (row: Row) => [.../^the digits are ([\d ,]+) \./.exec(row.question)![1]!.matchAll(/\d/g)].map(Number)

const pixelsOf = async (row: Row) => {
  const image = sharp(await imageBytes(row.images[0]!))
  // The file itself is grey; raw output would be RGB.
  expect(await image.metadata()).toMatchObject({ format: 'png', height: 28, channels: 1, depth: 'uchar' })
  return image.toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
}

/** Each digit's 28 × 28 square of a grey image, as a string. */
function squares(pixels: Uint8Array, width: number, height = 28): string[] {
  return Array.from({ length: (width * height) / 784 }, (_, index) => {
    const left = (index % (width / 28)) * 28
    const top = Math.floor(index / (width / 28)) * 28
    const lines = Array.from({ length: 28 }, (_, y) =>
      pixels.subarray((top + y) * width + left, (top + y) * width + left + 28),
    )
    return Buffer.concat(lines).toString('latin1')
  })
}

/** Which sheet column shows this square for this digit. */
async function sheetColumns(): Promise<Map<string, { digit: number; column: number }>> {
  const { data, info } = await sharp(digitSheetPath()).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
  return new Map(
    squares(data, info.width, info.height).map((square, i) => [
      square,
      { digit: Math.floor(i / 300), column: i % 300 },
    ]),
  )
}

describe('wording', () => {
  it('has a problem of each kind in the words agreed on', async () => {
    const examples = new Map((await text(400)).map((row) => [`${row.tags['task']} ${row.tags['level']}`, row]))
    const shown = (name: string) => [examples.get(name)!.question, examples.get(name)!.solution]
    expect([...examples.keys()].sort()).toEqual(
      digitKinds.flatMap((kind) => levelsOf(kind).map((level) => `${kind} ${level}`)).sort(),
    )
    expect(shown('add 3')).toMatchInlineSnapshot(`
      [
        "the digits are 8 , 7 , 1 . what is the sum ?",
        "<think> the digits are 8 , 7 , 1 . 8 + 7 = 1 5 , 1 5 + 1 = 1 6 </think> \\boxed{ 1 6 }",
      ]
    `)
    expect(shown('read 2')).toMatchInlineSnapshot(`
      [
        "the digits are 6 , 2 . what is the number ?",
        "<think> the digits are 6 , 2 . </think> \\boxed{ 6 2 }",
      ]
    `)
    expect(shown('subtract 2')).toMatchInlineSnapshot(`
      [
        "the digits are 6 , 5 . what is the difference ?",
        "<think> the digits are 6 , 5 . 6 - 5 = 1 </think> \\boxed{ 1 }",
      ]
    `)
    expect(shown('larger 3')).toMatchInlineSnapshot(`
      [
        "the digits are 1 , 7 , 2 . what is the largest ?",
        "<think> the digits are 1 , 7 , 2 . 1 < 7 , 7 > 2 </think> \\boxed{ 7 }",
      ]
    `)
    expect(shown('smaller 3')).toMatchInlineSnapshot(`
      [
        "the digits are 2 , 0 , 3 . what is the smallest ?",
        "<think> the digits are 2 , 0 , 3 . 2 > 0 , 0 < 3 </think> \\boxed{ 0 }",
      ]
    `)
    expect(shown('count 3')).toMatchInlineSnapshot(`
      [
        "the digits are 0 , 6 , 6 . how many are equal to 6 ?",
        "<think> the digits are 0 , 6 , 6 . 0 no , 6 yes , 6 yes </think> \\boxed{ 2 }",
      ]
    `)
    expect(shown('expression 5')).toMatchInlineSnapshot(`
      [
        "the digits are 7 , 8 , 3 , 9 . what is first + fourth - second - third ?",
        "<think> the digits are 7 , 8 , 3 , 9 . 7 + 9 = 1 6 , 1 6 - 8 = 8 , 8 - 3 = 5 </think> \\boxed{ 5 }",
      ]
    `)
  })

  it('stays within a vocabulary that fits 64 rows with the control tokens', async () => {
    const vocabulary = digitsVocabulary()
    expect(new Set(vocabulary).size).toBe(vocabulary.length)
    expect(vocabulary.length).toBeLessThanOrEqual(56)
    const said = new Set<string>()
    for (const style of ['reasoning', 'short', 'read'] as const) {
      for (const row of [
        ...(await text(1500, { style })),
        ...(await text(300, { style, nameDigits: false, split: 'heldout' })),
      ]) {
        for (const token of `${row.question} ${row.solution}`.split(' ')) said.add(token)
      }
    }
    expect([...said].sort()).toEqual([...vocabulary].sort())
  })

  it('can leave the digits unnamed, say only the answer, or only read', async () => {
    const options: DigitsOptions = { ...train, kinds: ['add'], levels: [3] }
    const full = await digitsRow(4, options)
    const [a, b, c] = named(full)
    const steps = /\. (.*) <\/think> (.*)/.exec(full.solution!)!
    expect(full.solution).toBe(`<think> the digits are ${a} , ${b} , ${c} . ${steps[1]} </think> ${steps[2]}`)
    expect((await digitsRow(4, { ...options, nameDigits: false })).solution).toBe(
      `<think> ${steps[1]} </think> ${steps[2]}`,
    )
    expect((await digitsRow(4, { ...options, style: 'short' })).solution).toBe(steps[2])
    expect(await digitsRow(4, { ...options, style: 'read', modality: 'image' })).toMatchObject({
      question: 'what are the digits ?',
      solution: `the digits are ${a} , ${b} , ${c} .`,
      answer: `${a},${b},${c}`,
      tags: { task: 'name' },
    })
  })
})

/** The answer worked out anew from question text alone. */
function solve(question: string): number {
  const digits = [.../^the digits are ([\d ,]+) \./.exec(question)![1]!.matchAll(/\d/g)].map(([digit]) => Number(digit))
  const asked = question.slice(question.indexOf('. ') + 2)
  const condition = /^how many are (even|equal to (\d)|larger than (\d)) \?$/.exec(asked)
  if (condition?.[1] === 'even') return digits.filter((digit) => digit % 2 === 0).length
  if (condition?.[2]) return digits.filter((digit) => digit === Number(condition[2])).length
  if (condition?.[3]) return digits.filter((digit) => digit > Number(condition[3])).length
  const simple: Record<string, () => number> = {
    'what is the number ?': () => Number(digits.join('')),
    'what is the sum ?': () => digits.reduce((a, b) => a + b),
    'what is the difference ?': () => Math.abs(digits[0]! - digits[1]!),
    'what is the largest ?': () => Math.max(...digits),
    'what is the smallest ?': () => Math.min(...digits),
  }
  if (simple[asked]) return simple[asked]()
  const terms = asked
    .replace(/^what is /, '+ ')
    .replace(/ \?$/, '')
    .split(' ')
  let value = 0
  for (let i = 0; i < terms.length; i += 2) {
    value += (terms[i] === '-' ? -1 : 1) * digits[['first', 'second', 'third', 'fourth'].indexOf(terms[i + 1]!)]!
  }
  return value
}

describe('problems', () => {
  it('are answered rightly, with true steps and no negative number', async () => {
    for (const row of [...(await text(1400)), ...(await text(300, { split: 'heldout' }))]) {
      expect(`${row.question} ${row.answer}`).toBe(`${row.question} ${solve(row.question)}`)
      expect(row.solution).toContain(`</think> \\boxed{ ${[...row.answer].join(' ')} }`)
      const trace = row.solution!.replace(/(?<=\d) (?=\d)/g, '')
      for (const [, a, sign, b, result] of trace.matchAll(/(\S+) ([+-]) (\S+) = (\S+)/g)) {
        expect(Number(a) + (sign === '+' ? 1 : -1) * Number(b), row.solution).toBe(Number(result))
      }
      for (const [, a, sign, b] of trace.matchAll(/(\d) ([<>]) (\d)/g))
        expect(sign === '<' ? a! < b! : a! > b!, trace).toBe(true)
      expect(trace).not.toMatch(/- \d+ =.* -\d|= -/)
    }
  })

  it('are balanced by kind, and only of the kinds and levels asked for', async () => {
    const rows = await text(70 + 3, { kinds: ['add', 'subtract', 'count'], levels: [2, 3] })
    const count = (kind: DigitKind) => rows.slice(0, 72).filter((row) => row.tags['task'] === kind).length
    expect([count('add'), count('subtract'), count('count')]).toEqual([24, 24, 24])
    const pairs = [...new Set(rows.map((row) => `${row.tags['task']} ${row.tags['level']}`))].sort()
    expect(pairs).toEqual(['add 2', 'add 3', 'count 2', 'count 3', 'subtract 2'])
  })

  it('are the same in images and in words, and differ by seed and split', async () => {
    const words = await text(30)
    const pictures = await text(30, { modality: 'image' })
    expect(pictures.map((row) => [row.answer, row.solution])).toEqual(words.map((row) => [row.answer, row.solution]))
    expect(words.map((row) => row.question)).toEqual(
      words.map((row, i) => `the digits are ${named(row).join(' , ')} . ${pictures[i]!.question}`),
    )
    const problems = (rows: readonly Row[]) => rows.map((row) => row.question)
    expect(problems(await text(30, { seed: 1 }))).not.toEqual(problems(words))
    expect(problems(await text(30, { split: 'heldout' }))).not.toEqual(problems(words))
  })

  it('keep sequences of three digits or more apart by split', async () => {
    const sequences = async (split: 'train' | 'heldout') =>
      new Set(
        (await text(4000, { split }))
          .map((row) => named(row))
          .filter((digits) => digits.length > 2)
          .map(String),
      )
    const [trained, heldOut] = [await sequences('train'), await sequences('heldout')]
    expect(heldOut.size).toBeGreaterThan(500)
    expect([...heldOut].filter((digits) => trained.has(digits))).toEqual([])
  })

  it('refuse selections without problems', () => {
    expect(() => digitsStream({ ...train, kinds: ['divide' as DigitKind] })).toThrow(
      /unknown kind 'divide'; allowed: read, add/,
    )
    expect(() => digitsStream({ ...train, kinds: [] })).toThrow(/'kinds' is empty/)
    expect(() => digitsStream({ ...train, levels: [9 as 1] })).toThrow(/unknown level 9; allowed: 1, 2/)
    expect(() => digitsStream({ ...train, kinds: ['subtract'], levels: [5] })).toThrow(
      /'subtract' has no problems of level 5; it has levels 1, 2/,
    )
  })
})

describe('random access', () => {
  it('gives row i whatever was read before, the same each time', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...digitKinds),
        fc.nat({ max: 2 ** 40 }),
        fc.integer(),
        fc.constantFrom('image' as const, 'text' as const),
        async (kind, index, seed, modality) => {
          const options: DigitsOptions = { split: 'train', modality, seed, kinds: [kind, 'add'] }
          const stream = digitsStream(options)
          stream.restore({ index })
          const [first, second] = await stream.next(2)
          expect(await digitsRow(index, options)).toEqual(first)
          expect(await digitsRow(index + 1, options)).toEqual(second)
        },
      ),
      { numRuns: 40 },
    )
  })

  it('makes the same evaluation set each time', async () => {
    const set = await digitsEvalSet({ modality: 'image', n: 20, seed: 0 })
    expect(await digitsEvalSet({ modality: 'image', n: 20, seed: 0 })).toEqual(set)
    expect(new Set(set.map((row) => row.id)).size).toBe(20)
    expect(set.every((row) => row.id.startsWith('digits/heldout/image/'))).toBe(true)
  })
})

describe('images', () => {
  it.each([
    ['train', 0, 239],
    ['heldout', 240, 299],
  ] as const)('of the %s split show the digits asked about, from columns %i to %i only', async (split, from, to) => {
    const columns = await sheetColumns()
    expect(columns.size).toBe(3000)
    const seen = new Set<number>()
    const words = await text(300, { split })
    for (const [i, row] of (await text(300, { split, modality: 'image' })).entries()) {
      const { data, info } = await pixelsOf(row)
      const found = squares(data, info.width).map((square) => columns.get(square)!)
      expect(found.map(({ digit }) => digit)).toEqual(named(words[i]!))
      for (const { column } of found) seen.add(column)
    }
    expect(Math.min(...seen)).toBe(from)
    expect(Math.max(...seen)).toBe(to)
  })

  it('move and get noise when asked, by the seed', async () => {
    const options: DigitsOptions = { ...train, modality: 'image', kinds: ['read'], levels: [1] }
    const plain = await pixelsOf(await digitsRow(0, options))
    const shifted = await pixelsOf(await digitsRow(0, { ...options, augmentation: { shift: 2 } }))
    const noisy = await pixelsOf(await digitsRow(0, { ...options, augmentation: { noise: 10 } }))
    expect(await pixelsOf(await digitsRow(0, { ...options, augmentation: { noise: 10 } }))).toEqual(noisy)
    const at = (pixels: Uint8Array, x: number, y: number) =>
      x < 0 || y < 0 || x > 27 || y > 27 ? 0 : pixels[y * 28 + x]!
    const offsets = [-2, -1, 0, 1, 2]
    const moves = offsets.flatMap((dx) =>
      offsets.map((dy) =>
        Uint8Array.from(plain.data, (_, i) => at(plain.data, (i % 28) - dx, Math.floor(i / 28) - dy)),
      ),
    )
    expect(moves.some((moved) => Buffer.compare(moved, shifted.data) === 0)).toBe(true)
    expect(shifted.data).not.toEqual(plain.data)
    expect(noisy.data).not.toEqual(plain.data)
    for (const [i, value] of noisy.data.entries()) expect(Math.abs(value - plain.data[i]!)).toBeLessThanOrEqual(10)
  })
})
