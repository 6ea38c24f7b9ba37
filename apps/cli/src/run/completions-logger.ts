/**
 * Completions as Parquet, a file per rl step, in the row format of `@revisual/data`: `solution` is what the policy wrote and
 * `tags` what became of it, so the files open in any notebook and are data for a supervised stage again.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeParquet, type Row } from '@revisual/data'
import type { CompletionSample, StepSamples, TrainLogger } from '@revisual/rl'

const fileName = (globalStep: number) => `${String(globalStep).padStart(6, '0')}.parquet`

const text = (value: unknown): string =>
  typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value)

/** Tags hold no null: a reward that does not apply has no tag. */
const numbers = (prefix: string, values: { readonly [name: string]: number | null }) =>
  Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (value === null ? [] : [[`${prefix}${name}`, value] as const])),
  )

function rowsOf<Prompt>({ stage, step, globalStep, prompts }: StepSamples<Prompt>): Row[] {
  const rowOf = (
    id: string,
    columns: { readonly [column: string]: unknown },
    sample: CompletionSample,
    index: number,
  ): Row => {
    const { tokens, finishReason, advantage, selected, reward, scores } = sample
    return {
      id: `${id}#${index}`,
      question: text(columns['question']),
      images: [],
      answer: text(columns['answer']),
      solution: sample.text,
      source: stage,
      tags: {
        ...{ prompt: id, step, global_step: globalStep, tokens, finish_reason: finishReason, advantage, selected },
        ...numbers('', { reward }),
        ...numbers('rewards/', scores),
      },
    }
  }
  return prompts.flatMap(({ example: { id, row }, completions }) =>
    completions.map((sample, index) => rowOf(id, row, sample, index)),
  )
}

/** Writes `<step>.parquet` into `directory`; files of steps that a resumed run does again are removed. */
export function completionsLogger(directory: string): TrainLogger {
  return {
    start({ globalStep }) {
      mkdirSync(directory, { recursive: true })
      for (const name of readdirSync(directory)) {
        if (Number.parseInt(name, 10) > globalStep) rmSync(join(directory, name))
      }
    },
    samples: (samples) => writeParquet(join(directory, fileName(samples.globalStep)), rowsOf(samples)),
  }
}
