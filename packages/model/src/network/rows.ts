/**
 * Rows picked by indices the host knows. Knowing them, it also knows the way back: for every source row the list of places
 * it went to. So the gradient is a sum over a list, in a fixed order, without atomics and without searching. One primitive
 * serves the embedding, visual tokens in the text, padded attention windows and the rows a loss reads.
 */
import { customGrad, kernel, type Tensor } from '@revisual/tensor'

/** Index of a row of zeros. */
export const noRow = 0xffffffff

/** For each source row, where it went: places offsets[r] ≤ k < offsets[r+1]. */
function inverse(indices: Uint32Array, rows: number): { offsets: Uint32Array; places: Uint32Array } {
  const offsets = new Uint32Array(rows + 1)
  for (const index of indices) if (index !== noRow) offsets[index + 1] = (offsets[index + 1] as number) + 1
  for (let row = 0; row < rows; row++) offsets[row + 1] = (offsets[row + 1] as number) + (offsets[row] as number)
  const next = offsets.slice(0, rows)
  const places = new Uint32Array(Math.max(1, offsets[rows] as number))
  indices.forEach((index, place) => {
    if (index === noRow) return
    places[next[index] as number] = place
    next[index] = (next[index] as number) + 1
  })
  return { offsets, places }
}

/**
 * Rows of x [R, C] at the indices [N], all below R or {@link noRow}.
 * @returns [N, C]; rows of zeros where the index is `noRow`.
 */
export function pickRows(x: Tensor, indices: Uint32Array): Tensor {
  const { device } = x
  const [rows, width] = x.shape as readonly [number, number]
  return customGrad((source) => ({
    value: pick(source, device.tensor(indices), width),
    vjp: (gradient) => {
      if (!gradient) return [null]
      const { offsets, places } = inverse(indices, rows)
      return [sumBack(gradient, device.tensor(offsets), device.tensor(places), rows, width)]
    },
  }))(x)
}

function pick(source: Tensor, indices: Tensor, width: number): Tensor {
  const size = indices.size * width
  const { picked } = kernel({
    name: 'pick_rows',
    inputs: { source, indices },
    outputs: { picked: { shape: [indices.size, width], dtype: 'f32' } },
    params: { size: ['u32', size], width: ['u32', width] },
    workgroupSize: [256, 1, 1],
    dispatch: [Math.ceil(size / 256), 1, 1],
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let i = wid.x * 256u + lidx;
  if (i >= params.size) { return; }
  let row = load_indices(i / params.width);
  var value = 0.0;
  if (row != ${noRow}u) { value = load_source(row * params.width + i % params.width); }
  store_picked(i, value);
}`,
  })
  return picked
}

function sumBack(gradient: Tensor, offsets: Tensor, places: Tensor, rows: number, width: number): Tensor {
  const size = rows * width
  const { summed } = kernel({
    name: 'sum_rows_back',
    inputs: { gradient, offsets, places },
    outputs: { summed: { shape: [rows, width], dtype: 'f32' } },
    params: { size: ['u32', size], width: ['u32', width] },
    workgroupSize: [256, 1, 1],
    dispatch: [Math.ceil(size / 256), 1, 1],
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let i = wid.x * 256u + lidx;
  if (i >= params.size) { return; }
  let row = i / params.width;
  let column = i % params.width;
  let end = load_offsets(row + 1u);
  var total = 0.0;
  for (var k = load_offsets(row); k < end; k++) { total += load_gradient(load_places(k) * params.width + column); }
  store_summed(i, total);
}`,
  })
  return summed
}
