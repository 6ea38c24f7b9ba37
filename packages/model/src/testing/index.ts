/**
 * `@revisual/model/testing`: runs cases of a reference (folders laid out like this package's `test/fixtures/models` and
 * `test/fixtures/image-processing`) and reports the largest error of each quantity.
 */
export { CaseError, findCases } from './case-files.js'
export { imageTolerances, runImageCases, type ImageCaseReport, type ImageQuantity } from './image-cases.js'
export { modelTolerances, runModelCase, type ModelCaseReport, type ModelQuantity } from './model-case.js'
