import assert from 'node:assert/strict'
import { test } from 'node:test'
import brevity from './index.js'

/** @param {string[]} completions */
const batch = (completions) => ({
  prompts: completions.map(() => ''),
  completions,
  completionLengths: completions.map(() => 1),
  finishReasons: completions.map(() => 'stop'),
  rows: completions.map(() => ({})),
  step: 1,
})

const context = { signal: new AbortController().signal }

test('pays for few words, and for none of the rest', async () => {
  const reward = await brevity.create({ words: 2 })
  assert.deepEqual(
    await reward(
      batch([
        '<think>two words</think>\\boxed{1}',
        '<think>three words now</think>\\boxed{1}',
        '<think>these are four words</think>\\boxed{1}',
        'never stops thinking',
      ]),
      context,
    ),
    [
      { score: 1, parts: { thoughtWords: 2 } },
      { score: 0.5, parts: { thoughtWords: 3 } },
      { score: 0, parts: { thoughtWords: 4 } },
      null,
    ],
  )
})

test('options are checked', async () => {
  const validate = (value) => brevity.options['~standard'].validate(value)
  assert.deepEqual(await validate(undefined), { value: {} })
  assert.deepEqual(await validate({ words: 50 }), { value: { words: 50 } })
  assert.match((await validate({ words: 0 })).issues[0].message, /is 0; allowed: an integer > 0/)
  assert.match((await validate({ word: 5 })).issues[0].message, /is unknown; allowed: words/)
  assert.match((await validate(5)).issues[0].message, /must be an object/)
})
