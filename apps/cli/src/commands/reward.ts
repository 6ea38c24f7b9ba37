/** `revisual reward test`: puts a reward to the contract of `@revisual/rl`, as a table. */
import { checkReward, type ContractOptions, type RewardCase, type RewardCheck, type RewardSpec } from '@revisual/rl'
import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { messageOf, UserError } from '../errors.js'
import { builtInRewards, expandPresets } from '../train/rewards.js'

export interface RewardTestFlags extends Required<ContractOptions> {
  /** Path of the JSONL file. */
  readonly cases: string | null
  /** JSON. */
  readonly options: string | null
}

const rewardCase = z.strictObject({
  prompt: z.string().optional(),
  completion: z.string(),
  row: z.record(z.string(), z.json()).optional(),
  finishReason: z.enum(['stop', 'length', 'aborted']).optional(),
  completionLength: z.int().positive().optional(),
  expected: z.number().nullable().optional(),
  tolerance: z.number().nonnegative().optional(),
})

/** One line of a cases file. */
function caseOf(line: string, where: string): RewardCase {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (thrown) {
    throw new UserError(`${where} is no JSON: ${messageOf(thrown)}`)
  }
  const { data, error } = rewardCase.safeParse(value)
  if (data !== undefined) return data as RewardCase
  const issues = error.issues.map(({ path, message }) => `${path.join('.') || 'the line'}: ${message}`)
  throw new UserError(`${where} is no case: ${issues.join('; ')}.`)
}

async function readCases(path: string): Promise<readonly RewardCase[]> {
  let content: string
  try {
    content = await readFile(path, 'utf8')
  } catch (thrown) {
    throw new UserError(`--cases ${path} cannot be read: ${messageOf(thrown)}`)
  }
  const cases = content
    .split('\n')
    .flatMap((line, index) => (line.trim() === '' ? [] : [caseOf(line, `${path}, line ${index + 1},`)]))
  if (cases.length > 0) return cases
  throw new UserError(`${path} has no cases; write one JSON object { "completion": … } a line.`)
}

/** Options from the command line. */
function parseOptions(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (thrown) {
    throw new UserError(`--options ${text} is no JSON: ${messageOf(thrown)}`)
  }
}

const SIGNS = { passed: '✓', failed: '✗', skipped: '–' } as const

/** A line per point of the contract. */
function report(checks: readonly RewardCheck[]): string {
  const width = Math.max(...checks.map(({ check }) => check.length))
  return checks.map(({ check, outcome, detail }) => `  ${SIGNS[outcome]} ${check.padEnd(width)}  ${detail}`).join('\n')
}

/**
 * Runs the contract test on a reward reference, as a configuration names it; presets are tested part by part. Exit code 1
 * when a point fails.
 */
export async function rewardCommand(action: string, reference: string, flags: RewardTestFlags): Promise<void> {
  if (action !== 'test') throw new UserError(`There is no 'reward ${action}'; allowed: reward test <reference>.`)
  if (flags.cases === null) throw new UserError('--cases is missing; give a JSONL file of completions to score.')
  const cases = await readCases(flags.cases)
  const spec: RewardSpec = {
    use: reference,
    ...(flags.options === null ? {} : { options: parseOptions(flags.options) }),
  }
  const parts = expandPresets([spec])
  if (parts.length > 1 && cases.some(({ expected }) => expected !== undefined)) {
    throw new UserError(`'${reference}' is a preset of several rewards; remove 'expected' or test them one by one.`)
  }
  let failed = 0
  for (const part of parts) {
    const lookup = { baseDir: process.cwd(), builtIns: builtInRewards() }
    const checks = await checkReward(part, lookup, cases, flags)
    process.stdout.write(`${part.use}\n${report(checks)}\n`)
    failed += checks.filter(({ outcome }) => outcome === 'failed').length
  }
  process.stdout.write(failed === 0 ? 'The contract is kept.\n' : `${failed} of the points failed.\n`)
  if (failed > 0) process.exitCode = 1
}
