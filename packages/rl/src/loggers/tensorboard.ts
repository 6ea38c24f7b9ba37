/**
 * TensorBoard event files: TFRecords of `tensorflow.Event` messages (event.proto: wall_time = 1, step = 2, file_version = 3,
 * summary = 5; summary.proto: value = 1 with tag = 1 and simple_value = 2). One scalar per metric, over the steps of the run.
 */
import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TrainLogger } from '../trainer/logger.js'
import type { MetricRecord } from '../trainer/records.js'
import { bytesField, concatenate, doubleField, floatField, integerField } from './protobuf.js'
import { tfRecord } from './tfrecord.js'

/** What is no metric in a record. */
const POSITION = new Set(['stage', 'step', 'global_step', 'phase'])

const fileVersion = (seconds: number) =>
  tfRecord(concatenate([doubleField(1, seconds), bytesField(3, 'brain.Event:2')]))

/** The numbers of a record as one event. */
function eventOf(record: MetricRecord, seconds: number): Uint8Array {
  const values = Object.entries(record).flatMap(([name, value]) =>
    POSITION.has(name) || typeof value !== 'number'
      ? []
      : [bytesField(1, concatenate([bytesField(1, name), floatField(2, value)]))],
  )
  return tfRecord(
    concatenate([doubleField(1, seconds), integerField(2, record.global_step), bytesField(5, concatenate(values))]),
  )
}

/**
 * Writes an event file into `directory`, for `tensorboard --logdir`. A resumed run writes its file anew, so steps that were
 * lost are not in it twice; wall times of old records are then those of the resume.
 */
export function tensorBoardLogger(directory: string, now: () => number = Date.now): TrainLogger {
  const path = join(directory, 'events.out.tfevents.0000000000.revisual')
  const seconds = () => now() / 1000
  return {
    start({ records }) {
      mkdirSync(directory, { recursive: true })
      for (const name of readdirSync(directory)) if (name.includes('tfevents')) rmSync(join(directory, name))
      const events = records.map((record) => eventOf(record, seconds()))
      writeFileSync(path, concatenate([fileVersion(seconds()), ...events]))
    },
    record: (record) => appendFileSync(path, eventOf(record, seconds())),
  }
}
