/** A data file by its extension, whole. */
import { readJsonl } from './jsonl.js'
import { readParquet } from './parquet.js'
import type { Row } from './types.js'

/**
 * All rows of a `.jsonl` or `.parquet` file.
 * @throws {RangeError} for another extension. @throws {RowError} for wrong content.
 */
export async function loadRows(path: string): Promise<Row[]> {
  const reader = path.endsWith('.jsonl') ? readJsonl : path.endsWith('.parquet') ? readParquet : undefined
  if (!reader) throw new RangeError(`Cannot tell the format of '${path}'; allowed: .jsonl, .parquet.`)
  const rows: Row[] = []
  for await (const row of reader(path)) rows.push(row)
  return rows
}
