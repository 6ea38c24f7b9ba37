/**
 * SwiGLU (arXiv 2002.05202): silu(gate) ∘ up. Keeps only its two inputs for the gradient; the products are computed
 * again inside the kernels that need them.
 */
import { customGrad } from '../../autograd/grad.js'
import { ShapeError } from '../../device/errors.js'
import type { Tensor } from '../../graph/tensor.js'
import { add, mul, sigmoid, silu, sub } from '../elementwise.js'

export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return customGrad((g, u) => {
    if (!g || !u) throw new ShapeError('swiglu(): missing operand.')
    return {
      value: mul(silu(g), u),
      vjp: (gradient) => {
        if (!gradient) return [null, null]
        const s = sigmoid(g)
        const slope = mul(s, add(1, mul(g, sub(1, s))))
        return [mul(gradient, mul(u, slope)), mul(gradient, silu(g))]
      },
    }
  })(gate, up)
}
