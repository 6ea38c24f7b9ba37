/**
 * The header of a safetensors file: a u64 length N, then N bytes of JSON that say where each tensor lies. A file comes
 * from anywhere, so nothing in it is believed: types, shapes and offsets must agree, and the data must be covered
 * without overlaps or holes (rules of github.com/huggingface/safetensors, README "Format").
 */
import { byteLength, DTYPES, isDType, rankOf, type SafetensorsDType } from './dtypes.js'
import { SafetensorsError } from './errors.js'

/** Largest header the format allows, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000

/** Where a tensor lies: bytes [begin, end) after the header. */
export interface SafetensorsEntry {
  readonly dtype: SafetensorsDType
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>
  readonly metadata: Readonly<Record<string, string>>
}

type Json = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Length of the JSON, from the first eight bytes of a file. */
export function headerLength(prefix: Uint8Array, fileBytes: number, file: string): number {
  if (prefix.byteLength < 8) {
    throw new SafetensorsError(`${file}: ${fileBytes} bytes are too few for a safetensors file; it needs at least 8.`)
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true)
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw new SafetensorsError(
      `${file}: the header claims ${length.toString()} bytes; at most ${MAX_HEADER_BYTES} are allowed. This is not a safetensors file.`,
    )
  }
  if (Number(length) > fileBytes - 8) {
    throw new SafetensorsError(
      `${file}: the header claims ${length.toString()} bytes, the file has ${fileBytes - 8} after the length. It is truncated or not safetensors.`,
    )
  }
  return Number(length)
}

/** Whether the next character that is not white space is a colon. */
function colonFollows(text: string, at: number): boolean {
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++
  return text[at] === ':'
}

/** First key that occurs twice in one object of a valid JSON text; `JSON.parse` would silently keep the last. */
export function duplicateKey(text: string): string | null {
  const open: (Set<string> | null)[] = []
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (character === '{') open.push(new Set())
    else if (character === '[') open.push(null)
    else if (character === '}' || character === ']') open.pop()
    else if (character === '"') {
      const start = at
      for (at++; text[at] !== '"'; at++) if (text[at] === '\\') at++
      const keys = open.at(-1)
      if (!keys || !colonFollows(text, at + 1)) continue
      const key = JSON.parse(text.slice(start, at + 1)) as string
      if (keys.has(key)) return key
      keys.add(key)
    }
  }
  return null
}

function parseJson(bytes: Uint8Array, file: string): Json {
  if (bytes[0] !== 0x7b)
    throw new SafetensorsError(`${file}: the header must start with '{'. This is not a safetensors file.`)
  let text: string
  let value: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    value = JSON.parse(text)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new SafetensorsError(`${file}: the header is not valid JSON in UTF-8: ${reason}`, { cause: error })
  }
  if (!isObject(value)) throw new SafetensorsError(`${file}: the header must be a JSON object.`)
  const twice = duplicateKey(text)
  if (twice !== null) throw new SafetensorsError(`${file}: the key '${twice}' occurs twice in the header.`)
  return value
}

function parseMetadata(value: unknown, file: string): Record<string, string> {
  if (value === undefined) return {}
  if (!isObject(value)) throw new SafetensorsError(`${file}: __metadata__ must be an object of strings.`)
  const metadata: Record<string, string> = {}
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw new SafetensorsError(`${file}: __metadata__ '${key}' is ${typeof text}; only strings are allowed.`)
    }
    metadata[key] = text
  }
  return metadata
}

