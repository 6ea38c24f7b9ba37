/**
 * GSM8K (Cobbe et al., arXiv 2110.14168): grade-school word problems. Each line of the official files is
 * `{ question, answer }`, where the answer is a worked solution with calculator marks `<<48/2=24>>` and a last line
 * `#### 72`.
 */
import { basename, extname } from 'node:path'
import { readJsonLines } from './jsonl.js'
import { isRecord, RowError, show } from './row.js'
import type { Row } from './types.js'

/**
 * Rows of an official GSM8K file, such as {@link gsm8kPath}`('test')`. `answer` has its thousands commas removed; `solution`
 * is `<think>…</think>\boxed{…}` without calculator marks.
 * @throws {RowError} naming file and line when a line is not in the official form.
 */
export async function loadGsm8k(path: string): Promise<Row[]> {
  const split = basename(path, extname(path))
  const rows: Row[] = []
  for await (const { line, value } of readJsonLines(path)) {
    const where = `${path}:${line}`
    if (!isRecord(value) || typeof value['question'] !== 'string' || typeof value['answer'] !== 'string') {
      throw new RowError(`${where}: a GSM8K line must be { "question": string, "answer": string }, not ${show(value)}.`)
    }
    const match = /^([\s\S]*)\n#### *(-?[\d,.]+)\s*$/.exec(value['answer'])
    if (!match)
      throw new RowError(
        `${where}: the answer must end in a line '#### <number>'; it ends in ${show(value['answer'].slice(-40))}.`,
      )
    const [, worked = '', number = ''] = match
    const answer = number.replaceAll(',', '')
    rows.push({
      id: `gsm8k/${split}/${line}`,
      question: value['question'],
      images: [],
      answer,
      solution: `<think>${worked.replace(/<<[^<>]*>>/g, '').trim()}</think>\\boxed{${answer}}`,
      source: 'gsm8k',
      tags: { split, steps: worked.split('\n').filter((step) => step.trim() !== '').length },
    })
  }
  return rows
}
