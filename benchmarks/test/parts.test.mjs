import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'
import { cases } from '../cases.mjs'
import { numbers, pick } from '../lib/data.mjs'
import { onnxModel } from '../lib/onnx.mjs'
import { parseOptions, selects } from '../lib/options.mjs'
import { PeerProcess } from '../lib/peer-process.mjs'
import { markdown, reasons, record, table } from '../lib/report.mjs'
import { runCase } from '../lib/run.mjs'
import { disagreement, median, plan, summarise } from '../lib/statistics.mjs'

test('median, spread, disagreement', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([4, 1, 2, 3]), 2.5)
  assert.ok(Number.isNaN(median([])))
  assert.deepEqual(summarise([3, 1, 2]), { median: 2, min: 1, max: 3, samples: 3 })
  assert.equal(disagreement([1, -2], [1, -2]), 0)
  assert.equal(disagreement([1, -2], [1, -1]), 0.5)
  assert.equal(disagreement([1], [1, 2]), Infinity)
  assert.equal(disagreement([1, 2], [NaN, 2]), Infinity)
})

test('samples are long enough to time and few enough to wait for', () => {
  const sampling = { target: 100, rounds: 9, budget: 5000 }
  assert.deepEqual(plan(1, sampling), { iterations: 100, rounds: 9 })
  assert.deepEqual(plan(400, sampling), { iterations: 1, rounds: 9 })
  assert.deepEqual(plan(4000, sampling), { iterations: 1, rounds: 3 })
  assert.equal(plan(1e-6, sampling).iterations, 1000)
})

test('numbers are the same every time and spread over the range', () => {
  assert.deepEqual(numbers(5, 3), numbers(5, 3))
  assert.notDeepEqual(numbers(5, 3), numbers(5, 4))
  const values = numbers(1000, 1, 2)
  assert.ok(values.every((value) => value >= -2 && value < 2))
  assert.ok(Math.abs(values.reduce((a, b) => a + b, 0) / 1000) < 0.15)
  assert.equal(pick(values).length, 63)
  assert.deepEqual(pick(Float32Array.of(1, 2)), [1, 2])
})

const spec = { name: 'matmul 8³', work: { flops: 1e9 } }
const timing = (time) => ({
  wall: { median: time, min: time / 2, max: time * 2, samples: 3 },
  cpu: { median: time, min: time, max: time, samples: 3 },
})
const results = {
  ours: timing(10),
  'tfjs-webgpu': timing(40),
  'jax-js-webgpu': { error: 'no' },
  'onnxruntime-cpu': timing(5),
}

test('the record compares with the best WebGPU peer and with the roofline', () => {
  const entry = record(spec, results, { gflops: 400, gbytes: 10 })
  assert.equal(entry.case, 'matmul 8³')
  assert.equal(entry.ours, 10)
  assert.equal(entry.unit, 'ms')
  assert.deepEqual(entry.peers, { 'tfjs-webgpu': 40, 'jax-js-webgpu': null, 'onnxruntime-cpu': 5 })
  assert.equal(entry.ratioToBest, 4)
  assert.equal(entry.gflops, 100)
  assert.equal(entry.roofline, 0.5)
  assert.equal(record(spec, results, { clock: 'cpu', gflops: 400 }).roofline, 0.25)
  assert.deepEqual(entry.errors, { 'jax-js-webgpu': 'no' })
  assert.doesNotThrow(() => JSON.parse(JSON.stringify(entry)))
})

test('without ours, or without peers, there is no ratio', () => {
  assert.equal(record(spec, { ours: timing(1) }, {}).ratioToBest, null)
  const failed = record(spec, { ours: { error: 'lost' }, 'tfjs-webgpu': timing(2) }, { gflops: 1 })
  assert.deepEqual([failed.ours, failed.ratioToBest, failed.roofline], [null, null, null])
})

test('the table has a cell for every peer, and says why one is empty', () => {
  const entry = record(spec, results, { gflops: 400 })
  const rows = table([entry], ['tfjs-webgpu', 'jax-js-webgpu'])
  assert.deepEqual(rows[1], [
    'matmul 8³',
    '10.0 (5.00–20.0)',
    '100 GFLOP/s',
    '50 %',
    '40.0 (20.0–80.0)',
    'error',
    '4.00×',
  ])
  const lines = markdown(rows).split('\n')
  assert.equal(lines.length, 3)
  assert.equal(new Set(lines.map((line) => line.length)).size, 1)
  assert.deepEqual(reasons([entry, { ...entry, case: 'b' }]), ['jax-js-webgpu: no [matmul 8³, b]'])
})

test('options', () => {
  assert.equal(parseOptions(['--quick']).sampling.rounds, 3)
  assert.deepEqual(parseOptions(['--case', 'a', '--case', 'b']).patterns, ['a', 'b'])
  assert.throws(() => parseOptions(['--what']), TypeError)
  assert.ok(selects(['SOFT'], 'softmax 1×1') && selects([], 'x') && !selects(['y'], 'x'))
})

test('cases have names of their own and count their work', () => {
  assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length)
  for (const { name, work, kind } of cases) {
    if (['nanoTraining', 'decode'].includes(kind)) continue
    assert.ok((work.flops ?? work.bytes) > 1e6, name)
  }
})

test('an ONNX model is the bytes protobuf says', () => {
  const model = onnxModel({
    nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }],
    inputs: { x: [300] },
    outputs: { y: [300] },
  })
  const node = '0a13' + '0a0178' + '120179' + '1a056e6f646530' + '220452656c75'
  const info = (name) => '0a01' + name + '120b' + '0a09' + '0801' + '1205' + '0a03' + '08ac02'
  const graph = node + '1209' + Buffer.from('benchmark').toString('hex') + '5a10' + info('78') + '6210' + info('79')
  const opsets = '4204' + '0a00' + '1011' + '4211' + '0a0d' + Buffer.from('com.microsoft').toString('hex') + '1001'
  assert.equal(model.toString('hex'), '0808' + '3a' + (graph.length / 2).toString(16) + graph + opsets)
})

const fake = (...args) => new PeerProcess(args[0], fileURLToPath(new URL('fake-peer.mjs', import.meta.url)), args)
const sampling = { target: 1, rounds: 3, budget: 100 }

test('peers are compared, timed in turn, and one that fails does not end the case', async () => {
  const peers = ['ours', 'good', 'wrong', 'throws', 'crashes'].map((name) => fake(name))
  try {
    const found = await runCase({ name: 'c', kind: 'k' }, peers, sampling)
    assert.equal(found.ours.wall.samples, 3)
    assert.ok(found.good.wall.median >= 0)
    assert.match(found.wrong.error, /differs from ours/)
    assert.match(found.throws.error, /cannot do that/)
    assert.match(found.crashes.error, /the process ended \(code 7\)/)
    const again = await runCase({ name: 'd', kind: 'k', unsupported: { good: 'no way' } }, peers, sampling)
    assert.equal(again.good.error, 'no way')
    assert.match(again.crashes.error, /code 7/)
  } finally {
    for (const peer of peers) peer.close()
  }
})

test('a peer that hangs is killed, and the next request starts another', async () => {
  const peer = fake('hangs')
  try {
    await assert.rejects(peer.request({ type: 'prepare', spec: {} }, 1500), /no answer within 2 s/)
    assert.equal((await peer.open(10_000)).version, '1')
  } finally {
    peer.close()
  }
})