function parseEntry(name: string, value: unknown, file: string): SafetensorsEntry {
  const fail = (problem: string) => new SafetensorsError(`${file}: tensor '${name}' ${problem}`)
  if (!isObject(value)) throw fail('must be described by an object.')
  const { dtype, shape, data_offsets: offsets } = value
  if (!isDType(dtype)) throw fail(`has dtype ${JSON.stringify(dtype)}; known are ${DTYPES.join(', ')}.`)
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw fail(`has shape ${JSON.stringify(shape)}; it must be a list of integers ≥ 0.`)
  }
  const [begin, end, more] = Array.isArray(offsets) ? (offsets as unknown[]) : []
  if (!isCount(begin) || !isCount(end) || more !== undefined || begin > end) {
    throw fail(`has data_offsets ${JSON.stringify(offsets)}; they must be two integers 0 ≤ begin ≤ end.`)
  }
  const bytes = byteLength(dtype, shape)
  if (bytes === null || bytes !== end - begin) {
    throw fail(
      `is ${dtype}[${shape.join(', ')}], ${bytes ?? 'not a whole number of'} bytes; its data_offsets [${begin}, ${end}) hold ${end - begin}.`,
    )
  }
  return { dtype, shape, begin, end }
}

/**
 * Parses and checks a header.
 *
 * @param bytes The JSON.
 * @param dataBytes Bytes of the file after the header.
 * @throws {SafetensorsError} naming file, tensor and offsets.
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number, file: string): SafetensorsHeader {
  const json = parseJson(bytes, file)
  const entries = new Map<string, SafetensorsEntry>()
  for (const [name, value] of Object.entries(json)) {
    if (name !== '__metadata__') entries.set(name, parseEntry(name, value, file))
  }
  let covered = 0
  const inOrder = [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)
  for (const [name, { begin, end }] of inOrder) {
    if (begin !== covered) {
      const problem =
        begin < covered
          ? 'overlaps the tensor before it, which ends'
          : 'leaves a hole after the tensor before it, which ends'
      throw new SafetensorsError(
        `${file}: tensor '${name}' at data_offsets [${begin}, ${end}) ${problem} at ${covered}.`,
      )
    }
    if (end > dataBytes) {
      throw new SafetensorsError(
        `${file}: tensor '${name}' at data_offsets [${begin}, ${end}) lies beyond the ${dataBytes} bytes of data. The file is truncated.`,
      )
    }
    covered = end
  }
  if (covered !== dataBytes) {
    throw new SafetensorsError(
      `${file}: ${dataBytes - covered} bytes of data after offset ${covered} belong to no tensor.`,
    )
  }
  return { entries, metadata: parseMetadata(json['__metadata__'], file) }
}

interface PlannedTensor extends SafetensorsEntry {
  readonly name: string
}

/** Length prefix and JSON for the given tensors, and the order in which their data follow. */
export function buildHeader(
  tensors: Iterable<readonly [string, { readonly dtype: SafetensorsDType; readonly shape: readonly number[] }]>,
  metadata: Readonly<Record<string, string>>,
): { bytes: Uint8Array<ArrayBuffer>; plan: PlannedTensor[] } {
  const sorted = [...tensors].sort(
    ([nameA, a], [nameB, b]) =>
      rankOf(b.dtype) - rankOf(a.dtype) || Buffer.compare(Buffer.from(nameA), Buffer.from(nameB)),
  )
  let offset = 0
  const plan = sorted.map(([name, { dtype, shape }]): PlannedTensor => {
    const bytes = byteLength(dtype, shape)
    if (name === '__metadata__') throw new SafetensorsError(`A tensor cannot be named '__metadata__'.`)
    if (bytes === null || !shape.every(isCount)) {
      throw new SafetensorsError(`Tensor '${name}': ${dtype}[${shape.join(', ')}] is not a whole number of bytes.`)
    }
    const begin = offset
    offset += bytes
    return { name, dtype, shape, begin, end: offset }
  })
  const json: [string, unknown][] = plan.map(({ name, dtype, shape, begin, end }) => [
    name,
    { dtype, shape, data_offsets: [begin, end] },
  ])
  if (Object.keys(metadata).length > 0) json.unshift(['__metadata__', metadata])
  const text = new TextEncoder().encode(
    `{${json.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`,
  )
  const length = Math.ceil(text.byteLength / 8) * 8
  if (length > MAX_HEADER_BYTES) {
    throw new SafetensorsError(
      `The header would take ${length} bytes; the format allows ${MAX_HEADER_BYTES}. Write several files.`,
    )
  }
  const bytes = new Uint8Array(8 + length).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true)
  bytes.set(text, 8)
  return { bytes, plan }
}
