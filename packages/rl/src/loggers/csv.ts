/** Records as one CSV file (RFC 4180), a column per metric. A metric that appears late gets its column then. */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { TrainLogger } from '../trainer/logger.js'
import type { MetricRecord } from '../trainer/records.js'

const quote = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

function cell(value: string | number | null | undefined): string {
  if (value === undefined || value === null || (typeof value === 'number' && !Number.isFinite(value))) return ''
  return typeof value === 'number' ? String(value) : quote(value)
}

/** Writes records to `path`; numbers that are not finite are empty cells. */
export function csvLogger(path: string): TrainLogger {
  let records: MetricRecord[] = []
  let columns: string[] = []
  const line = (record: MetricRecord) => `${columns.map((column) => cell(record[column])).join(',')}\r\n`
  const rewrite = () => {
    columns = [...new Set(records.flatMap((record) => Object.keys(record)))]
    writeFileSync(path, `${columns.map(quote).join(',')}\r\n${records.map(line).join('')}`)
  }
  return {
    start(history) {
      mkdirSync(dirname(path), { recursive: true })
      records = [...history.records]
      if (records.length > 0) rewrite()
      else writeFileSync(path, '')
    },
    record(record) {
      records.push(record)
      if (Object.keys(record).some((column) => !columns.includes(column))) rewrite()
      else appendFileSync(path, line(record))
    },
  }
}
