/**
 * `npm run conformance -- images <folder>`: image processing against a reference. One JSON line per image, and one for the
 * table of smart resizes; tolerances are in `imageTolerances` of `@revisual/model/testing`.
 */
import { runImageCases } from '@revisual/model/testing'

/** @param {string} path a folder with a JSON file of cases, or that file */
export async function run(path) {
  let held = true
  for await (const report of runImageCases(path)) {
    process.stdout.write(`${JSON.stringify(report)}\n`)
    held &&= report.ok
  }
  return held
}
