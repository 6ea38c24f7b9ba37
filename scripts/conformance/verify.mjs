/**
 * `npm run conformance -- verify <file>`: files of answer-grading cases `{ meta, cases: [{ id, kind, form, gold, pred,
 * expected, config, ref }] }`. One JSON line per case on standard output, `{ id, equal, reason, ms }` with `extracted` for
 * the extraction cases and `ok` where a verdict is expected, then a summary line. How it is judged: docs/verify.md.
 */
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { extractAnswer, isEquivalent, verify } from '../../packages/verify/dist/index.js'

/** Shares of right verdicts that a file must reach, per group. */
const BARS = { mathVerify: 1, extraction: 1, others: 0.95, reports: 1, gradeAnswer: 0.98 }
const MOST_MS = 50
const MEDIAN_MS = 0.1

/** Groups of a case: which bar its verdict counts for; null for cases that contradict themselves or each other. */
function groupOf({ id, kind, note = '', source = '' }) {
  if (/CONFLICT|DISABLED|ESCAPE ACCIDENT|SUSPECT/.test(note)) return null
  if (kind === 'extract') return 'extraction'
  if (/issue tracker/.test(source) || /^(mvissue|mrissue)/.test(id)) return 'reports'
  return /Math-Verify/.test(source) || /^mv-/.test(id) ? 'mathVerify' : 'others'
}

const UNMARKED_LATEX = ['boxed', 'answer-tag', 'answer-phrase', 'bare', 'last-math']

/** The configuration of a case in this package's terms. */
function optionsOf({ targets = ['latex', 'expr'], floatRounding, strict, allowSetRelationComp, ...config }) {
  const plain = targets.includes('expr')
  let rules = plain ? [...UNMARKED_LATEX, 'last-number'] : UNMARKED_LATEX
  const { boxedPriority = 0 } = config
  if (boxedPriority < 0) rules = rules.filter((rule) => rule !== 'boxed')
  if (boxedPriority > 50) rules = ['answer-phrase', ...rules.filter((rule) => rule !== 'answer-phrase')]
  if (targets.includes('string')) rules = targets.length === 1 ? ['choice'] : ['choice', ...rules]
  return {
    rules,
    ...(floatRounding === undefined ? {} : { decimals: floatRounding }),
    ...(strict === false ? { renameVariables: true } : {}),
    ...(allowSetRelationComp === true ? { relationForSet: true } : {}),
    ...(config.profile === undefined ? {} : { profile: config.profile }),
    ...(targets.includes('string') ? { choices: config.strings ?? ['A', 'B', 'C', 'D'] } : {}),
    ...(malformedOf(config) === false ? { malformed: 'refuse' } : {}),
  }
}

const malformedOf = ({ malformedOperators, malformed_operators, malformed }) =>
  malformedOperators ?? malformed_operators ?? malformed

/** What an extraction case asks for: the value as text, and with choices also the text itself. */
function extractionOf({ pred, config }) {
  const { answer, value } = extractAnswer(pred, optionsOf(config))
  if (answer === null) return []
  if (!config.targets?.includes('string')) return [value ?? answer]
  return [config.lowercase === true ? answer.toLowerCase() : answer, answer]
}

function judge(test) {
  const { kind, form, gold, pred, config = {} } = test
  const start = performance.now()
  if (kind === 'extract') {
    const extracted = extractionOf({ pred, config: config ?? {} })
    const ms = performance.now() - start
    return { equal: null, reason: 'extraction', ms, extracted, ok: same(extracted, test.expected) }
  }
  const options = optionsOf(config ?? {})
  const { equal, reason } = form === 'bare' ? isEquivalent(gold, pred, options) : verify(gold, pred, options)
  const ms = performance.now() - start
  return {
    equal,
    reason,
    ms,
    ...(test.expected === undefined || test.expected === null ? {} : { ok: equal === Boolean(test.expected) }),
  }
}

/** The quickest of a few equal runs: what else the machine does is not the verdict's time. */
function quickest(test) {
  let best = judge(test)
  for (let run = 1; run < 3; run++) {
    const next = judge(test)
    if (next.ms < best.ms) best = next
  }
  return best
}

const same = (extracted, expected) => JSON.stringify(extracted) === JSON.stringify(expected)

/** Agreement of the profile `gradeAnswer` with a recorded verdict of MathRuler, for bare answers. */
function agreesWithMathRuler({ kind, form, gold, pred, ref }) {
  if (kind === 'extract' || form !== 'bare' || typeof ref?.mathRuler !== 'boolean') return null
  return isEquivalent(gold, pred, { profile: 'gradeAnswer' }).equal === ref.mathRuler
}

class Tally {
  #groups = new Map()

  add(group, ok, id) {
    if (group === null || ok === undefined || ok === null) return
    const entry = this.#groups.get(group) ?? { cases: 0, right: 0, wrong: [] }
    entry.cases++
    if (ok) entry.right++
    else entry.wrong.push(id)
    this.#groups.set(group, entry)
  }

  get groups() {
    return Object.fromEntries(this.#groups)
  }

  get held() {
    return [...this.#groups].every(([group, { cases, right }]) => right >= BARS[group] * cases)
  }
}

/** Runs a file of cases; true when every group reaches its bar and every verdict its time. */
export function run(path) {
  const { cases } = JSON.parse(readFileSync(path, 'utf8'))
  if (!Array.isArray(cases) || cases.length === 0) throw new Error(`${path} has no cases: a list 'cases' is needed`)
  // The first calls pay for compilation, which is not a verdict's time.
  for (let round = 0; round < 3; round++) for (const test of cases) judge(test)
  const tally = new Tally()
  const times = []
  const late = []
  for (const test of cases) {
    const result = quickest(test)
    const ms = Number(result.ms.toFixed(4))
    times.push(ms)
    if (ms > MOST_MS) late.push(test.id)
    process.stdout.write(`${JSON.stringify({ id: test.id, ...result, ms })}\n`)
    tally.add(groupOf(test), result.ok, test.id)
    tally.add('gradeAnswer', agreesWithMathRuler(test), test.id)
  }
  const medianMs = times.sort((a, b) => a - b)[times.length >> 1]
  const held = tally.held && late.length === 0 && medianMs <= MEDIAN_MS
  process.stdout.write(
    `${JSON.stringify({ summary: true, held, cases: cases.length, medianMs, late, bars: BARS, groups: tally.groups })}\n`,
  )
  return held
}
