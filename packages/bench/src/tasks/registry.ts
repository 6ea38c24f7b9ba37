/** The tasks that come with the package, by name. A task of one's own needs no entry: `evaluate` takes any. */
import { digitKinds, digitLevels } from '@revisual/data'
import type { Task } from '../types.js'
import { digitsTask } from './digits.js'
import { gsm8kTask } from './gsm8k.js'

/** Options by name, as a configuration file gives them; each task says which it has. */
export interface TaskOptions {
  readonly n?: number
  readonly seed?: number
  readonly kinds?: readonly string[]
  readonly levels?: readonly number[]
}

interface Entry {
  readonly options: readonly (keyof TaskOptions)[]
  readonly create: (options: TaskOptions) => Task
}

const digits = (modality: 'image' | 'text'): Entry => ({
  options: ['n', 'seed', 'kinds', 'levels'],
  create: ({ kinds, levels, ...options }) =>
    digitsTask(modality, {
      ...options,
      ...(kinds && { kinds: choose('kinds', kinds, digitKinds) }),
      ...(levels && { levels: choose('levels', levels, digitLevels) }),
    }),
})

const entries: { readonly [name: string]: Entry } = {
  'digits-image': digits('image'),
  'digits-text': digits('text'),
  gsm8k: { options: ['n'], create: ({ n }) => gsm8kTask(n === undefined ? {} : { n }) },
}

export const taskNames: readonly string[] = Object.keys(entries)

/**
 * A task by name.
 * @throws {RangeError} for an unknown name, listing the names there are, or an option the task does not have.
 */
export function createTask(name: string, options: TaskOptions = {}): Task {
  const entry = Object.hasOwn(entries, name) ? entries[name] : undefined
  if (!entry) throw new RangeError(`Unknown task '${name}'; allowed: ${taskNames.join(', ')}.`)
  const given = (Object.keys(options) as (keyof TaskOptions)[]).filter((option) => options[option] !== undefined)
  const unknown = given.find((option) => !entry.options.includes(option))
  if (unknown) throw new RangeError(`Task '${name}' has no option '${unknown}'; allowed: ${entry.options.join(', ')}.`)
  return entry.create(options)
}

function choose<Value>(option: string, given: readonly unknown[], known: readonly Value[]): Value[] {
  return given.map((value) => {
    const found = known.find((each) => each === value)
    if (found === undefined)
      throw new RangeError(`digits: '${String(value)}' in '${option}' is not known; allowed: ${known.join(', ')}.`)
    return found
  })
}
