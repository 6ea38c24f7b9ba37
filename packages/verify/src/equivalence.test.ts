import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type EquivalenceOptions, isEquivalent } from './index.js'

type Pair = readonly [gold: string, prediction: string]

const equal: Record<string, readonly Pair[]> = {
  numbers: [
    ['5', '5.0'],
    ['5', '+5'],
    ['-5', '−5'],
    ['0', '-0'],
    ['.5', '0.50'],
    ['1e3', '1000'],
    ['0.001', '1e-3'],
    ['1234567', '1,234,567'],
    ['1234567', '1{,}234{,}567'],
    ['10080', '10\\,080'],
    ['11111', '11,\\! 111'],
    ['1000', '1 000'],
    ['16', ' 1 6 '],
    ['16 1/2', '1 6\\frac12'],
    ['1/3', '0.\\overline{3}'],
    ['1/6', '0.1\\overline{6}'],
  ],
  fractions: [
    ['1/2', '2/4'],
    ['\\frac12', '\\dfrac{1}{2}'],
    ['\\frac{270}7', '270/7'],
    ['-\\frac{3}{4}', '\\frac{-3}{4}'],
    ['3 1/2', '\\frac{7}{2}'],
    ['8/3', '2 2 / 3'],
    ['-3\\frac12', '-3.5'],
    ['\\frac{\\frac12}{\\frac34}', '\\frac23'],
  ],
  percents: [
    ['28\\%', '28 percent'],
    ['0.28', '28%'],
    ['28\\%', '28\\text{ percent}'],
  ],
  'closed forms': [
    ['3\\sqrt{13}', '\\sqrt{117}'],
    ['\\frac{\\sqrt2}{2}', '\\frac{1}{\\sqrt 2}'],
    ['2', '\\sqrt[3]{8}'],
    ['-2', '\\sqrt[3]{-8}'],
    ['\\pi/2', '0.5\\pi'],
    ['\\ln 8', '3\\ln 2'],
    ['3', '\\log_2 8'],
    ['e^2', '\\exp(2)'],
    ['1024', '2^{10}'],
    ['2^{10}', '2^10'],
    ['10', '\\binom{5}{2}'],
    ['120', '5!'],
    ['0', '\\sin(\\pi)'],
    ['-1', 'e^{i\\pi}'],
    ['1/2', '\\sin 30^\\circ'],
    ['2', '17 \\bmod 5'],
    ['3', '|{-3}|'],
    ['3', '\\lfloor 3.7 \\rfloor'],
  ],
  expressions: [
    ['x^2+2x+1', '(x+1)^2'],
    ['\\frac{x+2}{7}', '\\frac x7+\\frac27'],
    ['\\tan^2 y+1', '\\sec^2(y)'],
    ['\\sqrt{1/n}', '\\frac{1}{\\sqrt n}'],
    ['ab', 'b \\cdot a'],
    ['x_1+x_{2}', 'x_2+x_{1}'],
    ['2 \\sin b \\cos a', '2\\cos a\\sin b'],
    ['x^{3/2}', 'x\\sqrt{x}'],
  ],
  units: [
    ['10', '10\\text{ cm}'],
    ['15\\mbox{ cm}^2', '15'],
    ['64 square feet', '64'],
    ['\\$10', '10'],
    ['72', '72 degrees'],
    ['90', '90^\\circ'],
    ['20', '20\\ \\mathrm{km}/\\text{h}'],
  ],
  collections: [
    ['(1,2)', '\\left( 1, 2\\right)'],
    ['(1,\\frac92)', '(1,4.5)'],
    ['\\{1,2,3\\}', '\\{3, 2, 1\\}'],
    ['1,2', '2 \\text{ and } 1'],
    ['\\{1,2\\}', '2, 1'],
    ['[0,1)', '[0, 1)'],
    ['(-\\infty,3)\\cup[5,\\infty)', '[5,+\\infty)\\cup(-\\infty,3)'],
    ['1\\pm\\sqrt2', '1-\\sqrt2, 1+\\sqrt2'],
    ['\\emptyset', '\\varnothing'],
    ['7:32', '7 : 32'],
    ['(0;1),(2;3)', '(2, 3), (0, 1)'],
    ['p=5,q=2;p=7,q=2', '(5,2),(7,2)'],
    ['\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}', '\\begin{bmatrix}1 & 2 \\\\ 3 & 8/2\\end{bmatrix}'],
  ],
  relations: [
    ['5', 'x=5'],
    ['x=5', '5'],
    ['(p,q)=(3,2)', '(3,2)'],
    ['x \\ge 5', '5 \\le x'],
    ['x<1', '-x>-1'],
    ['1<x<2', '(1,2)'],
    ['m \\ge 2', 'm \\in [2,\\infty)'],
    ['y=2x+3', 'y-2x=3'],
    ['11', 'x = 5+6 = 11'],
    ['\\frac{\\sqrt3}{3}', '\\frac{\\sqrt3}{3}\\approx 0.577'],
  ],
  words: [
    ['odd', '\\text{odd}'],
    ['Evelyn', '\\text{ evelyn }'],
    ['E', '\\mathrm{E}'],
    ['C', '\\text{(C)}'],
    ['yes', 'Yes.'],
  ],
}

