/** Real shapes without weights, against totals of the same classes on torch's meta device (transformers 5.18). */
import { describe, expect, it } from 'vitest'
import { readFixture } from '../../test/support.js'
import { nanoConfig } from '../config/nano.js'
import { parseConfig } from '../config/parse.js'
import { loraConfig } from '../lora/config.js'
import { parameterCount, parameterSpecs } from '../network/parameters.js'
import { checkFits, describePlan, keyValueBytesPerToken, loraParameterCount, planMemory } from './plan.js'

const architectureOf = (name: string) => parseConfig(readFixture(`real-sizes/${name}.json`)).architecture

describe.each([
  // total, vision, text layers, embedding, tied, KV bytes a token in 16 bits
  ['qwen2.5-vl-3b', 3_754_622_976, 668_684_288, 2_774_771_712, 311_164_928, true, 36_864],
  ['qwen2.5-vl-7b', 8_292_166_656, 676_550_144, 6_525_618_176, 544_997_376, false, 57_344],
  ['qwen2.5-vl-32b', 33_448_292_352, 684_416_000, 31_206_735_872, 778_567_680, false, 262_144],
  ['qwen2-vl-2b', 2_208_985_600, 665_271_296, 1_310_339_072, 233_373_696, true, 28_672],
  ['qwen2-vl-7b', 8_291_375_616, 675_759_104, 6_525_618_176, 544_997_376, false, 57_344],
  ['qwen3-vl-2b', 2_127_532_032, 406_957_056, 1_409_408_000, 311_164_928, true, 114_688],
  ['qwen3-vl-4b', 4_437_815_808, 415_347_712, 3_633_509_376, 388_956_160, true, 147_456],
  ['qwen3-vl-8b', 8_767_123_696, 576_388_336, 6_946_071_552, 622_329_856, false, 147_456],
] as const)('%s', (name, total, vision, layers, embedding, tied, keyValues) => {
  const architecture = architectureOf(name)
  const specs = parameterSpecs(architecture)
  const count = (chosen: (name: string) => boolean) =>
    specs.filter((spec) => chosen(spec.name)).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)

  it('has the parameters of the reference', () => {
    expect(parameterCount(architecture)).toBe(total)
    expect(count((key) => key.startsWith('visual.'))).toBe(vision)
    expect(count((key) => key.startsWith('model.layers.'))).toBe(layers)
    expect(count((key) => key === 'model.embed_tokens.weight')).toBe(embedding)
    expect(specs.some((spec) => spec.name === 'lm_head.weight')).toBe(!tied)
  })

  it('plans every byte', () => {
    expect(planMemory(architecture, { learns: 'none' }).bytes).toBe(4 * total)
    expect(planMemory(architecture).bytes).toBe(16 * total)
    expect(planMemory(architecture, { momentBits: 8 }).bytes).toBe(10.03125 * total)
    const half = planMemory(architecture, { learns: 'none', dtype: 'bf16' })
    const narrow = specs.filter(({ shape, name: key }) => shape.length !== 2 || key.endsWith('pos_embed.weight'))
    const kept = narrow.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    expect(half.bytes).toBe(2 * total + 2 * kept)
    expect(half.largest).toEqual({ name: half.largest.name, bytes: 2 * embedding })
    expect(keyValueBytesPerToken(architecture, 2)).toBe(keyValues)
  })
})

describe('checkpoints on disk', () => {
  it.each([
    ['qwen2.5-vl-3b', 7_509_245_952, 824],
    ['qwen2.5-vl-7b', 16_584_333_312, 729],
  ])('of %s take the bytes of their index', (name, bytes, tensors) => {
    expect(2 * parameterCount(architectureOf(name))).toBe(bytes)
    expect(parameterSpecs(architectureOf(name))).toHaveLength(tensors)
  })
})

describe('adapters', () => {
  it.each([
    ['qwen2.5-vl-3b', 16, 29.9],
    ['qwen2.5-vl-3b', 64, 119.7],
    ['qwen2.5-vl-7b', 16, 40.4],
    ['qwen2.5-vl-7b', 32, 80.7],
    ['qwen3-vl-2b', 16, 17.4],
    ['qwen3-vl-2b', 64, 69.7],
  ])('of %s at rank %d learn %d million values', (name, rank, millions) => {
    expect(loraParameterCount(architectureOf(name), loraConfig({ rank })) / 1e6).toBeCloseTo(millions, 1)
  })

  it('of queries and values alone are small', () => {
    const config = loraConfig({ rank: 16, targets: { pattern: String.raw`model\.language_model\..*\.[qv]_proj` } })
    expect(loraParameterCount(architectureOf('qwen2.5-vl-3b'), config) / 1e6).toBeCloseTo(3.7, 1)
    expect(loraParameterCount(architectureOf('qwen2.5-vl-7b'), config) / 1e6).toBeCloseTo(5.0, 1)
  })

  it('cost sixteen bytes a value over a frozen base', () => {
    const architecture = architectureOf('qwen2.5-vl-3b')
    const learns = loraConfig({ rank: 16 })
    const base = planMemory(architecture, { learns: 'none', dtype: 'bf16' })
    const plan = planMemory(architecture, { learns, dtype: 'bf16' })
    expect(plan.bytes - base.bytes).toBe(16 * loraParameterCount(architecture, learns))
  })
})

describe('quantised bases', () => {
  // Decoder layers in groups of 64 with bf16 scales; embedding, head and vision in bf16.
  it.each([
    ['qwen2.5-vl-3b', 'int8', 8.25],
    ['qwen2.5-vl-7b', 'int4', 4.25],
    ['qwen3-vl-2b', 'int4', 4.25],
  ] as const)('of %s in %s take %d bits a decoder weight', (name, dtype, bits) => {
    const architecture = architectureOf(name)
    const [half, quantized] = (['bf16', dtype] as const).map((one) =>
      planMemory(architecture, { learns: 'none', dtype: one }),
    )
    const linear = parameterSpecs(architecture)
      .filter(({ name: key, shape }) => key.startsWith('model.layers.') && shape.length === 2)
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    expect((half?.bytes ?? 0) - (quantized?.bytes ?? 0)).toBe((linear * (16 - bits)) / 8)
  })
})

describe('checkFits', () => {
  const seven = architectureOf('qwen2.5-vl-7b')
  const gigabyte = 2 ** 30

  it('refuses a tensor larger than a buffer, with advice', () => {
    const bounds = { maxBufferSize: 2 * gigabyte - 4 }
    expect(() => checkFits(planMemory(seven), bounds)).toThrow(/embed_tokens.*2179989504 bytes.*2147483644.*adapter/)
    const options = { learns: 'none', dtype: 'bf16' } as const
    expect(() => checkFits(planMemory(seven, options), bounds, options)).not.toThrow()
  })

  it('refuses more than there is, largest part first', () => {
    const bounds = { maxBufferSize: 8 * gigabyte, availableBytes: 24e9 }
    expect(() => checkFits(planMemory(seven), bounds)).toThrow(
      /132\.67 GB: AdamW moments 66\.34 GB.*24\.00 GB are available/,
    )
    const options = { learns: 'none', dtype: 'f32' } as const
    expect(() => checkFits(planMemory(seven, options), bounds, options)).toThrow(/bf16/)
    expect(() => checkFits(planMemory(nanoConfig().architecture), bounds)).not.toThrow()
  })

  it('describes itself', () => {
    expect(describePlan(planMemory(nanoConfig().architecture))).toMatch(/^0\.02 GB: AdamW moments/)
  })
})
