/**
 * From the sources of a stage to the examples the trainer asks for: rows → prompts, and for supervised learning the ids
 * of what is to be imitated. The position in the stream is the position in the rows; nothing else is kept.
 */
import { arrayStream, digitsStream, loadGsm8k, loadRows, mixStreams, type Row, type RowStream } from '@revisual/data'
import type { ModelPrompt, VisionLanguageModel } from '@revisual/model'
import type { DataSource, RlExample, SftExample } from '@revisual/rl'
import type { DataSourceConfig } from '../config/schema.js'
import { ConfigError } from '../errors.js'
import type { PromptMaker } from './prompts.js'
import { deriveSeed } from './seed.js'

/** Rows with what is to be imitated in `solution`. */
function withTarget(rows: readonly Row[], target: 'solution' | 'boxed'): readonly Row[] {
  return target === 'solution' ? rows : rows.map((row) => ({ ...row, solution: `\\boxed{${row.answer}}` }))
}

async function openSource(config: DataSourceConfig, seed: number): Promise<RowStream> {
  switch (config.source) {
    case 'digits': {
      const { modality, style, kinds, levels, nameDigits } = config
      const selection = { ...(kinds && { kinds }), ...(levels && { levels }) }
      return digitsStream({ split: 'train', modality, style, nameDigits, seed, ...selection })
    }
    case 'gsm8k':
      return arrayStream(withTarget(await loadGsm8k(config.path), config.target), { seed })
    case 'file':
      return arrayStream(withTarget(await loadRows(config.path), config.target), { seed })
  }
}

/** The mixture of a stage as one stream. */
export async function openRows(sources: readonly DataSourceConfig[], seed: number): Promise<RowStream> {
  const parts = await Promise.all(
    sources.map(async (source, index) => ({
      stream: await openSource(source, deriveSeed(seed, 'source', index)),
      weight: source.weight,
    })),
  )
  const [only] = parts
  return parts.length === 1 && only ? only.stream : mixStreams(parts, deriveSeed(seed, 'mixture'))
}

function mapStream<Example>(rows: RowStream, example: (row: Row) => Promise<Example>): DataSource<Example> {
  return {
    next: async (count) => Promise.all((await rows.next(count)).map(example)),
    state: () => rows.state(),
    restore: (state) => rows.restore(state),
  }
}

/** Supervised examples: imitate `solution`. */
export function sftExamples(
  rows: RowStream,
  model: VisionLanguageModel,
  prompt: PromptMaker,
): DataSource<SftExample<ModelPrompt>> {
  return mapStream(rows, async (row) => {
    if (row.solution === undefined) {
      throw new ConfigError(`Row '${row.id}' has no solution to imitate; use target: boxed, or rows with solutions.`)
    }
    return { id: row.id, prompt: await prompt(row), completionIds: model.encodeCompletion(row.solution) }
  })
}

/** Problems to be solved under reward. `seen` is told of every row handed out, with its images. */
export function rlExamples(
  rows: RowStream,
  prompt: PromptMaker,
  seen: (row: Row) => void,
): DataSource<RlExample<ModelPrompt>> {
  return mapStream(rows, async (row) => {
    seen(row)
    const { id, question, answer, solution, source, tags } = row
    const columns = { ...tags, id, question, answer, source, ...(solution === undefined ? {} : { solution }) }
    return { id, prompt: await prompt(row), row: columns }
  })
}
