/** The inputs of a case as a prompt: ids, and the pixel rows of its images and videos in the order of their tokens. */
import type { ModelConfig } from '../config/architecture.js'
import type { PreparedImage } from '../images/processor.js'
import { ropeIndex } from '../positions/rope-index.js'
import type { ModelPrompt } from '../prompt.js'
import { CaseError, type Expected, type ExpectedJson } from './case-files.js'

/** Cuts rows end to end into items. */
function cutRows(pixels: Float32Array | undefined, grids: PreparedImage['grid'][], rowSize: number): Float32Array[] {
  const rows = grids.reduce((sum, [t, h, w]) => sum + t * h * w, 0)
  if ((pixels?.length ?? 0) !== rows * rowSize) {
    throw new CaseError(
      `The grids have ${rows} rows of ${rowSize} pixel values; ${pixels?.length ?? 'no'} values are there.`,
    )
  }
  let offset = 0
  return grids.map(([t, h, w]) => (pixels as Float32Array).slice(offset, (offset += t * h * w * rowSize)))
}

function secondsPerPatch(json: ExpectedJson, index: number): number {
  return json.has('second_per_grid_ts') ? (json.numbers('second_per_grid_ts')[index] ?? 1) : 1
}

/** Images and videos sorted by where their tokens are. */
function inOrderOfTokens(
  ids: readonly number[],
  images: readonly PreparedImage[],
  videos: readonly PreparedImage[],
  config: ModelConfig,
): PreparedImage[] {
  const { tokens, vision } = config.architecture
  const queues = new Map([
    [tokens.image, [...images]],
    [tokens.video, [...videos]],
  ])
  const ordered: PreparedImage[] = []
  let open = 0
  for (const id of ids) {
    const queue = queues.get(id)
    if (!queue) continue
    if (open === 0) {
      const item = queue.shift()
      if (!item) break
      ordered.push(item)
      const [t, h, w] = item.grid
      open = (t * h * w) / vision.mergeSize ** 2
    }
    open--
  }
  return ordered
}

/**
 * @throws {CaseError} the case lacks ids, or pixel rows of its grids.
 */
export function casePrompt({ json, tensors }: Expected, config: ModelConfig): ModelPrompt {
  if (!json.has('input_ids')) throw new CaseError(`The case has no input_ids.`)
  const { tokens, vision, videoTime } = config.architecture
  const ids = json.numbers('input_ids')
  const rowSize = vision.channels * vision.temporalPatchSize * vision.patchSize ** 2
  const imageGrids = json.triples('image_grid_thw')
  const videoGrids = json.triples('video_grid_thw')
  if (imageGrids.length + videoGrids.length === 0) {
    // Without images every id is text, whatever it is.
    const positions = Int32Array.from({ length: 3 * ids.length }, (_, place) => place % ids.length)
    return { text: '', ids, images: [], positions, nextPosition: ids.length }
  }
  const imageRows = imageGrids.length > 0 ? cutRows(tensors.get('pixel_values'), imageGrids, rowSize) : []
  const videoRows = videoGrids.length > 0 ? cutRows(tensors.get('pixel_values_videos'), videoGrids, rowSize) : []
  const images = imageRows.map((pixelValues, index): PreparedImage => ({
    grid: imageGrids[index] as PreparedImage['grid'],
    pixelValues,
  }))
  const videos = videoRows.map((pixelValues, index): PreparedImage => ({
    grid: videoGrids[index] as PreparedImage['grid'],
    pixelValues,
    video: { secondsPerPatch: secondsPerPatch(json, index), timestamps: [] },
  }))
  const items = inOrderOfTokens(ids, images, videos, config)
  const options = {
    imageTokenId: tokens.image,
    videoTokenId: tokens.video,
    mergeSize: vision.mergeSize,
    videoTime,
    // The rule of the version that makes such cases.
    afterVideo: 'after-extent',
  } as const
  return { text: '', ids, images: items, ...ropeIndex(ids, items, options) }
}
