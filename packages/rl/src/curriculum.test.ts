import { describe, expect, it } from 'vitest'
import { newPolicy, rl, rlData } from '../test/sequence-task.js'
import { curriculumSource, levelWeights, type CurriculumRule } from './curriculum.js'
import { train } from './trainer/train.js'
import type { DataSource, JsonValue } from './types.js'

interface Named {
  readonly id: string
}

/** `a0, a1, …` */
function counting(name: string, limit = Infinity): DataSource<Named> {
  let at = 0
  return {
    next: (count) => Array.from({ length: Math.min(count, limit - at) }, () => ({ id: `${name}${at++}` })),
    state: () => at,
    restore: (state: JsonValue) => {
      at = state as number
    },
  }
}
const levels = () => [counting('a'), counting('b'), counting('c')]
const source = (rule: CurriculumRule) => curriculumSource(levels(), { rule, seed: 1 })
const names = (examples: readonly Named[]) => new Set(examples.map(({ id }) => id[0]))

describe('curriculumSource', () => {
  it('opens levels one after the other', async () => {
    const data = source({ kind: 'linear', calls: 3 })
    expect(names(await data.next(30))).toEqual(new Set(['a']))
    expect(names(await data.next(30))).toEqual(new Set(['a', 'b']))
    expect(names(await data.next(30))).toEqual(new Set(['a', 'b', 'c']))
  })

  it('prefers levels whose success is near the target', async () => {
    const data = source({ kind: 'adaptive' })
    for (let step = 0; step < 20; step++) {
      const examples = await data.next(12)
      data.observe?.(examples.map(({ id }) => ({ id, reward: id.startsWith('a') ? 1 : id.startsWith('b') ? 0.5 : 0 })))
    }
    const last = await data.next(300)
    const share = last.filter(({ id }) => id.startsWith('b')).length / last.length
    expect(share).toBeGreaterThan(0.8)
    expect(names(last)).toEqual(new Set(['a', 'b', 'c']))
    const weights = levelWeights({ kind: 'adaptive' }, [null, 0.7, 1], 0)
    ;[1, Math.exp(-0.5), 0.05].forEach((value, index) => expect(weights[index]).toBeCloseTo(value, 12))
  })

  it('goes on where its state was taken, without what was pending', async () => {
    const rule = { kind: 'adaptive' } as const
    const [first, second] = [source(rule), source(rule)]
    const examples = await first.next(10)
    first.observe?.(examples.map(({ id }, index) => ({ id, reward: index % 2 })))
    second.restore(JSON.parse(JSON.stringify(first.state())) as JsonValue)
    expect(await second.next(20)).toEqual(await first.next(20))
    expect(() => curriculumSource([counting('a')], { rule, seed: 1 }).restore(first.state())).toThrow('3 levels')
  })

  it('draws from the others when a level ends', async () => {
    const data = curriculumSource([counting('a', 2), counting('b', 3)], { rule: { kind: 'adaptive' }, seed: 1 })
    const all = await data.next(10)
    expect(all.map(({ id }) => id).sort()).toEqual(['a0', 'a1', 'b0', 'b1', 'b2'])
  })

  it.each([
    [{ kind: 'linear', calls: 0 }, 'calls is 0'],
    [{ kind: 'adaptive', width: 0 }, 'width is 0'],
    [{ kind: 'adaptive', decay: 1 }, 'decay is 1'],
  ] as const)('refuses %j', (rule, message) => {
    expect(() => source(rule)).toThrow(message)
  })

  it('is told of outcomes by the trainer', async () => {
    const data = curriculumSource([rlData(), rlData()], { rule: { kind: 'adaptive', decay: 0 }, seed: 1 })
    await train({ policy: newPolicy(), stages: [rl({ steps: 3, data })] })
    const { rates } = data.state() as unknown as { readonly rates: readonly (number | null)[] }
    expect(rates.every((rate) => rate !== null && rate >= 0 && rate <= 1)).toBe(true)
  })
})
