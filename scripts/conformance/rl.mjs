/**
 * Conformance of `@revisual/rl` with values of other trainers: files of TRL's GRPO losses (`cases`) and of EasyR1's core
 * algorithms (`advantages`, `losses`, `kl`). Every setting comes from the file; one this module does not know fails its case.
 *
 * A line per case: `{ id, settings, error, ok }`, `error` the largest of |own − expected| / max(1, |expected|) over value and
 * gradients, `metrics_error` the same of metrics, which the references count in float32 (tolerance 1e-6).
 */
import { readFileSync } from 'node:fs'

const TOLERANCE = 1e-9
const METRIC_TOLERANCE = 1e-6

const cut = (matrix, lengths) => matrix.map((row, index) => row.slice(0, lengths[index]))

function errorOf(own, expected) {
  if (typeof own !== 'number' || typeof expected !== 'number') return Infinity
  const error = Math.abs(own - expected) / Math.max(1, Math.abs(expected))
  return Number.isNaN(error) ? Infinity : error
}

/** Largest error over rows cut to their lengths; a missing row or token is infinitely wrong. */
function matrixError(own, expected, lengths) {
  if (own.length !== lengths.length || expected.length < lengths.length) return Infinity
  let worst = 0
  lengths.forEach((length, i) => {
    for (let t = 0; t < length; t++) worst = Math.max(worst, errorOf(own[i][t], expected[i][t]))
  })
  return worst
}

/** Reads settings by any of their names, and refuses those that nobody read. */
function reader(settings) {
  const known = new Set()
  return {
    get(names, fallback) {
      for (const name of names) known.add(name)
      const found = names.find((name) => settings[name] !== undefined && settings[name] !== null)
      return found === undefined ? fallback : settings[found]
    },
    refuseOthers() {
      const unknown = Object.keys(settings).filter((name) => !known.has(name))
      if (unknown.length > 0) throw new Error(`unknown setting ${unknown.join(', ')}`)
    },
  }
}

// ---------------------------------------------------------------------------------------------- TRL

/** TRL's names for the mean of losses. Width of the padded batch is its `max_completion_length` where the file gives none. */
function trlAggregation(lossType, length) {
  const modes = {
    grpo: 'sequence-mean',
    sapo: 'sequence-mean',
    bnpo: 'token-mean',
    dapo: 'token-mean',
    cispo: 'token-mean',
    vespo: 'token-mean',
    luspo: 'sequence-sum',
    dr_grpo: { kind: 'sequence-sum-constant', length },
  }
  if (!Object.hasOwn(modes, lossType)) throw new Error(`unknown loss_type ${lossType}`)
  return modes[lossType]
}

function trlObjective(lossType, level, high, read) {
  const positive = { k: read.get(['vespo_k_pos'], 2), lambda: read.get(['vespo_lambda_pos'], 3) }
  const negative = { k: read.get(['vespo_k_neg'], 3), lambda: read.get(['vespo_lambda_neg'], 2) }
  const temperaturePositive = read.get(['sapo_temperature_pos', 'tau_pos'], 1)
  const temperatureNegative = read.get(['sapo_temperature_neg', 'tau_neg'], 1.05)
  if (lossType === 'cispo') return { kind: 'cispo', bound: 'cap', max: high, level }
  if (lossType === 'sapo') return { kind: 'sapo', temperaturePositive, temperatureNegative, level }
  if (lossType === 'vespo') return { kind: 'vespo', positive, negative }
  return { kind: 'clip', level }
}

function trlSettings(raw, width) {
  const read = reader(raw)
  const lossType = read.get(['loss_type'], 'dapo')
  const low = read.get(['eps_low', 'epsilon', 'epsilon_low'], 0.2)
  const high = read.get(['eps_high', 'epsilon_high'], low)
  const cap = read.get(['delta'])
  const level = read.get(['level', 'importance_sampling_level'], 'token').replace('_', '-')
  const threshold = read.get(['off_policy_mask_threshold'])
  const bonus = read.get(['entropy_coef'], 0)
  const beta = read.get(['beta'], 0)
  const mode = read.get(['vllm_importance_sampling_mode'])
  const max = read.get(['vllm_importance_sampling_clip_max', 'vllm_importance_sampling_cap'], 3)
  const min = read.get(['vllm_importance_sampling_clip_min'])
  const settings = {
    clip: { low: Math.min(1, low), high, ...(cap === undefined ? {} : { cap }) },
    objective: trlObjective(lossType, level, high, read),
    aggregation: trlAggregation(lossType, read.get(['max_completion_length'], width)),
    kl: {
      estimator: 'k3',
      coefficient: beta,
      ratioCorrected: read.get(['use_bias_correction_kl'], false),
    },
    ...(threshold === undefined ? {} : { offPolicyThreshold: threshold }),
    ...(bonus === 0 ? {} : { entropy: { coefficient: bonus, kind: 'true-entropy' } }),
    ...(mode === undefined
      ? {}
      : {
          correction: {
            level: mode.split('_')[0],
            mode: mode.split('_')[1],
            max,
            ...(min === undefined ? {} : { min }),
          },
        }),
  }
  const share = read.get(['top_entropy_quantile'], 1)
  read.refuseOthers()
  return { settings, share }
}

