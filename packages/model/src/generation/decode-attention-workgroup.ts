/**
 * The `workgroup` form of decode attention: the slots of each run in blocks of the workgroup's size, one invocation per key
 * for the scores, then one per output element for the sums. The new key and value are read from workgroup memory: what one
 * invocation stores, another of the dispatch need not see.
 */
export const workgroupSource = /* wgsl */ `
var<workgroup> scaled: array<f32, G * D>;
var<workgroup> new_key: array<f32, D>;
var<workgroup> new_value: array<f32, D>;
var<workgroup> weights: array<f32, G * WG>;
var<workgroup> tops: array<f32, G>;
var<workgroup> shrinks: array<f32, G>;

// Element d of a head starting at \`start\` in qkv, rotated.
fn turned(start: u32, row: u32, d: u32) -> f32 {
  let j = d % params.half;
  let c = load_rotary(row * D + j);
  let s = load_rotary(row * D + params.half + j);
  let u = load_qkv(start + j);
  let v = load_qkv(start + params.half + j);
  return select(v * c + u * s, u * c - v * s, d < params.half);
}

fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let valid = wid.x < params.batch * KV;
  let pair = min(wid.x, params.batch * KV - 1u);
  let row = pair / KV;
  let head = pair % KV;
  let row_start = row * (G + 2u) * KV * D;
  let new_slot = load_plan(row * 3u + 2u);
  let place = (new_slot * 2u * KV + head) * D;

  for (var i = lidx; i < G * D; i += WG) {
    scaled[i] = turned(row_start + (head * G + i / D) * D, row, i % D) * params.scale;
  }
  for (var d = lidx; d < D; d += WG) {
    let key = turned(row_start + (G * KV + head) * D, row, d);
    let value = load_qkv(row_start + ((G + 1u) * KV + head) * D + d);
    new_key[d] = key;
    new_value[d] = value;
    if (valid) {
      store_cache(place + d, key);
      store_cache(place + KV * D + d, value);
    }
  }
  if (lidx < G) { tops[lidx] = -1e30; }

  var sums: array<f32, OWNED>;
  var totals: array<f32, OWNED>;
  for (var o = 0u; o < OWNED; o++) {
    sums[o] = 0.0;
    totals[o] = 0.0;
  }
  let first = load_plan(row * 3u);
  let end = first + 2u * load_plan(row * 3u + 1u);
  for (var run = first; run < end; run += 2u) {
    let start = load_plan(run);
    let length = load_plan(run + 1u);
    for (var offset = 0u; offset < length; offset += WG) {
      workgroupBarrier();
      let count = min(WG, length - offset);
      let slot = start + offset + lidx;
      let at = (slot * 2u * KV + head) * D;
      var scores: array<f32, G>;
      for (var g = 0u; g < G; g++) { scores[g] = select(-1e30, 0.0, lidx < count); }
      for (var d = 0u; d < 2u * params.half; d++) {
        var key = new_key[d];
        if (lidx < count && slot != new_slot) { key = load_cache(at + d); }
        for (var g = 0u; g < G; g++) { if (lidx < count) { scores[g] += scaled[g * D + d] * key; } }
      }
      for (var g = 0u; g < G; g++) { weights[g * WG + lidx] = scores[g]; }
      workgroupBarrier();
      for (var g = lidx; g < G; g += WG) {
        var top = tops[g];
        for (var k = 0u; k < count; k++) { top = max(top, weights[g * WG + k]); }
        shrinks[g] = exp(tops[g] - top);
        tops[g] = top;
      }
      workgroupBarrier();
      for (var g = 0u; g < G; g++) { weights[g * WG + lidx] = exp(scores[g] - tops[g]); }
      workgroupBarrier();
      for (var o = 0u; o < OWNED; o++) {
        let i = lidx + o * WG;
        if (i < G * D) {
          let g = i / D;
          let d = i % D;
          var sum = sums[o] * shrinks[g];
          var weight_sum = totals[o] * shrinks[g];
          for (var k = 0u; k < count; k++) {
            let source = start + offset + k;
            var value = new_value[d];
            if (source != new_slot) { value = load_cache((source * 2u * KV + KV + head) * D + d); }
            sum += weights[g * WG + k] * value;
            weight_sum += weights[g * WG + k];
          }
          sums[o] = sum;
          totals[o] = weight_sum;
        }
      }
    }
  }
  for (var o = 0u; o < OWNED; o++) {
    let i = lidx + o * WG;
    if (i < G * D && valid) { store_mixed(pair * G * D + i, sums[o] / totals[o]); }
  }
}
`
