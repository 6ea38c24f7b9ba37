/**
 * The `invocation` form of decode attention: one invocation per sequence and key-value head. Queries and sums are vec4
 * variables with names of their own, not arrays, so that they live in registers. Loops over the bound `params.half`, which
 * the compiler cannot know, are there to stay loops: unrolled, their predicated stores take a CPU driver half a minute to
 * compile.
 */

/** Texts written before: writing one takes as long as all else the host does for a layer. */
const written = new Map<string, string>()

/** WGSL for `group` query heads per key-value head of `headSize` (a multiple of 8). */
export function invocationSource(group: number, headSize: number): string {
  const key = `${group}:${headSize}`
  const known = written.get(key)
  if (known !== undefined) return known
  const text = writeSource(group, headSize)
  written.set(key, text)
  return text
}

function writeSource(group: number, headSize: number): string {
  const chunks = headSize / 4
  const each = (count: number, line: (index: number) => string) =>
    Array.from({ length: count }, (_, i) => line(i)).join('\n')
  const load = (buffer: string, at: string, chunk: number) =>
    `vec4<f32>(${[0, 1, 2, 3].map((i) => `load_${buffer}(${at} + ${4 * chunk + i}u)`).join(', ')})`
  /** Declares `name`0 … as the rotated head that starts at `at` in qkv. */
  const rotated = (name: string, at: string) =>
    each(
      chunks / 2,
      (c) => `
  let ${name}u${c} = ${load('qkv', at, c)};
  let ${name}v${c} = ${load('qkv', at, c + chunks / 2)};
  let ${name}${c} = (${name}u${c} * cos${c} - ${name}v${c} * sin${c}) * params.scale;
  let ${name}${c + chunks / 2} = (${name}v${c} * cos${c} + ${name}u${c} * sin${c}) * params.scale;`,
    )
  /** Takes one key (k0 …) and value (v0 …) into the running sums of every query head. */
  const absorb = each(
    group,
    (g) => `{
      let score = ${Array.from({ length: chunks }, (_, c) => `dot(q${g}_${c}, k${c})`).join(' + ')};
      let top = max(top${g}, score);
      let shrink = exp(top${g} - top);
      let weight = exp(score - top);
      top${g} = top;
      total${g} = total${g} * shrink + weight;
${each(chunks, (c) => `      sum${g}_${c} = sum${g}_${c} * shrink + weight * v${c};`)}
    }`,
  )
  const keyAndValue = each(
    chunks,
    (c) => `      let k${c} = ${load('cache', 'at', c)};\n      let v${c} = ${load('cache', 'at + KV * D', c)};`,
  )
  return /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let pair = wid.x * WG + lidx;
  if (pair >= params.batch * KV) { return; }
  let row = pair / KV;
  let head = pair % KV;
  let row_start = row * (G + 2u) * KV * D;
  let table = row * D;

  let key_start = row_start + (G * KV + head) * D;
  let place = (load_plan(row * 3u + 2u) * 2u * KV + head) * D;
  for (var d = 0u; d < params.half; d++) {
    let c = load_rotary(table + d);
    let s = load_rotary(table + params.half + d);
    let u = load_qkv(key_start + d);
    let v = load_qkv(key_start + params.half + d);
    store_cache(place + d, u * c - v * s);
    store_cache(place + params.half + d, v * c + u * s);
    store_cache(place + KV * D + d, load_qkv(key_start + KV * D + d));
    store_cache(place + KV * D + params.half + d, load_qkv(key_start + KV * D + params.half + d));
  }

${each(chunks / 2, (c) => `  let cos${c} = ${load('rotary', 'table', c)};\n  let sin${c} = ${load('rotary', 'table + params.half', c)};`)}
${each(
  group,
  (g) => `  let query_start${g} = row_start + (head * G + ${g}u) * D;
${rotated(`q${g}_`, `query_start${g}`)}
  var top${g} = -1e30;
  var total${g} = 0.0;
${each(chunks, (c) => `  var sum${g}_${c} = vec4<f32>(0.0);`)}`,
)}
  let first = load_plan(row * 3u);
  let end = first + 2u * load_plan(row * 3u + 1u);
  for (var run = first; run < end; run += 2u) {
    let start = load_plan(run);
    let stop = start + load_plan(run + 1u);
    for (var slot = start; slot < stop; slot++) {
      let at = (slot * 2u * KV + head) * D;
${keyAndValue}
      ${absorb}
    }
  }

  var result: array<vec4<f32>, ${group * chunks}>;
${each(group, (g) => each(chunks, (c) => `  result[${g * chunks + c}] = sum${g}_${c} / total${g};`))}
  for (var i = 0u; i < params.half * 2u * G; i++) {
    store_mixed(pair * G * D + i, result[i / 4u][i % 4u]);
  }
}
`
}