function trlCase(rl, golden) {
  const { lengths } = golden
  const { settings, share } = trlSettings(golden.settings, golden.logp[0].length)
  const entropies = cut(golden.entropy, lengths)
  const inputs = {
    logProbs: cut(golden.logp, lengths),
    oldLogProbs: cut(golden.old_logp, lengths),
    entropies,
    advantages: golden.advantages,
    ...(golden.ref_logp ? { referenceLogProbs: cut(golden.ref_logp, lengths) } : {}),
    ...(golden.sampling_logp ? { samplerLogProbs: cut(golden.sampling_logp, lengths) } : {}),
    // TRL takes this quantile in float32.
    ...(share < 1 ? { tokenFactors: rl.highEntropyMask(entropies, share, Math.fround) } : {}),
  }
  const result = rl.policyLoss(inputs, settings, rl.denominatorsOf(lengths))
  const metrics = rl.policyLossMetrics(result.sums)
  const named = { ...metrics, cispo_clip_ratio: metrics['clip_ratio/high_mean'] }
  return {
    error: Math.max(errorOf(result.loss, golden.loss), matrixError(result.logProbGradients, golden.grad, lengths)),
    metrics_error: Object.entries(golden.metrics ?? {})
      .filter(([name]) => name in named)
      .reduce((worst, [name, value]) => Math.max(worst, errorOf(named[name], value)), 0),
  }
}

// ---------------------------------------------------------------------------------------------- EasyR1

/** EasyR1 adds this to every count it divides by. */
const EPSILON = 1e-8

/** Positions of each group's members, in the order of their first members. */
function membersOf(groups) {
  const members = new Map()
  groups.forEach((group, index) => members.set(group, [...(members.get(group) ?? []), index]))
  return [...members.values()]
}

const byGroup = {
  grpo: (rl, rewards) => rl.groupAdvantages(rewards, rewards.length, { epsilon: 1e-6 }).advantages,
  rloo: (rl, rewards) => rl.rlooAdvantages(rewards, rewards.length),
  grpo_passk: (rl, rewards) => rl.passAtKAdvantages(rewards, rewards.length, { epsilon: 1e-6 }),
}

function easyR1Advantages(rl, { estimator, rewards, advantages, gamma = 1 }, { lengths, groups }) {
  let own
  if (estimator === 'reinforce_plus_plus') {
    own = rl.reinforcePlusPlusAdvantages(rewards, lengths, undefined, { gamma, epsilon: EPSILON })
  } else {
    if (!Object.hasOwn(byGroup, estimator)) throw new Error(`unknown estimator ${estimator}`)
    own = []
    for (const members of membersOf(groups)) {
      const values = byGroup[estimator](
        rl,
        members.map((index) => rewards[index]),
      )
      members.forEach((index, at) => (own[index] = new Float64Array(lengths[index]).fill(values[at])))
    }
  }
  return { error: matrixError(own, advantages, lengths) }
}

function easyR1Objective({ loss_type: type, tau_positive = 1, tau_negative = 1.05 }) {
  const objectives = {
    default: { kind: 'clip' },
    gspo: { kind: 'clip', level: 'sequence' },
    gspo_token: { kind: 'clip', level: 'sequence-token' },
    cispo: { kind: 'cispo', bound: 'range' },
    sapo: { kind: 'sapo', temperaturePositive: tau_positive, temperatureNegative: tau_negative },
  }
  if (!Object.hasOwn(objectives, type)) throw new Error(`unknown loss_type ${type}`)
  return objectives[type]
}

