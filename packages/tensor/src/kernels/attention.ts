/**
 * Attention without its scores, forward and backward (FlashAttention-2, arXiv 2307.08691; online softmax, 1805.02867).
 * The forward pass walks the keys of a tile of queries in blocks and keeps per row a running maximum, a running sum and
 * the unfinished output, rescaled when the maximum grows; it stores the output O and the log of the row's sum of
 * exponentials L. With L the backward passes make any block of probabilities P = exp(S − L) again: one owns queries and
 * sums dQ, one owns keys and sums dK and dV, each result by one workgroup in a fixed order, so nothing is atomic.
 *
 *   D = rowsum(dO ∘ O)   dS = P ∘ (dO Vᵀ − D)   dQ = s · dS K   dK = s · dSᵀ Q   dV = Pᵀ dO
 *
 * What differs between machines is in an engine (`attention-engine.ts`). Head sizes are part of the text, since they
 * decide how many registers hold a row; all else is uniform data or in the tile lists of `attention-plan.ts`.
 */
import { each, list, type AttentionEngine, type AttentionMatrix } from './attention-engine.js'

export type AttentionPass = 'forward' | 'queries' | 'keys'

export interface AttentionText {
  readonly pass: AttentionPass
  readonly engine: AttentionEngine
  /** Columns of q and k, and of v, in elements of the engine. */
  readonly width: number
  readonly valueWidth: number
  /** Rows see only rows of their own segment. */
  readonly segmented: boolean
}

function matrix(name: string, head: string, width: string): AttentionMatrix {
  return {
    name,
    width: `params.${width}`,
    row: (index) => `params.${name}Offset + ${head} * params.${name}Head + (${index}) * params.${name}Row`,
  }
}

const [q, g] = [matrix('q', 'head', 'width'), matrix('g', 'head', 'valueWidth')]
const [k, v] = [matrix('k', 'keyHead', 'width'), matrix('v', 'keyHead', 'valueWidth')]

/** Defines `visible<r>`: which of the invocation's four other rows own row r and they see of each other. */
function visibility({ pass, engine, segmented }: AttentionText): string {
  const ownKeys = pass === 'keys'
  const lines = [
    `let other = vec4<i32>(i32(first + ${engine.firstOther})) + vec4<i32>(0, 1, 2, 3);`,
    'let limit = bitcast<i32>(run.z);',
  ]
  if (segmented) {
    const load = (j: number) =>
      `load_${ownKeys ? 'query' : 'key'}Segments(min(first + ${engine.firstOther} + ${j}u, last))`
    lines.push(`let otherSegment = vec4<u32>(${list(4, load).join(', ')});`)
  }
  for (let r = 0; r < engine.rows; r++) {
    const bounds = ownKeys
      ? `(other >= vec4<i32>(i32(own${r}) - limit)) & (other <= vec4<i32>(i32(last)))`
      : `other <= vec4<i32>(min(i32(last), i32(own${r}) + limit))`
    const same = ownKeys
      ? `(otherSegment == vec4<u32>(segment${r})) & vec4<bool>(segment${r} != 0xffffffffu)`
      : `(otherSegment == vec4<u32>(segment${r})) & (otherSegment != vec4<u32>(0xffffffffu))`
    lines.push(`let visible${r} = ${segmented ? `(${bounds}) & ${same}` : bounds};`)
  }
  return lines.join('\n')
}

/** Walks the tile's runs of other rows in blocks; `inside` sees `run`, `block`, `first` and `last`. */
function walk(engine: AttentionEngine, inside: string): string {
  return `
for (var item = tile.z; item < tile.w; item++) {
  let run = load_plan(item);
  let last = run.x + run.y - 1u;
  for (var block = 0u; block < run.y; block += ${engine.block}u) {
    let first = run.x + block;
    ${inside}
  }
}`
}

const element = (engine: AttentionEngine) => (engine.unit === 4 ? 'vec4<f32>' : 'f32')

