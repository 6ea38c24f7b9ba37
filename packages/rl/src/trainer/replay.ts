/**
 * Groups worth learning from again. A group is kept with the place in the data its prompt came from instead of the prompt, so
 * that the buffer is plain data of a checkpoint whatever prompts are; after a resume the prompts are read anew.
 */
import type { Random } from '../random.js'
import { chooseWithoutReplacement } from '../random.js'
import type { FunctionScores } from '../rewards/scores.js'
import type { Completion, DataSource, JsonValue, RlExample } from '../types.js'
import type { Replay } from './stages.js'

/** Where an example came from: the cursor before a call of `next(count)`, and its place in what that returned. */
interface ExampleOrigin {
  readonly cursor: JsonValue
  readonly count: number
  readonly index: number
}

/** An example with its origin. */
export interface DrawnExample<Prompt> {
  readonly example: RlExample<Prompt>
  readonly origin: ExampleOrigin
}

/** The completions of one prompt with their rewards. */
export interface Group<Prompt> extends DrawnExample<Prompt> {
  /** Step of the stage that sampled it. */
  readonly step: number
  readonly completions: readonly Completion[]
  readonly rewards: readonly (number | null)[]
  readonly functions: readonly FunctionScores[]
}

/** A kept group in a checkpoint: without its example. */
export type SavedGroup = JsonValue

interface SavedGroupFields {
  readonly origin: ExampleOrigin
  readonly step: number
  readonly completions: readonly Completion[]
  readonly rewards: readonly (number | null)[]
  readonly functions: readonly FunctionScores[]
}

export class ReplayBuffer<Prompt> {
  #groups: readonly Group<Prompt>[] = []

  constructor(readonly settings: Replay) {}

  get size(): number {
    return this.#groups.length
  }

  /** Up to `count` different groups, drawn uniformly among those not too old at `step`. They stay in the buffer. */
  draw(count: number, step: number, random: Random): Group<Prompt>[] {
    const { maxAge = Infinity } = this.settings
    const fresh = this.#groups.filter((group) => step - group.step <= maxAge)
    const weights = fresh.map(() => 1)
    const chosen = chooseWithoutReplacement(weights, Math.min(count, fresh.length), random).sort((a, b) => a - b)
    return chosen.map((index) => fresh[index] as Group<Prompt>)
  }

  add(groups: readonly Group<Prompt>[]): void {
    // A failed reward call was counted when it happened.
    const clean = groups.map((group) => ({
      ...group,
      functions: group.functions.map(({ error: _, ...scores }) => scores),
    }))
    this.#groups = [...this.#groups, ...clean].slice(-(this.settings.capacity ?? 64))
  }

  state(): readonly SavedGroup[] {
    const saved = this.#groups.map(({ example: _, ...fields }): SavedGroupFields => fields)
    return JSON.parse(JSON.stringify(saved)) as readonly SavedGroup[]
  }

  /** Reads the prompts of saved groups again. Leaves the data where it was. */
  async restore(saved: readonly SavedGroup[], data: DataSource<RlExample<Prompt>>): Promise<void> {
    const here = data.state()
    const groups: Group<Prompt>[] = []
    for (const fields of saved as unknown as readonly SavedGroupFields[]) {
      const { cursor, count, index } = fields.origin
      data.restore(cursor)
      const example = (await data.next(count))[index]
      if (!example) throw new Error(`The data no longer has the example of a replayed group of step ${fields.step}.`)
      groups.push({ ...fields, example })
    }
    data.restore(here)
    this.#groups = groups
  }
}