function easyR1Loss(rl, golden, { lengths }) {
  const { clip_ratio_low: low, clip_ratio_high: high, clip_ratio_dual: dual, loss_avg_mode: mode } = golden
  if (mode !== 'token' && mode !== 'seq') throw new Error(`unknown loss_avg_mode ${mode}`)
  const logProbs = cut(golden.log_probs, lengths)
  // Advantages may be given per token, as EasyR1 holds them.
  const advantages = golden.advantages.map((value, index) =>
    Array.isArray(value) ? value.slice(0, lengths[index]) : value,
  )
  const result = rl.policyLoss(
    { logProbs, oldLogProbs: cut(golden.old_log_probs, lengths), entropies: logProbs, advantages },
    {
      clip: { low, high, ...(dual === undefined || dual === null ? {} : { dual }) },
      objective: easyR1Objective(golden),
      aggregation: mode === 'token' ? 'token-mean' : 'sequence-mean',
    },
    { ...rl.denominatorsOf(lengths), epsilon: EPSILON },
  )
  return {
    error: Math.max(errorOf(result.loss, golden.loss), matrixError(result.logProbGradients, golden.grad, lengths)),
  }
}

/**
 * A value of EasyR1's KL, which it computes in float32. Rounding like it gives the same bits, but for exponentials, which
 * libraries round differently in the last place: one step of float32 is then no error if the expected value is one of float32.
 */
function float32Error(own, expected) {
  const step = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(own) + 1))) - 23)
  const isStep = Math.fround(expected) === expected && Math.abs(own - expected) <= step
  return isStep ? 0 : errorOf(own, expected)
}

function easyR1Kl(rl, { estimator, log_probs, ref_log_probs, value, grad_of_sum }, { lengths }) {
  const names = { kl: 'k1', mse: 'k2', abs: 'abs', low_var_kl: 'k3' }
  if (!Object.hasOwn(names, estimator)) throw new Error(`unknown kl estimator ${estimator}`)
  const bound = estimator === 'low_var_kl' ? 10 : Infinity
  let error = 0
  lengths.forEach((length, i) => {
    for (let t = 0; t < length; t++) {
      const own = rl.klTerm(names[estimator], log_probs[i][t], ref_log_probs[i][t], bound, Math.fround)
      const compare = estimator === 'low_var_kl' ? float32Error : errorOf
      error = Math.max(error, compare(own.value, value[i][t]), compare(own.gradient, grad_of_sum[i][t]))
    }
  })
  return { error }
}

// ----------------------------------------------------------------------------------------------

/** The settings of a case: all of it that is not an array, an object or its expected loss. */
const scalars = (golden) =>
  Object.fromEntries(
    Object.entries(golden).filter(([name, value]) => name !== 'loss' && (value === null || typeof value !== 'object')),
  )

function casesOf(rl, file) {
  const named = (kind, list, check, settingsOf) =>
    (list ?? []).map((golden, index) => ({
      id: `${kind}[${index}]`,
      settings: settingsOf(golden),
      check: () => check(rl, golden, file),
    }))
  return [
    ...named('trl', file.cases, trlCase, ({ settings }) => settings),
    ...named('advantages', file.advantages, easyR1Advantages, scalars),
    ...named('losses', file.losses, easyR1Loss, scalars),
    ...named('kl', file.kl, easyR1Kl, scalars),
  ]
}

function checkCase({ id, settings, check }) {
  try {
    const { error, metrics_error = 0 } = check()
    const ok = error <= TOLERANCE && metrics_error <= METRIC_TOLERANCE
    return { id, settings, error, ...(metrics_error > 0 ? { metrics_error } : {}), ok }
  } catch (thrown) {
    return { id, settings, error: Infinity, ok: false, message: thrown.message }
  }
}

/**
 * Checks the cases of a file.
 * @param rl the module `@revisual/rl`
 */
export const checkFile = (rl, file) => casesOf(rl, file).map(checkCase)

/** Checks a file with the built package; true when every case held. A file without cases does not conform. */
export async function run(path) {
  const rl = await import(new URL('../../packages/rl/dist/index.js', import.meta.url).href)
  const results = checkFile(rl, JSON.parse(readFileSync(path, 'utf8')))
  for (const { error, ...result } of results) {
    process.stdout.write(`${JSON.stringify({ ...result, error: Number.isFinite(error) ? error : 'infinite' })}\n`)
  }
  const failed = results.filter(({ ok }) => !ok).length
  process.stderr.write(`${results.length} cases, ${failed} beyond ${TOLERANCE}\n`)
  return results.length > 0 && failed === 0
}
