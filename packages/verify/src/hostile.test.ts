/** Inputs that a policy may stumble on or be trained into: none may be accepted, throw, or cost more than its length. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { extractAnswer, isEquivalent, verify } from './index.js'

const attacks: readonly [gold: string, text: string][] = [
  ['5', '\\boxed{5 or 6}'],
  ['5', '\\boxed{5} or \\boxed{6}'],
  ['5', '\\boxed{5}\\boxed{6}'],
  ['5', '\\boxed{5}. Or maybe 6.'],
  ['5', '\\boxed{5}. Alternatively, $6$.'],
  ['5', '\\boxed{5 \\text{ or } 6}'],
  ['5', '\\boxed{5\\text{ or 6}}'],
  ['5', '\\boxed{5\\text{, possibly } 6}'],
  ['5', '\\boxed{5 \\; \\text{to} \\; 6}'],
  ['5', '\\boxed{x=5 \\text{ or } x=6}'],
  ['5', '\\boxed{4, 5, 6}'],
  ['5', '\\boxed{\\{5, 6\\}}'],
  ['5', '\\boxed{5;6}'],
  ['5', '\\boxed{5\\quad6}'],
  ['5', '\\boxed{5~6}'],
  ['5', '\\boxed{5 \\pm 1}'],
  ['5', 'The answer is 5 or 6.'],
  ['5', '<think>\\boxed{5}</think>'],
  ['5', '<think>\\boxed{5}'],
  ['5', '\\boxed{}'],
  ['0', '\\boxed{}'],
  ['', '\\boxed{}'],
  ['None', ''],
  ['none', 'nothing to see'],
  ['2', '\\boxed{1=2}'],
  ['x<5', '\\boxed{x<6}'],
  ['[-2,7]', '\\boxed{-2 \\le x \\le 7}'],
  ['A', '\\boxed{A, B, C, D}'],
  ['A', '\\boxed{\\text{A or B}}'],
  ['NaN', '\\boxed{0/0}'],
]

test.each(attacks)('gold %s does not accept %s', (gold, text) => {
  expect(verify(gold, text).equal).toBe(false)
})

test('a hedge beside the right answer has its own status', () => {
  expect(verify('5', '\\boxed{5}. Or maybe 6.').reason).toBe('hedged')
  expect(verify('5', '\\boxed{5}, or equivalently 5.0').reason).toBe('correct')
})

const many = (text: string, count: number): string => text.repeat(count)

const hazards: Record<string, string> = {
  'power tower': '9^{9^{9^{9^{9}}}}',
  'huge exponent': '7^{99999999}',
  'huge scientific exponent': '1e999999999',
  'huge factorial': '(10^9)!',
  'iterated factorial': '((5!)!)!',
  'many factorials': many('3000!+', 300) + '1',
  'quotients of factorials': many('2500!/2499!+', 150) + '1',
  'huge binomial': '\\binom{1000000}{500000}',
  'long sum of big powers': many('2^{30000}+', 150) + '1',
  'long sum of fractions': Array.from({ length: 250 }, (_, i) => `1/${100_000 + i}`).join('+'),
  'expansion of many terms': '(a+b+c+d+e)^{1000}',
  'long product sum': '\\sum_{k=1}^{10^{10}} k',
  'long sum of fractions with one name': '\\sum_{k=1}^{9999} \\frac1k',
  'long sum of doubles': '\\sum_{k=1}^{9999} \\sqrt{k}',
  'sum in a sum': '\\sum_{i=1}^{9999}\\sum_{j=1}^{9999} \\frac{i}{j}',
  'three infinite sums': '\\sum_{i=1}^{\\infty}\\sum_{j=1}^{\\infty}\\sum_{k=1}^{\\infty} \\frac{1}{ijk}',
  'long product': '\\prod_{k=1}^{3000} k',
  'many sums': many('\\sum_{k=1}^{99} \\frac1k+', 100) + '1',
  'deep brackets': many('(', 1500) + '1' + many(')', 1500),
  'open braces': many('{', 3000),
  'deep fractions': many('\\frac{1}{', 300) + '2' + many('}', 300),
  'deep roots': many('\\sqrt', 700) + '2',
  'deep powers': many('x^', 1500) + 'x',
  'nested calls': many('\\sin(', 90) + 'x' + many(')', 90),
  signs: many('-', 3999) + '1',
  'plus-minus': many('1\\pm', 300) + '1',
  commas: many('1,', 1900) + '1',
  'long chain of equations': many('1=', 600) + '2',
  'long union': many('(1,2)\\cup', 300) + '(1,3)',
  bars: many('|', 2000),
  subscripts: many('x_{', 1000),
  backslashes: many('\\', 3999),
  'digits of one number': many('9', 3999),
  'past every limit': many('9', 300_000),
  'spaces past every limit': '5' + many(' ', 100_000) + '6',
  'lone surrogates': '\u0000\ud800\udfff'.repeat(100),
  'names of object members': '__proto__ constructor \\constructor{toString}',
}

/** A step takes 0.05 to 0.15 µs, so that an answer of 4,000 characters given on both sides is decided in 50 ms. */
const mostSteps = (characters: number): number => 200_000 + 40 * (characters + 100)

