/**
 * Where the data files shipped with the package lie. Must stay directly under `src/`: `../assets` then leads to the same
 * folder from `src/assets.ts` and from the bundled `dist/index.js`.
 */
import { fileURLToPath } from 'node:url'

const asset = (path: string) => fileURLToPath(new URL(`../assets/${path}`, import.meta.url))

/**
 * Path of the GSM8K JSONL file shipped with this package (MIT; 1,319 problems). Only the test split is shipped.
 * @throws {RangeError} for any other split.
 */
export function gsm8kPath(split: 'test'): string {
  if (split !== 'test') {
    throw new RangeError(
      `GSM8K: the split '${String(split)}' is not shipped with @revisual/data; allowed: 'test'. ` +
        'Download train.jsonl from https://github.com/openai/grade-school-math and give its path to loadGsm8k.',
    )
  }
  return asset('gsm8k/test.jsonl')
}

/** Path of the sheet of handwritten digits (MNIST, CC BY-SA 3.0): 8400 × 280 grey, row d holds 300 images of digit d. */
export function digitSheetPath(): string {
  return asset('digits/digits.png')
}
