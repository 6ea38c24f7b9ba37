/**
 * Generation of a small Qwen2.5-VL with random weights: `node benchmarks/generation.mjs` after `npm run setup`. Prefill and
 * decode tokens a second, the share of the bandwidth bound, and what sharing a prefix gives. Ours alone: a peer would need the same
 * weights as an ONNX graph, and no checkpoint is downloaded here. See docs/performance.md.
 */
import { fileURLToPath } from 'node:url'
import { bundle } from './bundle.mjs'

const outfile = fileURLToPath(new URL('dist/generation.mjs', import.meta.url))
await bundle('peers/generation.mjs', outfile)
const { measureGeneration } = await import(outfile)
const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? fallback : Number(process.argv[at + 1])
}
await measureGeneration({
  prompt: option('prompt', 512),
  tokens: option('tokens', 128),
  samples: option('samples', 8),
  rounds: option('rounds', 3),
})
process.exit(0)
