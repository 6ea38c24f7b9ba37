/**
 * M-RoPE positions of a token sequence. Text advances (t, h, w) together; the cells of an image share t and spread over h and
 * w; a video's t follows its time; the text after either continues from the largest of them (Qwen2-VL, arXiv 2409.12191).
 *
 * Versions of transformers agree on images and differ on what follows a video. The default, `after-all`, is the rule of
 * Qwen's own trainer (`get_rope_index_25` of QwenLM/Qwen3-VL) and of early transformers; `after-extent` is that of
 * transformers 5.18, where text may begin before the video's last t.
 */
import type { VideoTime } from '../config/architecture.js'
import type { GridThw, PreparedImage } from '../images/processor.js'

export interface RopeIndex {
  /** [3, T]: the t positions of all tokens, then h, then w. */
  readonly positions: Int32Array
  /** Position (t = h = w) of the first generated token. */
  readonly nextPosition: number
}

export interface RopeIndexOptions {
  readonly imageTokenId: number
  readonly videoTokenId: number
  readonly mergeSize: number
  readonly videoTime: VideoTime
  /** Where text goes on after a video. Default `after-all`. */
  readonly afterVideo?: 'after-all' | 'after-extent'
}

/** An image, or a video with the seconds between its temporal patches. */
export type VisualItem = Pick<PreparedImage, 'grid' | 'video'>

const cellsOf = ([t, h, w]: GridThw, mergeSize: number) => (t * h * w) / mergeSize ** 2

function checkCounts(ids: readonly number[], items: readonly VisualItem[], options: RopeIndexOptions): void {
  for (const [what, token, kind] of [
    ['Image', options.imageTokenId, false],
    ['Video', options.videoTokenId, true],
  ] as const) {
    const tokens = ids.reduce((count, id) => count + (id === token ? 1 : 0), 0)
    const features = items
      .filter(({ video }) => (video !== undefined) === kind)
      .reduce((sum, { grid }) => sum + cellsOf(grid, options.mergeSize), 0)
    if (tokens !== features) {
      const name = what.toLowerCase()
      throw new RangeError(
        `${what} features and ${name} tokens do not match: tokens: ${tokens}, features: ${features}.`,
      )
    }
  }
}

/** Frames an item takes in one run of tokens, and the t position of each relative to the run's first. */
function runsOf({ grid, video }: VisualItem, time: VideoTime): { readonly count: number; readonly times: number[] } {
  const [t] = grid
  // Every frame is positioned as an image of its own; its timestamp stands before it as text.
  if (video === undefined || time.kind === 'timestamps') return { count: t, times: [0] }
  const step = time.kind === 'seconds' ? time.tokensPerSecond * video.secondsPerPatch : 1
  return { count: 1, times: Array.from({ length: t }, (_, frame) => Math.floor(frame * step)) }
}

/**
 * @param ids token ids with placeholders expanded, one per merged cell.
 * @param items images and videos in order of appearance.
 * @throws {RangeError} when tokens and items do not match.
 */
export function ropeIndex(ids: readonly number[], items: readonly VisualItem[], options: RopeIndexOptions): RopeIndex {
  const { imageTokenId, videoTokenId, mergeSize } = options
  checkCounts(ids, items, options)
  const length = ids.length
  const positions = new Int32Array(3 * length)
  const runs = items.flatMap((item) => {
    const { count, times } = runsOf(item, options.videoTime)
    return Array.from({ length: count }, () => ({ item, times }))
  })
  let current = 0
  let run = 0
  for (let token = 0; token < length;) {
    const id = ids[token] as number
    if (id !== imageTokenId && id !== videoTokenId) {
      for (let component = 0; component < 3; component++) positions[component * length + token] = current
      current++
      token++
      continue
    }
    const { item, times } = runs[run++] as (typeof runs)[number]
    const [, h, w] = item.grid
    const [rows, columns] = [h / mergeSize, w / mergeSize]
    for (const time of times) {
      for (let cell = 0; cell < rows * columns; cell++, token++) {
        if (ids[token] !== (item.video ? videoTokenId : imageTokenId)) {
          throw new RangeError(
            `Token ${token} should belong to ${item.video ? 'a video' : 'an image'} of grid [${item.grid.join(', ')}]; its id is ${ids[token] ?? 'absent'}. ` +
              'Images and videos must be given in the order of their tokens.',
          )
        }
        positions[token] = current + time
        positions[length + token] = current + Math.floor(cell / columns)
        positions[2 * length + token] = current + (cell % columns)
      }
    }
    const extent = Math.max(rows, columns)
    current += options.afterVideo === 'after-extent' ? extent : Math.max(extent, (times.at(-1) as number) + 1)
  }
  const largest = positions.reduce((most, position) => Math.max(most, position), -1)
  return { positions, nextPosition: largest + 1 }
}
