/**
 * `npm run conformance -- models <folder>`: tiny checkpoints with values of a reference. One JSON line per case with the
 * largest error of each quantity; tolerances are in `modelTolerances` of `@revisual/model/testing`.
 */
import { findCases, runModelCase } from '@revisual/model/testing'
import { createDevice } from '@revisual/tensor'

/** @param {string} path a folder of cases, or one case */
export async function run(path) {
  const cases = findCases(path)
  if (cases.length === 0) {
    process.stderr.write(`${path} holds no cases: folders with expected.json or expected.safetensors.\n`)
    return false
  }
  const device = await createDevice()
  let held = true
  for (const directory of cases) {
    const report = await runModelCase(directory, device)
    process.stdout.write(`${JSON.stringify(report)}\n`)
    held &&= report.ok
  }
  device.destroy()
  return held
}
