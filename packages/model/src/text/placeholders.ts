/**
 * Placeholders of images and videos into one token per visual token. It is done on ids, so that what was expanded is never
 * expanded again; only the timestamps of Qwen3-VL's videos are text and go in before tokenising, as the reference does:
 * `<1.5 seconds>` and the frame's tokens, for every temporal patch.
 */
import type { Architecture } from '../config/architecture.js'
import type { PreparedImage } from '../images/processor.js'
import type { TextRun, Tokenizer } from './tokenizer.js'

type PreparedVideo = PreparedImage & { readonly video: NonNullable<PreparedImage['video']> }

/** Prepared images and videos in the order of their placeholders. */
export interface VisualInputs {
  readonly images: readonly PreparedImage[]
  readonly videos: readonly PreparedVideo[]
}

/** Seconds with one decimal, exact halves to the even neighbour as Python's format does; `toFixed` takes the larger. */
export function formatSeconds(seconds: number): string {
  const isTie = Number.isInteger(seconds * 4) && !Number.isInteger(seconds * 2)
  if (!isTie) return seconds.toFixed(1)
  const below = Math.floor(seconds * 10)
  return ((below % 2 === 0 ? below : below + 1) / 10).toFixed(1)
}

const tokensPerFrame = ({ grid }: PreparedImage, mergeSize: number) => (grid[1] * grid[2]) / mergeSize ** 2

/** A control token as the template prints it. */
function tokenText(tokenizer: Tokenizer, id: number): string {
  const text = tokenizer.addedTokenText(id)
  if (text === undefined) throw new RangeError(`Token id ${id} of config.json is not an added token of the tokenizer.`)
  return text
}

function checkCount(what: string, placeholders: number, given: number): void {
  if (placeholders !== given) {
    throw new RangeError(
      `The messages hold ${placeholders} ${what} parts, but ${given} ${what}s were given. Give one ${what} per part.`,
    )
  }
}

/** Puts the frames of videos and their times into the text of a template. */
function writeTimestamps(
  runs: readonly TextRun[],
  videos: readonly PreparedVideo[],
  { tokens, vision }: Architecture,
  tokenizer: Tokenizer,
): TextRun[] {
  const [start, pad, end] = [tokens.visionStart, tokens.video, tokens.visionEnd].map((id) => tokenText(tokenizer, id))
  const whole = `${start ?? ''}${pad ?? ''}${end ?? ''}`
  const framesOf = (item: PreparedVideo) =>
    item.video.timestamps
      .map((time) => {
        const pads = (pad ?? '').repeat(tokensPerFrame(item, vision.mergeSize))
        return `<${formatSeconds(time)} seconds>${start ?? ''}${pads}${end ?? ''}`
      })
      .join('')
  let next = 0
  const written = runs.map((run) => {
    if (run.addedTokens !== 'all') return run
    // The template's own start and end around a pad go with it.
    const [first = '', ...rest] = run.text.split(whole).flatMap((piece) => piece.split(pad ?? ''))
    const text = rest.reduce((before, after) => {
      const item = videos[next++]
      return `${before}${item ? framesOf(item) : ''}${after}`
    }, first)
    return { ...run, text }
  })
  checkCount('video', next, videos.length)
  return written
}

/** Ids of runs with every placeholder expanded, and the images and videos in the order of their tokens. */
export function expandPlaceholders(
  runs: readonly TextRun[],
  { images, videos }: VisualInputs,
  architecture: Architecture,
  tokenizer: Tokenizer,
): { readonly ids: number[]; readonly items: readonly PreparedImage[] } {
  const { tokens, vision, videoTime } = architecture
  const inText = videoTime.kind === 'timestamps'
  const written = inText && videos.length > 0 ? writeTimestamps(runs, videos, architecture, tokenizer) : runs
  const rendered = tokenizer.encodeRuns(written)
  const count = (token: number) => rendered.filter((id) => id === token).length
  checkCount('image', count(tokens.image), images.length)
  if (!inText || videos.length === 0) checkCount('video', count(tokens.video), videos.length)
  const items: PreparedImage[] = []
  const [imageQueue, videoQueue] = [[...images], [...videos]]
  let open = 0
  const ids = rendered.flatMap((id) => {
    if (id !== tokens.image && id !== tokens.video) return [id]
    if (open > 0) {
      open--
      return [id]
    }
    const item = (id === tokens.image ? imageQueue : videoQueue).shift() as PreparedImage
    items.push(item)
    const size = item.grid[0] * tokensPerFrame(item, vision.mergeSize)
    if (id === tokens.image || !inText) return new Array<number>(size).fill(id)
    open = size - 1
    return [id]
  })
  return { ids, items }
}
