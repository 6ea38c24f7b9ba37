/** What a run writes beside its records, as the configuration asks. */
import { join } from 'node:path'
import { csvLogger, tableLogger, tensorBoardLogger, type TrainLogger } from '@revisual/rl'
import type { RunConfig } from '../config/schema.js'
import { completionsLogger } from '../run/completions-logger.js'

/** @param path the run folder */
export function openLoggers(
  { console, csv, tensorboard, completions }: RunConfig['logging'],
  path: string,
): TrainLogger[] {
  return [
    ...(console === 'table' ? [tableLogger((text) => void process.stderr.write(text))] : []),
    ...(csv ? [csvLogger(join(path, 'metrics.csv'))] : []),
    ...(tensorboard ? [tensorBoardLogger(join(path, 'tensorboard'))] : []),
    ...(completions ? [completionsLogger(join(path, 'completions'))] : []),
  ]
}