function zeros(engine: AttentionEngine, name: string, width: number): string {
  return each(engine.rows, (r) =>
    each(engine.groups(width), (group) => `var ${name}${r}_${group} = ${element(engine)}();`),
  )
}

/** Stores results `<output>r_g`, row by row in a loop the driver cannot unroll: the text compiles faster. */
function store(engine: AttentionEngine, output: string, width: number, heads: string, factor: string): string {
  const { rows } = engine
  const groups = engine.groups(width)
  const all = (group: number) =>
    `var all${group} = array<${element(engine)}, ${rows}>(${list(rows, (r) => `${output}${r}_${group}`).join(', ')});`
  const one = (group: number) =>
    `if (${engine.column(group)} < ${width}u) { store_${output}(place + ${engine.column(group)}, all${group}[r] * ${factor}); }`
  return `{
  ${each(groups, all)}
  for (var r = 0u; r < params.rows; r++) {
    let at = ${engine.ownRow('r')};
    if (at >= tile.y) { break; }
    let place = ((tile.x + at) * ${heads}) * ${width}u;
    ${each(groups, one)}
  }
}`
}

function forwardBody(text: AttentionText): string {
  const { engine, valueWidth } = text
  const { rows } = engine
  const groups = engine.groups(valueWidth)
  const inside = `
    ${each(rows, (r) => `var s${r} = vec4<f32>();`)}
    ${engine.scores('s', q, k)}
    ${visibility(text)}
    ${each(rows, (r) => `s${r} = select(vec4<f32>(-3.0e38), s${r} * params.scale, visible${r}); var top${r} = max(max(s${r}.x, s${r}.y), max(s${r}.z, s${r}.w));`)}
    ${engine.reduce('top', 'max')}
    ${each(
      rows,
      (r) => `{
      let top = max(most${r}, top${r});
      let shrink = exp2(most${r} - top);
      most${r} = top;
      s${r} = select(vec4<f32>(), exp2(s${r} - top), visible${r});
      total${r} = total${r} * shrink + ((s${r}.x + s${r}.y) + (s${r}.z + s${r}.w));
      ${each(groups, (group) => `o${r}_${group} *= shrink;`)}
    }`,
    )}
    ${engine.accumulate('o', 's', v, valueWidth)}`
  return `
  ${each(rows, (r) => `var most${r} = -3.0e38; var total${r} = 0.0;`)}
  ${zeros(engine, 'o', valueWidth)}
  ${walk(engine, inside)}
  ${engine.reduce('total', 'sum')}
  ${each(rows, (r) => `{ let norm = select(0.0, 1.0 / total${r}, total${r} > 0.0); ${each(groups, (group) => `o${r}_${group} *= norm;`)} }`)}
  ${each(rows, (r) => `total${r} = select(bitcast<f32>(params.minusInfinity), (most${r} + log2(total${r})) * ${Math.LN2}, total${r} > 0.0);`)}
  ${engine.storeScalars('lse', 'total', (row) => `(${row}) * params.heads + head`)}
  ${store(engine, 'o', valueWidth, 'params.heads + head', '1.0')}`
}

/** L · log2 e and D of a query. */
const stats = (query: string) =>
  `vec2<f32>(load_stats(2u * (${query} * params.heads + head)), load_stats(2u * (${query} * params.heads + head) + 1u))`

/** `s<r>` becomes P and `t<r>` dS / s, given L · log2 e and D per row in `lse` and `delta` (WGSL of own row r). */
function scoreGradients(engine: AttentionEngine, lse: (r: number) => string, delta: (r: number) => string): string {
  return each(
    engine.rows,
    (r) => `s${r} = select(vec4<f32>(), exp2(s${r} * params.scale - ${lse(r)}), visible${r});
    t${r} = s${r} * (t${r} - ${delta(r)});`,
  )
}