const different: Record<string, readonly Pair[]> = {
  numbers: [
    ['5', '5.001'],
    ['5', '5.0000001'],
    ['1', '1 2'],
    ['2', '1 2'],
    ['32349', '32, 349'],
    ['1/3', '0.33'],
    ['\\pi', '3.14'],
    ['\\pi', '\\frac{22}{7}'],
    ['28\\%', '28'],
    ['2', '2 2/3'],
    ['10', '4 10/3'],
    ['4', '4\\sqrt(2)'],
    ['204_5', '204'],
    ['1000', '1_000'],
    ['12:00', '1:00'],
  ],
  'tiny and huge': [
    ['0.0000001', '0.0000002'],
    ['10^{-20}', '0'],
    ['0', '\\pi\\cdot 10^{-300}'],
    ['7', '\\pi\\cdot10^{20}-\\pi\\cdot10^{20}+5'],
    ['1', '10^{999999}'],
    ['\\frac{1}{2^{99}}', '\\frac{1}{2^{98}}'],
    ['\\frac{2^{2005}+1}{3\\cdot2^{2006}}', '\\frac{1}{3\\cdot2^{2006}}'],
  ],
  undefined: [
    ['1', '0/0'],
    ['0', '\\frac{0}{0}'],
    ['\\infty', '1/0'],
    ['1/0', '2/0'],
    ['\\ln 0', '\\ln(0)+1'],
  ],
  expressions: [
    ['x', '|x|'],
    ['x', '\\sqrt{x^2}'],
    ['f(x)', 'f(y)'],
    ['x^2+2x+1', 'y^2+2y+1'],
    ['1-\\frac1e', '1+\\frac1e'],
    ['x+2n+1', 'x+1'],
  ],
  collections: [
    ['(1,2)', '(2,1)'],
    ['(1,2)', '[1,2]'],
    ['(1,2)', '(1,2,3)'],
    ['\\{1,2\\}', '\\{1,2,3\\}'],
    ['1,2,3', '1,2'],
    ['(3,1)', '\\{1,3\\}'],
    ['\\pm 2', '2'],
    ['5', '5 \\pm 1'],
    ['[0,9)', '[0,1)'],
    ['1, 2, \\ldots, n', '1, 3, \\ldots, n'],
  ],
  relations: [
    ['4', '3+3=4'],
    ['x+z=1', '1'],
    ['7=11a+c', '11a+c'],
    ['x>5', 'x<5'],
    ['[-2,7]', '-2\\le x\\le 7'],
    ['x=5', 'y=5'],
    ['f(x)=0', '\\forall x>0, f(x)=0'],
  ],
  words: [
    ['odd', '\\text{oddd}'],
    ['d', '\\text{E}'],
    ['yes', '\\text{yes or no}'],
    ['A', 'ABCD'],
  ],
}

describe.each(Object.entries(equal))('equal: %s', (_, pairs) => {
  test.each(pairs)('%s is %s', (gold, prediction) => {
    expect(isEquivalent(gold, prediction)).toMatchObject({ equal: true, reason: 'correct' })
  })
})

describe.each(Object.entries(different))('different: %s', (_, pairs) => {
  test.each(pairs)('%s is not %s', (gold, prediction) => {
    expect(isEquivalent(gold, prediction).equal).toBe(false)
  })
})

