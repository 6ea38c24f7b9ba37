import { describe, expect, test } from 'vitest'
import { DeviceLostError } from './errors.js'
import { Waits } from './waits.js'

const after = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds))

/** Waits, and tells whether the GPU was asked at once. */
async function asksAtOnce(waits: Waits, milliseconds: number, work?: number): Promise<boolean> {
  let asked = false
  const waiting = waits.guard(() => {
    asked = true
    return milliseconds === 0 ? Promise.resolve() : after(milliseconds)
  }, work)
  const atOnce = asked
  await waiting
  expect(asked).toBe(true)
  return atOnce
}

async function learnt(isSoftware: boolean): Promise<Waits> {
  const waits = new Waits(isSoftware)
  for (let time = 0; time < 3; time++) expect(await asksAtOnce(waits, 20, 7)).toBe(true)
  return waits
}

describe.each([true, false])('waiting (software GPU: %s)', (isSoftware) => {
  test('work that took its time before is not asked about at once', async () => {
    const waits = await learnt(isSoftware)
    expect(await asksAtOnce(waits, 20, 7)).toBe(false)
    expect(await asksAtOnce(waits, 1, 8)).toBe(true)
    expect(await asksAtOnce(waits, 1)).toBe(true)
  })

  test('work that has become short is asked about at once again', async () => {
    const waits = await learnt(isSoftware)
    let atOnce = false
    for (let time = 0; time < 50 && !atOnce; time++) {
      atOnce = await asksAtOnce(waits, 0, 7)
    }
    expect(atOnce).toBe(true)
  })

  test('a loss ends the wait before the GPU is asked', async () => {
    const waits = await learnt(isSoftware)
    let asked = false
    const waiting = waits.guard(() => {
      asked = true
      return after(20)
    }, 7)
    waits.lose('gone')
    await expect(waiting).rejects.toBeInstanceOf(DeviceLostError)
    expect(asked).toBe(false)
    await expect(waits.guard(() => after(1), 7)).rejects.toBeInstanceOf(DeviceLostError)
  })

  test('nobody sleeps while the binding polls for something else', async () => {
    const waits = await learnt(isSoftware)
    let finish = () => {}
    const other = waits.follow(new Promise<void>((resolve) => (finish = resolve)))
    expect(await asksAtOnce(waits, 20, 7)).toBe(true)
    finish()
    await other
    expect(await asksAtOnce(waits, 20, 7)).toBe(false)
  })

  test('an error of the GPU passes through', async () => {
    const waits = await learnt(isSoftware)
    await expect(waits.guard(() => Promise.reject(new Error('refused')), 7)).rejects.toThrow('refused')
  })
})