function queriesBody(text: AttentionText): string {
  const { engine, width } = text
  const { rows } = engine
  const inside = `
    ${each(rows, (r) => `var s${r} = vec4<f32>(); var t${r} = vec4<f32>();`)}
    ${engine.scores('s', q, k)}
    ${engine.scores('t', g, v)}
    ${visibility(text)}
    ${scoreGradients(
      engine,
      (r) => `stats${r}.x`,
      (r) => `stats${r}.y`,
    )}
    ${engine.accumulate('dq', 't', k, width)}`
  return `
  ${each(rows, (r) => `let stats${r} = ${stats(`own${r}`)};`)}
  ${zeros(engine, 'dq', width)}
  ${walk(engine, inside)}
  ${store(engine, 'dq', width, 'params.heads + head', 'params.factor')}`
}

function keysBody(text: AttentionText): string {
  const { engine, width, valueWidth } = text
  const { rows } = engine
  const inside = `
    ${each(rows, (r) => `var s${r} = vec4<f32>(); var t${r} = vec4<f32>();`)}
    ${engine.scores('s', k, q)}
    ${engine.scores('t', v, g)}
    ${visibility(text)}
    ${each(4, (j) => `let stats${j} = ${stats(`min(first + ${engine.firstOther} + ${j}u, last)`)};`)}
    let lse = vec4<f32>(stats0.x, stats1.x, stats2.x, stats3.x);
    let delta = vec4<f32>(stats0.y, stats1.y, stats2.y, stats3.y);
    ${scoreGradients(
      engine,
      () => 'lse',
      () => 'delta',
    )}
    ${engine.accumulate('dv', 's', g, valueWidth)}
    ${engine.accumulate('dk', 't', q, width)}`
  return `
  ${zeros(engine, 'dk', width)}
  ${zeros(engine, 'dv', valueWidth)}
  for (var member = 0u; member < params.group; member++) {
    let head = keyHead * params.group + member;
    ${walk(engine, inside)}
  }
  ${store(engine, 'dk', width, 'params.keyHeads + keyHead', 'params.factor')}
  ${store(engine, 'dv', valueWidth, 'params.keyHeads + keyHead', '1.0')}`
}

const bodies = { forward: forwardBody, queries: queriesBody, keys: keysBody } as const

/** Texts by engine and by what else decides them: writing one takes longer than a small call runs. */
const written = new WeakMap<AttentionEngine, Map<string, string>>()

/** WGSL of one pass, with a workgroup for every (tile, head) of the side the pass owns. */
export function attentionText(text: AttentionText): string {
  const { pass, engine, width, valueWidth, segmented } = text
  const ofEngine = written.get(engine) ?? new Map<string, string>()
  written.set(engine, ofEngine)
  const key = `${pass}:${width}:${valueWidth}:${segmented}`
  const known = ofEngine.get(key)
  if (known !== undefined) return known
  const body = writeText(text)
  ofEngine.set(key, body)
  return body
}

function writeText(text: AttentionText): string {
  const { pass, engine, segmented } = text
  const ownKeys = pass === 'keys'
  const heads = ownKeys
    ? 'let keyHead = wid.x % params.keyHeads;\n  let tile = load_plan(wid.x / params.keyHeads);'
    : 'let head = wid.x % params.heads;\n  let keyHead = head / params.group;\n  let tile = load_plan(wid.x / params.heads);'
  const segment = (r: number) => `let segment${r} = load_${ownKeys ? 'key' : 'query'}Segments(own${r});`
  return `${engine.declarations}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  if (wid.x >= params.workgroups) { return; }
  ${engine.prologue}
  ${heads}
  ${each(engine.rows, (r) => `let own${r} = tile.x + min(${engine.ownRow(`${r}u`)}, tile.y - 1u);`)}
  ${segmented ? each(engine.rows, segment) : ''}
  ${bodies[pass](text)}
}`
}
