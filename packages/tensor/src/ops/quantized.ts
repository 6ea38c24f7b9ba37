/**
 * Group-quantised weights for frozen bases, as in QLoRA (arXiv 2305.14314): each run of `groupSize` neighbouring weights
 * of a row shares a scale s = max|w| / (2^(bits−1) − 1), and a weight is stored as the integer round(w / s). A quantised
 * weight is a tensor whose type is storage only: whatever reads it (products, embeddings, slices, transposes) decodes
 * code × scale on load, computes in f32, and sends gradients through to the other operand. Codes and scales lie in one
 * buffer, codes first.
 */
import type { Device } from '../device/device.js'
import { ShapeError } from '../device/errors.js'
import type { TensorInput } from '../device/transfer.js'
import { checkAlive, Node } from '../graph/node.js'
import { bytesPerElement, contiguousLayout, type DType } from '../graph/shape.js'
import { Tensor } from '../graph/tensor.js'
import { noGrad } from '../autograd/tape.js'
import { assign } from './assign.js'
import { abs, cast, copy, mul } from './elementwise.js'
import { kernel } from './kernel.js'
import { max } from './reduce.js'
import { reshape, slice } from './view.js'

export interface QuantizeOptions {
  readonly bits: 8 | 4
  /** Weights that share a scale: a power of two from 16 to 256 that divides the rows. Default 64. */
  readonly groupSize?: number
  /** Type of the scales. Default bf16: no weight is too small for it, and every adapter has it. */
  readonly scales?: 'bf16' | 'f16' | 'f32'
}

