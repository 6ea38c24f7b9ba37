import { describe, expect, test } from 'vitest'
import { type ExtractOptions, extractAnswer } from './index.js'

const table: readonly [text: string, rule: string, answer: string | null, options?: ExtractOptions][] = [
  ['So \\boxed{5}.', 'boxed', '5'],
  [
    '\\boxed{1}, then after much more thought about it all, and after having checked everything again: \\boxed{\\frac{1}{\\sqrt{2}}}',
    'boxed',
    '\\frac{1}{\\sqrt{2}}',
  ],
  ['\\boxed{\\{1, 2\\}}', 'boxed', '\\{1, 2\\}'],
  ['\\boxed{\\boxed{7}}', 'boxed', '\\boxed{7}'],
  ['\\boxed{3} and \\boxed{4}', 'boxed', '3, 4'],
  ['\\boxed{3} and \\boxed{4}', 'boxed', '4', { boxes: 'last' }],
  ['\\boxed{3}. So \\boxed{3}', 'boxed', '3'],
  ['$\\boxed{28}$ percent', 'boxed', '28\\%'],
  ['<think>\\boxed{1}</think> \\boxed{2}', 'boxed', '2'],
  ['<think>\\boxed{1}</think> no box', 'none', null],
  ['<think>\\boxed{1}', 'unclosed-think', null],
  ['<think>\\boxed{1}', 'boxed', '1', { thinking: 'include' }],
  ['reasoning without opening tag \\boxed{1}</think>\\boxed{2}', 'boxed', '2'],
  ['\\boxed{5', 'last-number', '5'],
  ['\\boxed{5', 'none', null, { rules: ['boxed', 'answer-tag'] }],
  ['\\boxed{ \\boxed{6}', 'boxed', '6'],
  ['\\boxed{} 5', 'last-number', '5'],
  ['<answer> 12 </answer>', 'answer-tag', '12'],
  ['<answer>11</answer><answer>12</answer>', 'answer-tag', '12'],
  ['<answer>12', 'none', null, { rules: ['answer-tag'] }],
  ['The answer is 12.', 'answer-phrase', '12'],
  ['The answer is **12**.', 'answer-phrase', '12'],
  ['**Answer:** 12\nThank you', 'answer-phrase', '12'],
  ['The answer is 3. No: the answer is 4.', 'answer-phrase', '4'],
  ['The answer is $\\frac{5}{6}$.', 'answer-phrase', '\\frac{5}{6}'],
  ['Final Answer: The largest $n$ is 34.', 'answer-phrase', '34'],
  ['Final answer: -3.5', 'answer-phrase', '-3.5'],
  ['The answer is 12 apples', 'answer-phrase', '12 apples'],
  ['3+2', 'bare', '3+2'],
  ['x = 3', 'bare', 'x = 3'],
  ['63/400', 'bare', '63/400'],
  ['Hence $x$ equals $\\sqrt{2}$', 'last-math', '\\sqrt{2}'],
  ['Hence \\(a\\) equals \\[ 9 \\]', 'last-math', ' 9 '.trim()],
  ['Of $12$ there are 7 left', 'last-number', '7'],
  ['She makes 18 every day.\n#### 1,018', 'last-number', '1,018'],
  ['It grows by 25%', 'last-number', '25%'],
  ['Chance: 3/8 of them', 'last-number', '3/8'],
  ['It costs -7.5 in H2O', 'last-number', '-7.5'],
  ['', 'none', null],
  ['No value here', 'none', null],
  ['I think it is B', 'choice', 'B', { choices: ['A', 'B', 'C', 'D'] }],
  ['The answer is D, it cannot be A or B', 'choice', 'D', { choices: ['A', 'B', 'C', 'D'] }],
  ['B. Because A is wrong', 'choice', 'B', { choices: ['A', 'B', 'C', 'D'] }],
  ['(C)', 'choice', 'C', { choices: ['A', 'B', 'C', 'D'] }],
  ['final answer is $9$, \\boxed{1}', 'answer-phrase', '9', { rules: ['answer-phrase', 'boxed'] }],
]

test.each(table)('%j by %s: %s', (text, rule, answer, options) => {
  expect(extractAnswer(text, options)).toMatchObject({ rule, answer })
})

describe('alternatives', () => {
  test.each([
    ['\\boxed{5}. Or maybe 6.', ['6']],
    ['\\boxed{5}, alternatively \\boxed{7}', []],
    ['The answer is 5. Perhaps $x^2$.', ['x^2']],
    ['\\boxed{5}. This is or was hard to see but true of all numbers that there are, such as 12', []],
    ['\\boxed{5}', []],
  ])('%s', (text, alternatives) => {
    const found = extractAnswer(text).alternatives
    for (const value of alternatives) expect(found).toContain(value)
    expect(found.length > 0).toBe(alternatives.length > 0)
  })
})