describe.each(Object.entries(hazards))('%s', (_, hazard) => {
  test('is wrong for 1/2, in every place, within the step budget', () => {
    for (const verdict of [
      isEquivalent('1/2', hazard),
      isEquivalent(hazard, '1/2'),
      verify('1/2', `<think>${hazard}</think>\\boxed{${hazard}}`),
      verify('1/2', `The answer is ${hazard}`),
    ]) {
      expect(verdict.equal).toBe(false)
      expect(verdict.steps).toBeLessThanOrEqual(mostSteps(2 * hazard.length))
    }
  })
})

describe('cost grows with the length of the completion, not faster', () => {
  const shapes: Record<string, (n: number) => string> = {
    prose: (n) => many('Then 5 or $x$ is (maybe) so. ', n) + '\\boxed{5}',
    'open boxes': (n) => many('\\boxed{', n),
    'nested boxes': (n) => many('\\boxed{', n) + '1' + many('}', n),
    boxes: (n) => many('\\boxed{1} ', n),
    dollars: (n) => many('$', n),
    formulas: (n) => many('$a$ and ', n),
    'think tags': (n) => many('<think>', n),
    'answer tags': (n) => many('<answer>', n) + many('</answer>', n),
    phrases: (n) => many('the answer is ', n),
    numbers: (n) => many('1 ', n),
    spaces: (n) => many(' ', n) + 'x',
    hedges: (n) => '\\boxed{5}' + many(' or 6', n),
  }
  test.each(Object.entries(shapes))('%s', (_, shape) => {
    const steps = [2000, 4000, 8000].map((n) => verify('5', shape(n)).steps)
    const [first = 0, second = 0, third = 0] = steps
    expect(second).toBeLessThan(2.2 * first + 1000)
    expect(third).toBeLessThan(2.2 * second + 1000)
  })
})

describe('never throws', () => {
  const piece = fc.constantFrom(
    ...[
      '\\boxed{',
      '}',
      '{',
      '\\frac',
      '\\sqrt',
      '^',
      '_',
      '(',
      ')',
      '[',
      ']',
      '\\{',
      '\\}',
      ',',
      ';',
      '=',
      '<',
      '|',
      '$',
    ],
    ...[
      '1',
      '23',
      '.5',
      'x',
      'sin',
      '\\pi',
      '\\pm',
      '\\mp',
      '-',
      '+',
      '/',
      '!',
      '%',
      ' ',
      '\n',
      '\\\\',
      '&',
      '\\begin{pmatrix}',
    ],
    ...[
      '\\end{pmatrix}',
      '\\text{ or }',
      'and',
      '<think>',
      '</think>',
      'answer is',
      '\\cup',
      '\\in',
      '\\sum',
      '°',
      ':',
      "'",
    ],
  )
  const soup = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(''))

  test('on any string', () => {
    fc.assert(
      fc.property(fc.oneof(soup, fc.string({ unit: 'binary' })), fc.oneof(soup, fc.string()), (a, b) => {
        expect(typeof isEquivalent(a, b).equal).toBe('boolean')
        expect(typeof verify(a, b, { choices: ['A', 'B'] }).equal).toBe('boolean')
        expect(typeof extractAnswer(b).rule).toBe('string')
      }),
      { numRuns: 1500 },
    )
  })

  test('and gives the same verdict every time', () => {
    fc.assert(
      fc.property(soup, soup, (a, b) => {
        expect(verify(a, b)).toEqual(verify(a, b))
      }),
      { numRuns: 300 },
    )
  })
})
