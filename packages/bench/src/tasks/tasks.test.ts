import { describe, expect, it } from 'vitest'
import { createTask, taskNames } from './registry.js'

describe('createTask', () => {
  it('lists the names there are when it does not know one', () => {
    expect(() => createTask('mathvista')).toThrow(
      "Unknown task 'mathvista'; allowed: digits-image, digits-text, gsm8k.",
    )
    expect(() => createTask('toString')).toThrow(/Unknown task/)
    expect(() => createTask('gsm8k', { kinds: ['add'] })).toThrow(/'gsm8k' has no option 'kinds'; allowed: n/)
    expect(() => createTask('digits-text', { kinds: ['divide'] })).toThrow(
      /'divide' in 'kinds' is not known; allowed: read, add/,
    )
    expect(() => createTask('digits-text', { levels: [7] })).toThrow(/'7' in 'levels' is not known; allowed: 1, 2/)
  })

  it.each(taskNames)('makes %s: the same rows each time, with unique ids, tagged for its categories', async (name) => {
    const task = createTask(name, { n: 30 })
    const rows = await task.load()
    expect(task.name).toBe(name)
    expect(rows).toHaveLength(30)
    expect(await createTask(name, { n: 30 }).load()).toEqual(rows)
    expect(new Set(rows.map(({ id }) => id)).size).toBe(30)
    for (const row of rows) for (const tag of task.categories) expect(row.tags).toHaveProperty(tag)
  })

  it('gives the digits tasks their own kinds, levels and seed, and the same problems in images and words', async () => {
    const options = { n: 24, kinds: ['add', 'larger'], levels: [2, 3], seed: 5 }
    const image = await createTask('digits-image', options).load()
    const text = await createTask('digits-text', options).load()
    expect(image.map(({ answer }) => answer)).toEqual(text.map(({ answer }) => answer))
    expect(new Set(text.map(({ tags }) => tags['task']))).toEqual(new Set(['add', 'larger']))
    expect(image.every(({ images }) => images.length === 1)).toBe(true)
    expect(
      (await createTask('digits-text', { ...options, seed: 6 }).load()).map(({ question }) => question),
    ).not.toEqual(text.map(({ question }) => question))
  })

  it('asks GSM8K for thoughts and a box, and the digits as they are', async () => {
    const gsm8k = createTask('gsm8k', { n: 1 })
    const [problem] = await gsm8k.load()
    expect(gsm8k.prompt(problem!)).toEqual({
      system: expect.stringContaining('\\boxed{}') as string,
      question: problem!.question,
    })
    const digits = createTask('digits-image', { n: 1 })
    const [picture] = await digits.load()
    expect(digits.prompt(picture!)).toEqual({ question: picture!.question })
  })
})
