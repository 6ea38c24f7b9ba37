/**
 * The `workgroup` form of decode attention: keys in blocks of the workgroup's size, one invocation per key for the scores,
 * then one per output element for the sums.
 */
export const workgroupSource = /* wgsl */ `
var<workgroup> queries: array<f32, G * D>;
var<workgroup> new_key: array<f32, D>;
var<workgroup> new_value: array<f32, D>;
var<workgroup> weights: array<f32, G * WG>;
var<workgroup> tops: array<f32, G>;
var<workgroup> shrinks: array<f32, G>;

// Element d of a head starting at \`start\` in qkv, rotated.
fn turned(start: u32, row: u32, d: u32) -> f32 {
  let j = d % (D / 2u);
  let c = load_rotary(row * D + j);
  let s = load_rotary(row * D + D / 2u + j);
  let u = load_qkv(start + j);
  let v = load_qkv(start + D / 2u + j);
  return select(v * c + u * s, u * c - v * s, d < D / 2u);
}

fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let valid = wid.x < params.batch * KV;
  let row = min(wid.x / KV, params.batch - 1u);
  let head = wid.x % KV;
  let prompt = load_sequences(row * 2u);
  let known = load_sequences(row * 2u + 1u);
  let total = known + params.step + 1u;
  let row_start = row * (G + 2u) * KV * D;
  let slot = ((params.step * params.batch + row) * 2u * KV + head) * D;

  for (var i = lidx; i < G * D; i += WG) {
    queries[i] = turned(row_start + (head * G + i / D) * D, row, i % D) * params.scale;
  }
  for (var d = lidx; d < D; d += WG) {
    let key = turned(row_start + (G * KV + head) * D, row, d);
    let value = load_qkv(row_start + ((G + 1u) * KV + head) * D + d);
    new_key[d] = key;
    new_value[d] = value;
    if (valid) {
      store_cache(slot + d, key);
      store_cache(slot + KV * D + d, value);
    }
  }
  if (lidx < G) { tops[lidx] = -1e30; }

  var sums: array<f32, OWNED>;
  var totals: array<f32, OWNED>;
  for (var o = 0u; o < OWNED; o++) {
    sums[o] = 0.0;
    totals[o] = 0.0;
  }
  let blocks = (total + WG - 1u) / WG;
  for (var block = 0u; block < blocks; block++) {
    workgroupBarrier();
    let j = block * WG + lidx;
    let own = ((prompt * params.prefix_length + j) * 2u * KV + head) * D;
    let cached = (((j - known) * params.batch + row) * 2u * KV + head) * D;
    var scores: array<f32, G>;
    for (var g = 0u; g < G; g++) { scores[g] = select(-1e30, 0.0, j < total); }
    for (var d = 0u; d < D; d++) {
      var key = new_key[d];
      if (j < known) { key = load_prefix(own + d); }
      else if (j + 1u < total) { key = load_cache(cached + d); }
      for (var g = 0u; g < G; g++) { if (j < total) { scores[g] += queries[g * D + d] * key; } }
    }
    for (var g = 0u; g < G; g++) { weights[g * WG + lidx] = scores[g]; }
    workgroupBarrier();
    for (var g = lidx; g < G; g += WG) {
      var top = tops[g];
      for (var k = 0u; k < WG; k++) { top = max(top, weights[g * WG + k]); }
      shrinks[g] = exp(tops[g] - top);
      tops[g] = top;
    }
    workgroupBarrier();
    for (var g = 0u; g < G; g++) { weights[g * WG + lidx] = exp(scores[g] - tops[g]); }
    workgroupBarrier();
    let count = min(WG, total - block * WG);
    for (var o = 0u; o < OWNED; o++) {
      let i = lidx + o * WG;
      if (i < G * D) {
        let g = i / D;
        let d = i % D;
        var sum = sums[o] * shrinks[g];
        var weight_sum = totals[o] * shrinks[g];
        for (var k = 0u; k < count; k++) {
          let at = block * WG + k;
          var value = new_value[d];
          if (at < known) {
            value = load_prefix(((prompt * params.prefix_length + at) * 2u * KV + KV + head) * D + d);
          } else if (at + 1u < total) {
            value = load_cache((((at - known) * params.batch + row) * 2u * KV + KV + head) * D + d);
          }
          sum += weights[g * WG + k] * value;
          weight_sum += weights[g * WG + k];
        }
        sums[o] = sum;
        totals[o] = weight_sum;
      }
    }
  }
  for (var o = 0u; o < OWNED; o++) {
    let i = lidx + o * WG;
    if (i < G * D && valid) { store_mixed((row * KV + head) * G * D + i, sums[o] / totals[o]); }
  }
}
`
