/**
 * What runs inside the reward thread: a program of its own, as text, so that it is the same whether this package runs from
 * its build, from a bundle, or from its sources under a test runner. It answers requests one at a time:
 *
 *   { id, load: { url, exportName, options } }   → imports, checks options, creates; keeps the function
 *   { id, score: { index, batch, timeout } }     → calls function `index`
 *
 * with { id, value } or { id, problem, … }. Everything said in errors is worded by the thread that asked.
 */
export const workerSource = `
const { parentPort } = require('node:worker_threads')
const rewards = []
const text = (thrown) => (thrown instanceof Error ? thrown.message : String(thrown))

async function load({ url, exportName, options }) {
  const module = await import(url)
  const found = module[exportName]
  const isFunction = typeof found === 'function'
  if (!isFunction && typeof found?.create !== 'function') return { problem: 'export', exports: Object.keys(module) }
  const schema = isFunction ? undefined : found.options
  if (!schema && options !== undefined) return { problem: 'no-options' }
  let checked
  if (schema) {
    const result = await schema['~standard'].validate(options ?? {})
    if (result.issues) {
      const step = (part) => String(typeof part === 'object' && part !== null ? part.key : part)
      return { problem: 'options', issues: result.issues.map(({ message, path }) => ({ message, path: (path ?? []).map(step) })) }
    }
    checked = result.value
  }
  rewards.push(isFunction ? found : await found.create(checked))
  return { value: isFunction ? null : found.name }
}

async function score({ index, batch, timeout }) {
  const clock = new AbortController()
  const timer = setTimeout(() => clock.abort(), timeout)
  try {
    const value = await rewards[index](batch, { signal: clock.signal })
    // A function that gave up because its signal was aborted ran out of time, whatever it returned.
    return clock.signal.aborted ? { problem: 'timeout' } : { value }
  } catch (thrown) {
    return clock.signal.aborted ? { problem: 'timeout' } : { problem: 'throw', message: text(thrown) }
  } finally {
    clearTimeout(timer)
  }
}

parentPort.on('message', async ({ id, ...request }) => {
  try {
    parentPort.postMessage({ id, ...(await (request.load ? load(request.load) : score(request.score))) })
  } catch (thrown) {
    parentPort.postMessage({ id, problem: 'throw', message: text(thrown) })
  }
})
`
