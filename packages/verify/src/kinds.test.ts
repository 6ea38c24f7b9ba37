/** One table per kind of typed value and rule that is not in `equivalence.test.ts`. */
import { describe, expect, test } from 'vitest'
import { isEquivalent, verify } from './index.js'

type Pair = readonly [gold: string, prediction: string]

const equal: Record<string, readonly Pair[]> = {
  'sets of reals': [
    ['(-\\infty,5)', '(-\\infty,3]\\cup(2,5)'],
    ['(-\\infty,0)\\cup(0,\\infty)', '\\mathbb{R}\\setminus\\{0\\}'],
    ['x\\ne 0', '(-\\infty,0)\\cup(0,\\infty)'],
    ['(-\\infty,\\infty)', '\\mathbb{R}'],
    ['x<-1 \\text{ or } x>1', '(-\\infty,-1)\\cup(1,\\infty)'],
    ['x>1 \\text{ and } x<3', '(1,3)'],
    ['|x|>2', '(-\\infty,-2)\\cup(2,\\infty)'],
    ['2x+1<5', '(-\\infty,2)'],
    ['0<2x<4', 'x\\in(0,2)'],
  ],
  'matrices and sums': [
    ['7', '\\begin{vmatrix}3&1\\\\2&3\\end{vmatrix}'],
    ['\\begin{pmatrix}7&10\\\\15&22\\end{pmatrix}', '\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}^2'],
    ['\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}', '\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}^T'],
    ['\\begin{pmatrix}2\\\\4\\end{pmatrix}', '2\\begin{pmatrix}1\\\\2\\end{pmatrix}'],
    ['385', '\\sum_{k=1}^{10} k^2'],
    ['\\frac{n(n+1)}{2}', '\\sum_{i=1}^{n} i'],
    ['120', '\\prod_{k=1}^5 k'],
    ['\\sum_{k=1}^{\\infty} a_k b_k', '\\sum_{k=1}^{\\infty} b_k a_k'],
  ],
  'units, money, time, ratios': [
    ['5{,}000{,}000', '5 million'],
    ['1.5\\times10^3', '1.5 x 10^3'],
    ['\\$5', '5 dollars'],
    ['\\$5.50', '5.5'],
    ['20', '20 千米'],
    ['12 \\text{ square centimeters}', '12'],
    ['100', '1 \\text{ m} = 100 \\text{ cm}'],
    ['3:00 \\text{ p.m.}', '3:00 \\text{ pm}'],
    ['1:2', '2:4'],
    ['\\frac12', '1:2'],
    ['90^\\circ', '\\frac{\\pi}{2}'],
  ],
  'equations and lists': [
    ['f(x)=x^2', 'f(t)=t^2'],
    ['p=5,q=2,p=7,q=2', '(5,2),(7,2)'],
    ['W(n)=1 \\text{ and } W(n)=-1', 'W(x)=1orW(x)=-1'],
    ['33.3', '\\frac{100}{3}'],
    ['x^2+y^2=4', '\\frac{x^2}{4}+\\frac{y^2}{4}=1'],
  ],
}

const different: Record<string, readonly Pair[]> = {
  names: [
    ['AB=4', 'AC=4'],
    ['f(x)=x', 'g(x)=x'],
  ],
  'sets of reals': [
    ['(-\\infty,5)', '(-\\infty,5]'],
    ['x\\ne 0', 'x\\in(0,\\infty)'],
    ['(1,3)', '[1,3]'],
  ],
  'matrices and sums': [
    ['7', '\\begin{vmatrix}3&1\\\\2&4\\end{vmatrix}'],
    ['\\sum_{k=1}^n k', '\\sum_{k=1}^{n-1} k'],
    ['\\sum_{k=1}^\\infty \\frac1{k^2}', '\\sum_{k=1}^\\infty \\frac1{k^3}'],
    ['\\sum_{k=1}^\\infty k', '\\sum_{k=1}^{101} k'],
  ],
  'units, money, time, ratios': [
    ['3:00', '6:00'],
    ['3:10', '6:20'],
    ['3:00 \\text{ a.m.}', '3:00 \\text{ p.m.}'],
    ['1', '1 million'],
    ['(1,2)', '1:2'],
    ['100', '100 \\text{ m} = 1 \\text{ cm}'],
  ],
  'numbers of programs': [
    ['0', '0x10'],
    ['16', '0x10'],
    ['5', '5 \\text{, six}'],
  ],
}

