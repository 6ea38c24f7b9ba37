/**
 * What is measured. A case is data: every library builds it from the same numbers. `work` counts what the mathematics needs
 * (multiply and add are two operations; each operand read and each result written once), not what a kernel happens to do.
 */

const matmul = (name, m, k, n, more = {}) => ({
  name: `matmul ${name}`,
  kind: 'matmul',
  batch: 1,
  transposeA: false,
  transposeB: false,
  ...more,
  m,
  k,
  n,
  work: { flops: 2 * (more.batch ?? 1) * m * k * n },
})

const square = (size) => matmul(`${size}³`, size, size, size)

const attention = (kind, name, { batch, heads, length, size }, passes) => ({
  name,
  kind,
  batch,
  heads,
  length,
  size,
  // Two products forward, five backward, over half of the score matrix.
  work: { flops: passes * batch * heads * length * (length + 1) * size },
})

const shape = { batch: 1, heads: 8, length: 512, size: 64 }
const block = { batch: 2, length: 128, width: 256, heads: 4, hidden: 768 }

function blockFlops({ batch, length, width, heads, hidden }) {
  const tokens = batch * length
  const products = 2 * tokens * width * (4 * width + 3 * hidden)
  const scores = 2 * batch * heads * length * (length + 1) * (width / heads)
  return 3 * products + 3.5 * scores
}

const onlyOurs = (why) => ({
  'tfjs-webgpu': why,
  'jax-js-webgpu': why,
  'jax-js-wasm': why,
  'onnxruntime-webgpu': why,
  'onnxruntime-cpu': why,
})

export const cases = [
  ...[256, 512, 1024, 2048].map(square),
  matmul('tall 4096×256×256', 4096, 256, 256),
  matmul('wide 256×256×4096', 256, 256, 4096),
  matmul('x·Wᵀ 512×512×1536', 512, 512, 1536, { transposeB: true }),
  matmul('Aᵀ·B 512×512×512', 512, 512, 512, { transposeA: true }),
  matmul('skinny 32×1024×1024', 32, 1024, 1024),
  matmul('deep 64×8192×64', 64, 8192, 64),
  matmul('batched 32 × 64³', 64, 64, 64, { batch: 32 }),
  { ...matmul('vector 1×2048×2048', 1, 2048, 2048), work: { bytes: 4 * (2048 * 2048 + 2 * 2048) } },
  {
    ...matmul('vector 1×2048×2048 Wᵀ', 1, 2048, 2048, { transposeB: true }),
    work: { bytes: 4 * (2048 * 2048 + 2 * 2048) },
  },
  { name: 'softmax 4096×1024', kind: 'softmax', rows: 4096, columns: 1024, work: { bytes: 8 * 4096 * 1024 } },
  { name: 'rmsNorm 4096×1024', kind: 'rmsNorm', rows: 4096, columns: 1024, work: { bytes: 8 * 4096 * 1024 } },
  { name: 'elementwise chain 4M', kind: 'elementwise', size: 4 << 20, work: { bytes: 12 * (4 << 20) } },
  attention('attention', 'attention forward 8×512×64', shape, 2),
  attention('attentionTraining', 'attention forward+backward 8×512×64', shape, 7),
  {
    name: 'MLP train step 256×256×1024',
    kind: 'mlpTraining',
    tokens: 256,
    width: 256,
    hidden: 1024,
    work: { flops: 3 * 4 * 256 * 256 * 1024 },
  },
  { name: 'transformer block train step', kind: 'blockTraining', ...block, work: { flops: blockFlops(block) } },
  {
    name: 'nano train step',
    kind: 'nanoTraining',
    sequences: 16,
    unsupported: onlyOurs('the whole vision-language model is written in this repository only'),
  },
  {
    name: 'decode 32 sequences × 16 tokens',
    kind: 'decode',
    sequences: 32,
    tokens: 16,
    unsupported: onlyOurs('generation of the nano model is written in this repository only'),
  },
]
