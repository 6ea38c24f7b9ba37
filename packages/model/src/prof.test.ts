import { createDevice } from '@revisual/tensor'
import { it } from 'vitest'
import { nanoModel, samplePrompts, barImage } from '/work/main/packages/model/test/support.js'
import { createPolicy } from '/work/main/packages/model/src/policy/policy.js'
import { questionPrompt } from '../src/prompt.js'
it('prof', async () => {
  const device = await createDevice()
  const d = device as any
  let tRun = 0, tRead = 0, n = 0, nd = 0
  const enc = d.encoder.encode.bind(d.encoder); let names: Record<string, number> = {}
  d.encoder.encode = (x: any) => { nd++; names[x.label ?? '?'] = (names[x.label ?? '?'] ?? 0) + 1; return enc(x) }
  const run = d.run.bind(d); d.run = (...a: any[]) => { const t = performance.now(); run(...a); tRun += performance.now() - t; n++ }
  const guard = d.guard.bind(d); d.guard = async (p: any) => { const t = performance.now(); const r = await guard(p); tRead += performance.now() - t; return r }
  const model = nanoModel(device)
  const policy = createPolicy(model)
  const prompts = await Promise.all(Array.from({ length: 24 }, async (_, i) => model.preparePrompt(questionPrompt('what is the sum of the digits ?', [await barImage(56, i % 15)]))))
  const report = (what: string, t: number) => { console.log(what, 'ms', (performance.now() - t).toFixed(0), 'run', tRun.toFixed(0), 'wait', tRead.toFixed(0), 'dispatches', nd, 'pipelines', device.pipelineCount, 'peakMB', (device.memory.peakBytes / 1e6).toFixed(0)); tRun = tRead = nd = 0; if (process.env.NAMES) console.log(JSON.stringify(names)); names = {} }
  for (let k = 0; k < 3; k++) {
    let t = performance.now()
    const c = await policy.sample(prompts.map((prompt, seed) => ({ prompt, n: 8, seed })), { maxTokens: 20, temperature: 1 })
    report('sample ' + c.reduce((s, x) => s + x.completionIds.length, 0), t)
    t = performance.now()
    const sequences = c.map((x) => ({ prompt: prompts[x.requestIndex]!, completionIds: [...x.completionIds, ...new Array(20).fill(20)].slice(0, 20) }))
    let tokens = 0
    for (let i = 0; i < 192; i += 64) {
      const part = sequences.slice(i, i + 64)
      tokens += part.reduce((s, x) => s + x.completionIds.length + x.prompt.ids.length - 1, 0)
      await policy.accumulate({ sequences: part, temperature: 1, vocabulary: 'sampling' }, (s) => ({ loss: 0, logProbGradients: s.logProbs.map((r) => new Float32Array(r.length).fill(-0.01)) }))
    }
    await policy.step({ learningRate: 1e-4, weightDecay: 0, maxGradNorm: 1 })
    await device.sync()
    report('train ' + tokens, t)
  }
}, 300000)
