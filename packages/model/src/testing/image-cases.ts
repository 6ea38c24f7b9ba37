/**
 * Image processing against a reference: a table of smart resizes, and images with grid, mean, L2 norm and samples of
 * their pixel values. Transparency is dropped, as the reference's `convert("RGB")` does.
 */
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { isJsonObject } from '../config/json.js'
import { prepareImage, type ProcessorConfig } from '../images/processor.js'
import { smartResize } from '../images/smart-resize.js'
import { CaseError, ExpectedJson, readJsonFile } from './case-files.js'
import { differingPlaces, l2, relativeDifference } from './measure.js'

/** Pixel values 1e-5 absolute, their mean likewise, their L2 norm relative, sizes exact. */
export const imageTolerances = { resized: 0, grid: 0, pixel_values: 1e-5, mean: 1e-5, l2: 1e-5 } as const

export type ImageQuantity = keyof typeof imageTolerances

export interface ImageCaseReport {
  readonly case: string
  readonly ok: boolean
  readonly errors?: Partial<Record<ImageQuantity, number>>
  readonly beyond?: readonly ImageQuantity[]
  readonly problem?: string
}

/** Qwen2.5-VL's processor, where a case does not say otherwise. */
const qwen25 = {
  patchSize: 14,
  temporalPatchSize: 2,
  mergeSize: 2,
  minPixels: 3136,
  maxPixels: 12845056,
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
} satisfies ProcessorConfig

function processorOf(json: ExpectedJson): ProcessorConfig {
  return {
    patchSize: json.numberOr('patch_size', qwen25.patchSize),
    temporalPatchSize: json.numberOr('temporal_patch_size', qwen25.temporalPatchSize),
    mergeSize: json.numberOr('merge_size', qwen25.mergeSize),
    minPixels: json.numberOr('min_pixels', qwen25.minPixels),
    maxPixels: json.numberOr('max_pixels', qwen25.maxPixels),
    mean: json.has('image_mean') ? json.numbers('image_mean') : qwen25.mean,
    std: json.has('image_std') ? json.numbers('image_std') : qwen25.std,
  }
}

function reportOf(name: string, errors: Partial<Record<ImageQuantity, number>>): ImageCaseReport {
  const beyond = (Object.keys(errors) as ImageQuantity[]).filter(
    (key) => !((errors[key] as number) <= imageTolerances[key]),
  )
  return { case: name, ok: beyond.length === 0, errors, beyond }
}

/** Rows are [height, width, factor, min pixels, max pixels, resized height, resized width]. */
function runResizeTable(json: ExpectedJson): ImageCaseReport {
  const rows = json.object['smart_resize']
  if (!Array.isArray(rows)) throw new CaseError(`'smart_resize' must be a list of rows.`)
  let wrong = 0
  for (const row of rows as unknown[]) {
    const numbers = new ExpectedJson({ row }, 'smart_resize').numbers('row')
    const [height = 0, width = 0, factor = 0, minPixels = 0, maxPixels = 0, ...resized] = numbers
    const expected = resized.length === 2 ? resized : [NaN, NaN]
    wrong += differingPlaces(smartResize(height, width, { factor, minPixels, maxPixels }), expected) > 0 ? 1 : 0
  }
  return reportOf('smart_resize', { resized: wrong })
}

async function runImage(folder: string, file: string, json: ExpectedJson): Promise<ImageCaseReport> {
  const config = processorOf(json)
  const { grid, pixelValues } = await prepareImage(resolve(folder, file), config, 'drop')
  const errors: Partial<Record<ImageQuantity, number>> = {}
  if (json.has('grid_thw')) errors.grid = differingPlaces(grid, json.numbers('grid_thw'))
  if (json.has('resized')) {
    errors.resized = differingPlaces([grid[1] * config.patchSize, grid[2] * config.patchSize], json.numbers('resized'))
  }
  if (json.has('mean')) {
    const mean = pixelValues.reduce((sum, value) => sum + value, 0) / pixelValues.length
    errors.mean = Math.abs(mean - json.number('mean'))
  }
  if (json.has('l2')) errors.l2 = relativeDifference(l2(pixelValues), json.number('l2'))
  if (json.has('sample_index') && json.has('sample_value')) {
    const values = json.numbers('sample_value')
    errors.pixel_values = json.numbers('sample_index').reduce((largest, index, k) => {
      const gap = Math.abs((pixelValues[index] ?? NaN) - (values[k] ?? NaN))
      return gap <= largest ? largest : Number.isNaN(gap) ? Infinity : gap
    }, 0)
  }
  if (Object.keys(errors).length === 0) throw new CaseError('there is nothing to compare with.')
  return reportOf(file, errors)
}

async function guarded(name: string, run: () => ImageCaseReport | Promise<ImageCaseReport>): Promise<ImageCaseReport> {
  try {
    return await run()
  } catch (error) {
    return { case: name, ok: false, problem: error instanceof Error ? error.message : String(error) }
  }
}

/** Runs every JSON file of cases in a folder, or one file. */
export async function* runImageCases(path: string): AsyncGenerator<ImageCaseReport> {
  if (!existsSync(path)) throw new CaseError(`${path} does not exist.`)
  const files = path.endsWith('.json')
    ? [path]
    : readdirSync(path)
        .filter((name) => name.endsWith('.json'))
        .sort()
        .map((name) => join(path, name))
  if (files.length === 0) throw new CaseError(`${path} holds no JSON file of cases.`)
  for (const file of files) {
    const json = new ExpectedJson(readJsonFile(file), file)
    if (json.has('smart_resize')) yield await guarded('smart_resize', () => runResizeTable(json))
    const images: unknown = json.object['images'] ?? []
    if (!Array.isArray(images)) throw new CaseError(`${file}: 'images' must be a list.`)
    for (const image of images as unknown[]) {
      const name = isJsonObject(image) ? image['file'] : undefined
      if (!isJsonObject(image) || typeof name !== 'string') throw new CaseError(`${file}: every image needs a 'file'.`)
      yield await guarded(name, () => runImage(dirname(file), name, new ExpectedJson(image, `${file}: ${name}`)))
    }
    if (!json.has('smart_resize') && images.length === 0) throw new CaseError(`${file} holds no cases.`)
  }
}
