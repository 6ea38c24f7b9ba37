import { test, expect } from 'vitest'
import * as t from '../src/index.js'
const close = (a: ArrayLike<number>, b: ArrayLike<number>, tol = 2e-4) => { expect(a.length).toBe(b.length); for (let i = 0; i < a.length; i++) if (Math.abs(a[i]! - b[i]!) > tol * (1 + Math.abs(b[i]!))) throw new Error(`at ${i}: ${a[i]} vs ${b[i]}`) }
test('fused', async () => {
  const d = await t.createDevice()
  const rnd = (shape: number[], stream: number) => { const x = t.randomNormal(d, shape, { seed: 7, stream }); return x }
  const X = await rnd([37, 24], 1).read() as Float32Array
  const W = await rnd([50, 24], 2).read() as Float32Array
  const x = d.tensor(X, [37, 24]); x.requiresGrad = true
  const w = d.tensor(W, [50, 24]); w.requiresGrad = true
  const ids = Uint32Array.from({ length: 37 }, (_, i) => (i * 7) % 50)
  const targets = d.tensor(ids)
  const gl = rnd([37], 3), ge = rnd([37], 4)
  for (const chunkElements of [2 ** 20, 200]) {
    const { logProbs, entropies } = t.linearLogProb(x, w, targets, { temperature: 0.7, chunkElements })
    const L = t.logSoftmax(t.linear(x, w).div(0.7))
    const onehot = t.eq(d.iota([37, 50], 1), targets.unsqueeze(1))
    const lp = L.mul(onehot).sum(1); const ent = t.exp(L).mul(L).sum(1).neg()
    const g1 = t.grad([logProbs, entropies], [x, w], { gradOutputs: [gl, ge] })
    const g2 = t.grad([lp, ent], [x, w], { gradOutputs: [gl, ge] })
    const r = await d.read([logProbs, entropies, ...g1, lp, ent, ...g2])
    for (let i = 0; i < 4; i++) close(r[i]!, r[i + 4]!, 1e-3)
  }
  // norm, rotary, swiglu, attention
  const nw = rnd([24], 5); 
  const run = async (f: (x: t.Tensor) => t.Tensor, g: (x: t.Tensor) => t.Tensor, input = x) => {
    const a = f(input), b = g(input)
    const dy = t.randomNormal(d, a.shape, { seed: 9 })
    const r = await d.read([a, t.grad(a, [input], { gradOutputs: [dy] })[0]!, b, t.grad(b, [input], { gradOutputs: [dy] })[0]!])
    close(r[0]!, r[2]!); close(r[1]!, r[3]!, 1e-3)
  }
  await run(x => t.rmsNorm(x, nw, 1e-6), x => t.mul(t.mul(x, t.rsqrt(t.add(t.mean(t.square(x), 1, true), 1e-6))), nw))
  await run(x => t.softmax(x), x => t.exp(t.logSoftmax(x)))
  await run(x => t.swiglu(x, t.sin(x)), x => t.mul(t.silu(x), t.sin(x)))
  await run(x => t.gather(x, d.tensor(Uint32Array.from([3, 3, 0, 36, 3]))), x => t.stack([3, 3, 0, 36, 3].map(i => x.slice(0, i, i + 1).squeeze(0))))
  const q = d.tensor(await rnd([2, 4, 5, 8], 11).read() as Float32Array, [2, 4, 5, 8]); q.requiresGrad = true
  const k = rnd([2, 2, 5, 8], 12), v = rnd([2, 2, 5, 8], 13)
  await run(q => t.attention(q, k, v, { causal: true }), q => {
    const s = t.matmul(q, t.expand(k.unsqueeze(2), [2, 2, 2, 5, 8]).reshape([2, 4, 5, 8]).transpose()).mul(1 / Math.sqrt(8))
    const m = t.where(t.le(t.cast(d.iota([5, 5], 1), 'f32'), t.cast(d.iota([5, 5], 0), 'f32')), 0, -1e9)
    return t.matmul(t.exp(t.logSoftmax(s.add(m))), t.expand(v.unsqueeze(2), [2, 2, 2, 5, 8]).reshape([2, 4, 5, 8]))
  }, q)
  // checkpoint
  await run(x => t.checkpoint(x => t.silu(x).mul(2), x), x => t.silu(x).mul(2))
  // sampling
  const logits = d.tensor([[0, 1, 2, 3], [5, 1, 1, 1]])
  const n = 2000
  const big = t.expand(logits.slice(0, 0, 1), [n, 4])
  const seeds = d.tensor(Uint32Array.from({ length: 2 * n }, (_, i) => i % 2 ? 0 : i), [n, 2])
  for (const o of [{}, { topK: 2 }, { topP: 0.6 }, { temperature: 0 }]) {
    const s = t.sampleTokens(t.contiguous(big), { temperature: 1, seeds, step: 0, ...o })
    const [idv, lp] = await d.read([s.ids, s.logProbs]); const c = [0, 0, 0, 0]; for (const i of idv!) c[i]!++
    console.log(o, c, lp!.slice(0, 3))
  }
  console.log(await t.topK(logits, 3).indices.read())
  // params + adamw
  const p = new t.ParameterSet(d, [{ name: 'a', shape: [16, 24] }, { name: 'b', shape: [16] }])
  p.write('a', await rnd([16, 24], 20).read() as Float32Array)
  const opt = new t.AdamW(p)
  for (let i = 0; i < 20; i++) {
    using _ = d.scope()
    const y = t.linear(x.detached(), p.get('a'), p.get('b'))
    const loss = y.square().mean()
    t.grad(loss, p.trainable.map(n => p.get(n)), { onGradient: (i, g) => p.accumulate(p.trainable[i]!, g) })
    const l = await loss.item()
    const norm = await p.gradNorm()
    opt.update({ learningRate: 0.05, gradScale: t.clipScale(norm, 1) }); await d.eval([]); p.zeroGrad()
    if (i % 5 === 0) console.log(l, norm, d.memory.liveTensors().length, d.memory.liveBytes, d.pipelineCount)
  }
})