describe.each(Object.entries(equal))('equal: %s', (_, pairs) => {
  test.each(pairs)('%s is %s', (gold, prediction) => {
    expect(isEquivalent(gold, prediction).equal).toBe(true)
  })
})

describe.each(Object.entries(different))('different: %s', (_, pairs) => {
  test.each(pairs)('%s is not %s', (gold, prediction) => {
    expect(isEquivalent(gold, prediction).equal).toBe(false)
  })
})

describe('options of the profiles', () => {
  test('units count where they are checked', () => {
    expect(isEquivalent('5 \\text{ cm}', '5 \\text{ m}').equal).toBe(true)
    expect(isEquivalent('5 \\text{ cm}', '5 \\text{ m}', { units: 'check' }).equal).toBe(false)
    expect(isEquivalent('5 \\text{ cm}', '5 \\text{ centimetres}', { units: 'check' }).equal).toBe(true)
  })

  test('names may be exchanged one to one', () => {
    expect(isEquivalent('f(x)', 'f(y)', { renameVariables: true }).equal).toBe(true)
    expect(isEquivalent('x^2+y', 'a^2+b', { renameVariables: true }).equal).toBe(true)
    expect(isEquivalent('x^2+y', 'a^2+a', { renameVariables: true }).equal).toBe(false)
  })

  test('a decimal comma is read in plain text only', () => {
    expect(verify('1000.99', 'Cela fait 1000,99').equal).toBe(true)
    expect(verify('1000.99', '\\boxed{1000,99}').equal).toBe(false)
    expect(verify('1000.99', 'Cela fait 1000,99', { decimalComma: false }).equal).toBe(false)
  })

  test('a final answer announced after the box replaces it', () => {
    expect(verify('6', '\\boxed{5}. Final answer: The final answer is $6$. I hope it is correct.').equal).toBe(true)
    expect(verify('5', '\\boxed{5}. The final answer is above.').equal).toBe(true)
  })

  test('answers in other languages', () => {
    expect(verify('220', "Réponse: Janeth aura encore 220 $ à payer d'ici 12 mois.").equal).toBe(true)
    expect(verify('2/5', '答案：每份应该是 (\\frac{2}{5}) 吨。').equal).toBe(true)
    expect(verify('7', 'Answer: either 7 or 8 people').equal).toBe(false)
  })
})

describe('MathRuler, step by step', () => {
  const grade = (gold: string, prediction: string) => isEquivalent(gold, prediction, { profile: 'gradeAnswer' }).equal

  test.each<[string, string, boolean]>([
    ['1/2', '2/4', false],
    ['10', '10%', true],
    ['0.1', '10%', false],
    ['1/3', '0.333333', false],
    ['1,2', '2,1', false],
    ['x=5', 'y=5', true],
    ['7=11a+c', '11a+c', true],
    ['1<x<2', '(1,2)', false],
    ['3/2', '1 1/2', true],
    ['-3/2', '-1 1/2', false],
    ['1000', '1e3', true],
    ['1000', '1_000', true],
    ['32349', '32, 349', true],
    ['(1,2)', '[1,2]', false],
    ['(1,\\frac{9}{2})', '(1,4.5)', true],
    ['\\frac{x+2}{7}', '\\frac{x}{7}+\\frac{2}{7}', true],
    ['a+b+c', 'c+b+a', false],
    ['x^{10}+1', '1+x^{10}', false],
  ])('%s and %s: %s', (gold, prediction, verdict) => {
    expect(grade(gold, prediction)).toBe(verdict)
  })

  test('takes the last box only, inside thoughts as well, and none that stays open', () => {
    const profile = 'gradeAnswer'
    expect(verify('5', '<think>\\boxed{5}', { profile }).equal).toBe(true)
    expect(verify('5', '\\boxed{5} then \\boxed{5', { profile }).equal).toBe(false)
    expect(verify('None', 'no box at all', { profile })).toMatchObject({ equal: false, reason: 'no-answer' })
  })
})
