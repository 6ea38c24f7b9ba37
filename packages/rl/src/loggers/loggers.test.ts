import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { newPolicy, rl, sft } from '../../test/sequence-task.js'
import { train } from '../trainer/train.js'
import { csvLogger } from './csv.js'
import { tableLogger } from './table.js'
import { tensorBoardLogger } from './tensorboard.js'
import { crc32c, maskedCrc, tfRecord } from './tfrecord.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'revisual-log-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** The payloads of a TFRecord file, checksums checked. */
function payloads(file: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at))
    expect(file.readUInt32LE(at + 8)).toBe(maskedCrc(file.subarray(at, at + 8)))
    const data = file.subarray(at + 12, at + 12 + length)
    expect(file.readUInt32LE(at + 12 + length)).toBe(maskedCrc(data))
    found.push(data)
    at += 16 + length
  }
  return found
}

interface Field {
  readonly field: number
  readonly value: bigint | number | Buffer
}

/** The fields of a message, by a reader of its own. */
function fields(message: Buffer): Field[] {
  const found: Field[] = []
  let at = 0
  const varint = () => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++] as number
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  while (at < message.length) {
    const tag = Number(varint())
    const field = tag >> 3
    switch (tag & 7) {
      case 0:
        found.push({ field, value: varint() })
        break
      case 1:
        found.push({ field, value: message.readDoubleLE(at) })
        at += 8
        break
      case 5:
        found.push({ field, value: message.readFloatLE(at) })
        at += 4
        break
      case 2: {
        const length = Number(varint())
        found.push({ field, value: message.subarray(at, at + length) })
        at += length
        break
      }
      default:
        throw new Error(`wire type of ${tag}`)
    }
  }
  return found
}

const of = (some: readonly Field[], field: number) =>
  some.filter((one) => one.field === field).map(({ value }) => value)

/** Events as TensorBoard's reader sees them. */
function events(path: string) {
  return payloads(readFileSync(path)).map((payload) => {
    const all = fields(payload)
    const [summary] = of(all, 5)
    const scalars = summary
      ? of(fields(summary as Buffer), 1).map((value) => {
          const [[name], [number]] = [of(fields(value as Buffer), 1), of(fields(value as Buffer), 2)]
          return [(name as Buffer).toString(), number as number] as const
        })
      : []
    return {
      version: of(all, 3)[0]?.toString(),
      step: Number(of(all, 2)[0] ?? 0n),
      scalars: Object.fromEntries(scalars),
    }
  })
}

describe('TFRecord', () => {
  it('has the published checksums', () => {
    // RFC 3720, B.4: 32 zero bytes, and 0 to 31.
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e)
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283)
  })

  it('frames what a reader finds again', () => {
    const data = Uint8Array.from({ length: 300 }, (_, index) => index % 251)
    expect(payloads(Buffer.from(tfRecord(data))).map((one) => [...one])).toEqual([[...data]])
  })
})

describe('loggers of a run', () => {
  const files = () => ({
    csv: join(directory, 'metrics.csv'),
    tensorBoard: join(directory, 'tensorboard'),
  })
  const start = (runDirectory: string, policy = newPolicy()) => {
    const { csv, tensorBoard } = files()
    return train({
      policy,
      stages: [sft({ steps: 2 }), rl({ steps: 3, kl: { estimator: 'k3', coefficient: 0.1 } })],
      seed: 2,
      runDirectory,
      resume: true,
      evaluateEvery: 2,
      checkpoints: { every: 2 },
      loggers: [csvLogger(csv), tensorBoardLogger(tensorBoard, () => 1_700_000_000_000)],
      hooks: { evaluate: ({ step }) => ({ metrics: { accuracy: step / 8 } }) },
    })
  }
  const run = () => join(directory, 'run')

  it('write what metrics.jsonl has, also after a crash', async () => {
    const dying = newPolicy()
    let samples = 0
    dying.onCall = (call) => {
      if (call === 'sample' && ++samples === 2) throw new Error('killed')
    }
    await expect(start(run(), dying)).rejects.toThrow('killed')
    await start(run())
    const lines = readFileSync(join(run(), 'metrics.jsonl'), 'utf8').trim().split('\n')
    const records = lines.map((line) => JSON.parse(line) as Record<string, string | number>)

    const { csv, tensorBoard } = files()
    const [head = '', ...rows] = readFileSync(csv, 'utf8').trim().split('\r\n')
    const columns = head.split(',')
    expect(columns).toEqual(expect.arrayContaining(['stage', 'global_step', 'reward', 'kl', 'eval/accuracy']))
    expect(rows).toHaveLength(records.length)
    rows.forEach((row, index) => {
      const cells = row.split(',')
      columns.forEach((column, at) => expect(cells[at]).toBe(String(records[index]?.[column] ?? '')))
    })

    const [name = ''] = readdirSync(tensorBoard)
    const [version, ...logged] = events(join(tensorBoard, name))
    expect(version?.version).toBe('brain.Event:2')
    expect(logged.map(({ step }) => step)).toEqual(records.map((record) => record['global_step']))
    logged.forEach(({ scalars }, index) => {
      for (const [metric, value] of Object.entries(records[index] ?? {})) {
        if (typeof value !== 'number' || ['step', 'global_step'].includes(metric)) continue
        expect(scalars[metric], metric).toBe(Math.fround(value))
      }
    })
  })

  it('print a table', async () => {
    let text = ''
    await train({
      policy: newPolicy(),
      stages: [rl({ steps: 2 })],
      loggers: [tableLogger((more) => void (text += more))],
      hooks: { evaluate: () => ({ metrics: { accuracy: 0.25 } }) },
    })
    expect(text).toMatch(/^\nrl\n +step +reward/)
    expect(text).toMatch(/evaluation at step 0: accuracy 0.2500\n +1 +0\.\d+ /)
    expect(text.split('\n').filter((line) => /^ +\d /.test(line))).toHaveLength(2)
  })

  it('quotes cells that need it', async () => {
    const path = join(directory, 'quoted.csv')
    const logger = csvLogger(path)
    await logger.start?.({ records: [], globalStep: 0 })
    await logger.record?.({ stage: 'a,"b"', step: 1, global_step: 1, loss: NaN })
    expect(readFileSync(path, 'utf8')).toBe('stage,step,global_step,loss\r\n"a,""b""",1,1,\r\n')
  })
})
