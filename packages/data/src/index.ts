export { digitSheetPath, gsm8kPath } from './assets.js'
export { digitKinds, digitLevels, type DigitKind, type DigitLevel, type DigitSplit } from './digits/problems.js'
export {
  digitsEvalSet,
  digitsRow,
  digitsStream,
  type DigitModality,
  type DigitsEvalOptions,
  type DigitsOptions,
  type DigitStyle,
} from './digits/rows.js'
export type { DigitAugmentation } from './digits/sheet.js'
export { digitsVocabulary } from './digits/wording.js'
export { loadGsm8k } from './gsm8k.js'
export { imageBytes } from './images.js'
export { readJsonl, readJsonLines, writeJsonl } from './jsonl.js'
export { loadRows } from './load.js'
export { readParquet, writeParquet, type ParquetOptions } from './parquet.js'
export { RowError } from './row.js'
export { arrayStream, mixStreams, takeRows, type ArrayStreamOptions, type MixPart } from './streams.js'
export type { ImageRef, JsonValue, Row, RowStream } from './types.js'
