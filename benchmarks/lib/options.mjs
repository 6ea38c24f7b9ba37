/**
 * The command line of the benchmark.
 */
import { parseArgs } from 'node:util'

export const usage = `Usage: npm run bench -- [options]

  --case PATTERN   only cases whose name holds PATTERN (case-insensitive; may be given several times)
  --peer NAME      only these peers (may be given several times); 'none' for ours alone
  --quick          fewer and shorter samples
  --json FILE      write the records to FILE
  --list           print the names of cases and peers
  --help`

/** @throws {TypeError} an option is unknown or lacks its value. */
export function parseOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      case: { type: 'string', multiple: true },
      peer: { type: 'string', multiple: true },
      quick: { type: 'boolean' },
      json: { type: 'string' },
      list: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  return {
    patterns: values.case ?? [],
    peers: values.peer ?? null,
    json: values.json ?? null,
    list: values.list === true,
    help: values.help === true,
    sampling: values.quick ? { target: 40, rounds: 3, budget: 1500 } : { target: 120, rounds: 9, budget: 6000 },
  }
}

export function selects(patterns, name) {
  const lower = name.toLowerCase()
  return patterns.length === 0 || patterns.some((pattern) => lower.includes(pattern.toLowerCase()))
}
