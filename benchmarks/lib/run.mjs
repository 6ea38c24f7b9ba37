/**
 * One case over all libraries: each builds it and answers with some of its values, which must agree with ours; then they
 * are timed in turn, round after round, so that a slow minute of the machine falls on all of them.
 */
import { disagreement, plan, summarise } from './statistics.mjs'

const TOLERANCE = 2e-3
const PREPARE_TIMEOUT = 180_000
const MEASURE_TIMEOUT = 120_000

async function attempt(results, peer, work) {
  try {
    return await work()
  } catch (error) {
    results[peer.name] = { error: error.message }
    return undefined
  }
}

/** @returns results by peer: `{ wall, cpu }` as summaries, or `{ error }`. */
export async function runCase(spec, peers, sampling) {
  const results = {}
  const ready = []
  let reference = null
  for (const peer of peers) {
    const refused = spec.unsupported?.[peer.name]
    if (refused !== undefined) {
      results[peer.name] = { error: refused }
      continue
    }
    const prepared = await attempt(results, peer, () => peer.request({ type: 'prepare', spec }, PREPARE_TIMEOUT))
    if (!prepared) continue
    if (peer.name === 'ours') reference = prepared.sample
    else if (reference) {
      const gap = disagreement(reference, prepared.sample)
      if (gap > TOLERANCE) {
        results[peer.name] = { error: `its result differs from ours by ${gap.toExponential(1)} of the largest value` }
        continue
      }
    }
    ready.push({ peer, ...plan(prepared.step, sampling), samples: [] })
  }
  const rounds = Math.max(0, ...ready.map((entry) => entry.rounds))
  for (let round = 0; round < rounds; round++) {
    for (const entry of ready) {
      if (round >= entry.rounds || results[entry.peer.name]) continue
      const message = { type: 'measure', steps: entry.iterations }
      const sample = await attempt(results, entry.peer, () => entry.peer.request(message, MEASURE_TIMEOUT))
      if (sample) entry.samples.push(sample)
    }
  }
  for (const { peer, samples } of ready) {
    if (results[peer.name]) continue
    results[peer.name] = {
      wall: summarise(samples.map(({ wall }) => wall)),
      cpu: summarise(samples.map(({ cpu }) => cpu)),
    }
    await attempt(results, peer, () => peer.request({ type: 'release' }, MEASURE_TIMEOUT))
  }
  return results
}
