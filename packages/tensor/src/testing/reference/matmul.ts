/**
 * Matrix products, by the definition.
 */
import { at, broadcastMap, broadcastShape, generate, sizeOfShape, sumToShape, zeros, type NdArray } from '../ndarray.js'
import type { BinaryInputs, DifferentiableOp } from './operation.js'
import { views } from './view.js'

function transposed(x: NdArray): NdArray {
  return views.transpose.forward([x])[0]
}

/** [..., M, K] × [..., K, N] → [..., M, N]. */
function product(a: NdArray, b: NdArray): NdArray {
  const [m = 1, k = 1] = a.shape.slice(-2)
  const n = b.shape.at(-1) ?? 1
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2))
  const fromA = broadcastMap(a.shape.slice(0, -2), batch)
  const fromB = broadcastMap(b.shape.slice(0, -2), batch)
  const result = zeros([...batch, m, n])
  for (let z = 0; z < sizeOfShape(batch); z++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0
        for (let l = 0; l < k; l++) {
          sum += at(a, ((fromA[z] ?? 0) * m + i) * k + l) * at(b, ((fromB[z] ?? 0) * k + l) * n + j)
        }
        result.data[(z * m + i) * n + j] = sum
      }
    }
  }
  return result
}

const matmul: DifferentiableOp<BinaryInputs> = {
  forward: ([a, b]) => [product(a, b)],
  vjp: ([a, b], [gradient]) => [
    sumToShape(product(gradient, transposed(b)), a.shape),
    sumToShape(product(transposed(a), gradient), b.shape),
  ],
}

/** x [..., in] · weight [out, in]ᵀ + bias [out]. */
const linear: DifferentiableOp<readonly [NdArray, NdArray, NdArray]> = {
  forward: ([x, weight, bias]) => {
    const y = product(
      { shape: [x.data.length / (x.shape.at(-1) ?? 1), x.shape.at(-1) ?? 1], data: x.data },
      transposed(weight),
    )
    const outputs = bias.data.length
    return [generate([...x.shape.slice(0, -1), outputs], (i) => at(y, i) + at(bias, i % outputs))]
  },
  vjp: ([x, weight, bias], [gradient]) => {
    const [outputs = 1, inputs = 1] = weight.shape
    const dy = { shape: [gradient.data.length / outputs, outputs], data: gradient.data }
    const rows = { shape: [x.data.length / inputs, inputs], data: x.data }
    return [
      { shape: x.shape, data: product(dy, weight).data },
      product(transposed(dy), rows),
      sumToShape(dy, bias.shape),
    ]
  },
}

export const matrices = { matmul, linear }
