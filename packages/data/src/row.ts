/**
 * The row as it is written: one JSON record per row, checked field by field on the way in. Both file formats go through
 * it, so a wrong file gives the same error whichever format it came in.
 *
 * Only `question` and `answer` must be there; a hand-written file needs no more. Unknown fields are refused, since a
 * misspelt optional field would otherwise vanish silently.
 */
import type { ImageRef, Row } from './types.js'

/** Wrong content of a data file: says where, what was seen, what is allowed. */
export class RowError extends Error {
  override readonly name = 'RowError'
}

/** What a record that leaves out `id` and `source` gets. */
export interface RowDefaults {
  readonly id: string
  readonly source: string
}

const fields = ['id', 'question', 'images', 'answer', 'solution', 'source', 'tags']

/**
 * Checks a record and fills in what it leaves out.
 * @param value parsed JSON or a Parquet row.
 * @param where prefix of every error, e.g. `train.jsonl:17`.
 * @param readImage turns one element of `images` into an image; throws {@link RowError} when it cannot.
 * @throws {RowError}
 */
export function parseRow(
  value: unknown,
  where: string,
  defaults: RowDefaults,
  readImage: (image: unknown, where: string) => ImageRef,
): Row {
  if (!isRecord(value)) throw new RowError(`${where}: a row must be an object, not ${show(value)}.`)
  for (const key of Object.keys(value)) {
    if (!fields.includes(key)) {
      throw new RowError(
        `${where}: unknown field '${key}'; allowed: ${fields.join(', ')}. Put labels of your own in 'tags'.`,
      )
    }
  }
  const text = (field: string, fallback?: string): string => {
    const found = value[field] ?? fallback
    if (typeof found === 'string') return found
    throw new RowError(`${where}: '${field}' must be a string, not ${show(found)}.`)
  }
  const images = value['images'] ?? []
  if (!Array.isArray(images)) throw new RowError(`${where}: 'images' must be a list, not ${show(images)}.`)
  return {
    id: text('id', defaults.id),
    question: text('question'),
    images: images.map((image: unknown, index) => readImage(image, `${where}: images[${index}]`)),
    answer: text('answer'),
    ...(value['solution'] == null ? {} : { solution: text('solution') }),
    source: text('source', defaults.source),
    tags: parseTags(value['tags'] ?? {}, where),
  }
}

function parseTags(value: unknown, where: string): Row['tags'] {
  if (!isRecord(value)) throw new RowError(`${where}: 'tags' must be an object, not ${show(value)}.`)
  const tags = Object.entries(value).map(([tag, label]) => {
    if (
      typeof label === 'string' ||
      typeof label === 'boolean' ||
      (typeof label === 'number' && Number.isFinite(label))
    ) {
      return [tag, label] as const
    }
    throw new RowError(`${where}: tag '${tag}' must be a string, a finite number or a boolean, not ${show(label)}.`)
  })
  return Object.fromEntries(tags)
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A value as it appears in an error: JSON, cut to 60 characters. */
export function show(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