describe('options', () => {
  const table: readonly [string, string, EquivalenceOptions, boolean][] = [
    ['10', '10%', { percent: 'ignore' }, true],
    ['10', '10 percent', { percent: 'ignore' }, true],
    ['10', '10%', { percent: 'either' }, true],
    ['0.1', '10%', { percent: 'either' }, true],
    ['1/3', '0.3333333333', {}, true],
    ['1/3', '0.3333333333', { decimals: 'exact' }, false],
    ['1/3', '0.333', { decimals: 3 }, true],
    ['1/3', '0.333', { decimals: 4 }, false],
    ['\\sqrt{17}', '4.12311', { decimals: 5 }, true],
    ['4, 10, -2', '10, 4, -2', {}, true],
    ['4, 10, -2', '10, 4, -2', { listOrder: 'keep' }, false],
    ['(1,2)', '[1,2]', { brackets: 'ignore' }, true],
    ['1.22', '1,22', { decimalComma: true }, true],
    ['1.22', '1,22', {}, false],
  ]
  test.each(table)('%s, %s, %j: %s', (gold, prediction, options, correct) => {
    expect(isEquivalent(gold, prediction, options).equal).toBe(correct)
  })

  test.each(['3245/5', '600+49', '649!/648!', '\\sum_{k=1}^{649} 1'])('requireEvaluated refuses %s', (prediction) => {
    expect(isEquivalent('649', prediction, { requireEvaluated: true }).equal).toBe(false)
  })
  test.each(['3/4', '-3/4', '0.75', '75\\%', '\\frac{3}{4}'])('requireEvaluated takes %s as it is', (answer) => {
    expect(isEquivalent(answer, answer, { requireEvaluated: true }).equal).toBe(true)
  })
  test('unevaluated is a status of its own', () => {
    expect(isEquivalent('649', '3245/5', { requireEvaluated: true }).reason).toBe('unevaluated')
    expect(isEquivalent('648', '3245/5', { requireEvaluated: true }).reason).toBe('incorrect')
  })
  test('an option out of range is named', () => {
    expect(() => isEquivalent('1', '1', { decimals: -1 })).toThrow(/decimals is -1; allowed/)
  })
})

test('every verdict says how it was reached', () => {
  expect(isEquivalent('odd', 'odd')).toMatchObject({ reason: 'correct', how: { comparison: 'same-text' } })
  expect(isEquivalent('1/2', '0.5')).toMatchObject({ reason: 'correct', how: { comparison: 'exact' } })
  expect(isEquivalent('1/3', '0.333333')).toMatchObject({ reason: 'correct', how: { comparison: 'rounded' } })
  expect(isEquivalent('\\sqrt8', '2\\sqrt2')).toMatchObject({ reason: 'correct', how: { comparison: 'numeric' } })
  expect(isEquivalent('(1,2)', '(1, 2/1)')).toMatchObject({ reason: 'correct', how: { comparison: 'collection' } })
  expect(isEquivalent('x<1', '1>x')).toMatchObject({ reason: 'correct', how: { comparison: 'relation' } })
  expect(isEquivalent('1', '@@')).toMatchObject({ reason: 'undecided', how: { comparison: 'unparsable' } })
  expect(isEquivalent('1', '')).toMatchObject({ reason: 'no-answer', how: { comparison: 'empty' } })
})

describe('properties', () => {
  const fraction = fc.tuple(fc.integer({ min: -1e9, max: 1e9 }), fc.integer({ min: 1, max: 1e9 }))
  const expression = fc.letrec<{ node: string }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom('x', 'y', '\\pi', '2', '7', '\\frac12'),
      fc.tuple(tie('node'), fc.constantFrom('+', '-', '\\cdot '), tie('node')).map(([a, o, b]) => `(${a}${o}${b})`),
      tie('node').map((a) => `\\left(${a}\\right)^2`),
    ),
  })).node

  test('a fraction equals its multiples and no neighbour', () => {
    fc.assert(
      fc.property(fraction, fc.integer({ min: 1, max: 1000 }), ([n, d], k) => {
        expect(isEquivalent(`${n}/${d}`, `\\frac{${n * k}}{${d * k}}`).equal).toBe(true)
        expect(isEquivalent(`${n}/${d}`, `\\frac{${n + 1}}{${d}}`).equal).toBe(false)
      }),
    )
  })

  test('reflexive and blind to white space and \\left \\right', () => {
    fc.assert(
      fc.property(expression, (text) => {
        const plain = text.replaceAll('\\left', '').replaceAll('\\right', '').replaceAll('+', ' + ')
        expect(isEquivalent(text, plain).equal).toBe(true)
      }),
    )
  })

  test('adding one makes an expression another one, both ways', () => {
    fc.assert(
      fc.property(expression, (text) => {
        expect(isEquivalent(text, `${text}+1`).equal).toBe(false)
        expect(isEquivalent(`${text}+1`, text).equal).toBe(false)
      }),
    )
  })
})