/** Codes of a block of rows, packed lowest first. */
function encode(rows: Tensor, scales: Tensor, bits: 8 | 4, groupSize: number): Tensor {
  const [count = 0, width = 0] = rows.shape
  const each = 32 / bits
  const words = (count * width) / each
  const { codes } = kernel({
    name: `quantize-${bits}`,
    inputs: { x: rows, scales },
    outputs: { codes: { shape: [count, width / each], dtype: 'u32' } },
    params: { words: ['u32', words], shift: ['u32', Math.log2(groupSize)] },
    constants: { EACH: each, BITS: bits },
    workgroupSize: [64, 1, 1],
    dispatch: [Math.ceil(words / 64), 1, 1],
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let word = wid.x * 64u + lidx;
  if (word >= params.words) { return; }
  let first = word * EACH;
  let scale = load_scales(first >> params.shift);
  let top = f32((1u << (BITS - 1u)) - 1u);
  var packed = 0u;
  if (scale != 0.0) {
    for (var j = 0u; j < EACH; j++) {
      let code = i32(clamp(round(load_x(first + j) / scale), -top, top));
      packed |= (bitcast<u32>(code) & ((1u << BITS) - 1u)) << (j * BITS);
    }
  }
  store_codes(word, packed);
}`,
  })
  return codes
}

export class QuantizedWeight extends Tensor {
  private constructor(
    device: Device,
    node: Node,
    readonly bits: 8 | 4,
    readonly groupSize: number,
    private readonly codes: Tensor,
    private readonly scales: Tensor,
  ) {
    super(device, node, contiguousLayout(node.shape))
  }

  /**
   * A weight `[N, K]` of zeros, to be filled by {@link writeRows}.
   *
   * @throws {ShapeError} the rows do not consist of whole groups, or an option is out of range.
   */
  static create(device: Device, shape: readonly [number, number], options: QuantizeOptions): QuantizedWeight {
    const { bits, groupSize = 64, scales: scaleType = 'bf16' } = options
    const [rows, width] = shape
    const isGroup = Number.isInteger(Math.log2(groupSize)) && groupSize >= 16 && groupSize <= 256
    if ((bits !== 8 && bits !== 4) || !isGroup || width % groupSize !== 0) {
      throw new ShapeError(
        `QuantizedWeight: [${shape.join(', ')}] with ${bits} bits and groups of ${groupSize}: bits must be 8 or 4, the group size a power of two ` +
          `from 16 to 256 that divides ${width}. Choose a smaller group, or store this weight as bf16.`,
      )
    }
    const node = new Node({ kind: 'source' }, [], shape, bits === 8 ? 'q8' : 'q4')
    const codes = new Node({ kind: 'source' }, [], [rows, (width * bits) / 32], 'u32')
    const scales = new Node({ kind: 'source' }, [], [rows, width / groupSize], scaleType)
    node.quantization = { scales, groupSize }
    node.parts = [codes, scales]
    codes.parts = scales.parts = [node]
    const { buffer, byteOffset } = device.materialise(node)
    const place = (part: Node, at: number) => {
      part.storage = { buffer, byteOffset: byteOffset + at, bytes: Math.max(4, part.bytes), release: () => {} }
      return new Tensor(device, part, contiguousLayout(part.shape))
    }
    const codeBytes = scalesOffset(node.size, node.dtype)
    const weight = new QuantizedWeight(device, node, bits, groupSize, place(codes, 0), place(scales, codeBytes))
    device.clear(weight)
    return weight
  }

  /**
   * A weight from blocks of its rows, `[R, K]` each, as a loader reads them: one block is on the device at a time.
   *
   * @param blocks Numbers, or the bit patterns of bf16 when `sourceType` says so.
   * @throws {ShapeError} the blocks are not whole rows, or are not as many as the shape has.
   */
  static async fromBlocks(
    device: Device,
    shape: readonly [number, number],
    blocks: Iterable<TensorInput> | AsyncIterable<TensorInput>,
    options: QuantizeOptions & { readonly sourceType?: 'f32' | 'f16' | 'bf16' },
  ): Promise<QuantizedWeight> {
    const weight = QuantizedWeight.create(device, shape, options)
    const width = shape[1]
    let row = 0
    for await (const block of blocks) {
      const rows = block.length / width
      if (!Number.isInteger(rows) || row + rows > shape[0]) {
        throw new ShapeError(
          `QuantizedWeight: a block of ${block.length} values at row ${row} does not fit [${shape.join(', ')}].`,
        )
      }
      const source = device.tensor(block, [rows, width], options.sourceType ?? 'f32')
      weight.writeRows(row, source)
      await device.eval([])
      source.dispose()
      row += rows
    }
    if (row !== shape[0]) throw new ShapeError(`QuantizedWeight: ${row} rows came for a weight of ${shape[0]}.`)
    return weight
  }

  /**
   * Quantises rows `[R, K]` of any float type into rows `start`..`start + R`. Runs with the next evaluation.
   *
   * @throws {ShapeError} the rows do not fit.
   */
  writeRows(start: number, rows: Tensor): void {
    const [count = 0, width] = this.shape
    if (rows.rank !== 2 || rows.shape[1] !== width || start < 0 || start + (rows.shape[0] ?? 0) > count) {
      throw new ShapeError(
        `writeRows(): rows [${rows.shape.join(', ')}] at ${start} do not fit a weight [${this.shape.join(', ')}].`,
      )
    }
    const end = start + (rows.shape[0] ?? 0)
    noGrad(() => {
      const source = rows.detached()
      const groups = reshape(source, [end - start, (width ?? 0) / this.groupSize, this.groupSize])
      const wide = mul(max(abs(groups), -1), 1 / (2 ** (this.bits - 1) - 1))
      const scales = cast(wide, this.scales.dtype)
      assign(slice(this.scales, 0, start, end), scales)
      assign(slice(this.codes, 0, start, end), encode(source, scales, this.bits, this.groupSize))
    })
  }

  /** The weights as f32 `[N, K]`. */
  dequantize(): Tensor {
    return copy(this.detached())
  }

  /** What is stored: packed codes u32 `[N, K · bits / 32]` and scales `[N, K / groupSize]`, to be read only. */
  get stored(): { readonly codes: Tensor; readonly scales: Tensor } {
    checkAlive(this.node)
    return { codes: this.codes, scales: this.scales }
  }
}

/** Bytes of the codes, up to where the scales begin. */
function scalesOffset(size: number, dtype: DType): number {
  return Math.ceil((size * bytesPerElement[dtype]) / 256) * 256
}

/**
 * A frozen weight `[N, K]` of 8 or 4 bits for `linear`, `embedding` and `linearLogProb`. Runs with the next evaluation.
 *
 * @throws {ShapeError} the weight is no matrix, its rows do not consist of whole groups, or an option is out of range.
 */
export function quantize(weight: Tensor, options: QuantizeOptions): QuantizedWeight {
  const [rows, width] = weight.shape
  if (weight.rank !== 2 || rows === undefined || width === undefined) {
    throw new ShapeError(`quantize(): the weight must be [N, K], got [${weight.shape.join(', ')}].`)
  }
  const result = QuantizedWeight.create(weight.device, [rows, width], options)
  result.writeRows(0, weight)
  return result
}
