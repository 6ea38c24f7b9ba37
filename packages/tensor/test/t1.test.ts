import { test, expect } from 'vitest'
import * as t from '../src/index.js'
test('retain', async () => {
  const d = await t.createDevice()
  const w = d.tensor([1, 2, 3, 4]); w.requiresGrad = true
  const x = d.tensor([1, 1, 2, 2])
  const h = t.sin(w.mul(x)); const y = t.exp(h).mul(h)
  const hole = d.buffer([4])
  const before = d.memory.liveTensors().length
  const [g] = t.grad(y, [w], { gradOutputs: [hole] })
  await d.eval([y], { retainFor: [g!] })
  console.log('retained', d.memory.liveTensors().length - before)
  const yv = await y.read()
  d.write(hole, Float32Array.from(yv))
  const gv = await g!.read()
  console.log(d.memory.liveTensors().length - before)
  for (let i = 0; i < 4; i++) { const a = [1, 2, 3, 4][i]! * [1, 1, 2, 2][i]!, xx = [1, 1, 2, 2][i]!; const s = Math.sin(a), e = Math.exp(s); expect(gv[i]).toBeCloseTo(e * s * (e * s + e) * Math.cos(a) * xx, 3) }
  // stale use
  const buf = d.buffer([4]); const r = buf.add(1); t.assign(buf, d.ones([4])); const r2 = buf.add(1)
  const [rv, r2v] = await d.read([r, r2]); expect([...rv!]).toEqual([1, 1, 1, 1]); expect([...r2v!]).toEqual([2, 2, 2, 2])
  const r3 = buf.mul(5); t.assign(buf, d.zeros([4])); await d.eval([]); await expect(r3.read()).rejects.toThrow(/written in place/)
  // cache slices
  const cache = d.buffer([2, 3, 2]); 
  for (let s = 0; s < 3; s++) { t.assign(cache.slice(1, s, s + 1), d.full([2, 1, 2], s + 1)); const v = cache.slice(1, 0, s + 1).sum(); console.log(await v.item()) }
  t.assign(cache.slice(1, 0, 1), cache.slice(1, 2, 3)); console.log(await cache.read())
  // scope
  { using s = d.scope(); const z = x.add(1); await z.read(); s.keep(await (async () => { const q = x.mul(3); await d.eval([q]); return q })()) }
  console.log(d.memory.liveTensors().length - before)
  // lost
  const slow = Array.from({ length: 20 }, () => t.matmul(t.randomUniform(d, [256, 256], { seed: 1 }), t.randomUniform(d, [256, 256], { seed: 2 })).sum())
  const p = d.read(slow); d.destroy(); await expect(p).rejects.toThrow(t.DeviceLostError)
  await expect(x.add(1).read()).rejects.toThrow(t.DeviceLostError)
  expect(() => d.tensor([1])).toThrow(t.DeviceLostError)
  const d2 = await t.createDevice(); expect(await d2.tensor([1, 2]).sum().item()).toBe(3)
})
