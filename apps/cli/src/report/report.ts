/**
 * `report.html`: one file that needs no network. Data and the chart library are inlined; the page script is plain
 * JavaScript in `page.ts`.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { MetricRecord, SampleRecord } from '@revisual/rl'
import { imageKind, type RunFolder } from '../run/folder.js'
import type { RunSummary } from '../run/records.js'
import { resultsRows } from '../terminal/results.js'
import { pageScript, pageStyle } from './page.js'

/** Sample completions shown, the newest of each stage. */
const SAMPLES_PER_STAGE = 8

/** One chart: its metrics, by exact name or by prefix. */
const charts: readonly { readonly title: string; readonly metrics: readonly string[] }[] = [
  { title: 'Reward', metrics: ['reward', 'reward_std', 'frac_reward_zero_std'] },
  { title: 'Rewards by function', metrics: ['rewards/*/mean'] },
  { title: 'Accuracy', metrics: ['rewards/accuracy/mean'] },
  { title: 'Completion length (tokens)', metrics: ['completions/mean_length', 'completions/max_length'] },
  { title: 'Entropy (nats)', metrics: ['entropy'] },
  { title: 'KL to the reference', metrics: ['kl'] },
  {
    title: 'PAD: completions kept and dropped',
    metrics: ['pad/num_selected_samples', 'pad/num_dropped_samples', 'pad/num_effective_samples'],
  },
  { title: 'Loss', metrics: ['loss'] },
  { title: 'Gradient norm', metrics: ['grad_norm'] },
  { title: 'Clip ratio', metrics: ['clip_ratio/*_mean'] },
  { title: 'Learning rate', metrics: ['learning_rate'] },
]

interface Series {
  readonly name: string
  readonly values: readonly (number | null)[]
}

interface Chart {
  readonly title: string
  readonly series: readonly Series[]
}

/** `*` in a pattern stands for anything. */
function matches(pattern: string, name: string): boolean {
  const [start = '', end] = pattern.split('*')
  return end === undefined ? name === pattern : name.startsWith(start) && name.endsWith(end)
}

/** Charts that have data, over all steps of the run laid end to end. */
export function chartsOf(records: readonly MetricRecord[]): Chart[] {
  const names = [...new Set(records.flatMap((record) => Object.keys(record)))].sort()
  return charts.flatMap(({ title, metrics }) => {
    const series = names
      .filter((name) => metrics.some((pattern) => matches(pattern, name)))
      .map((name) => ({
        name,
        values: records.map((record) => {
          const value = record[name]
          return typeof value === 'number' && Number.isFinite(value) ? value : null
        }),
      }))
    return series.some(({ values }) => values.some((value) => value !== null)) ? [{ title, series }] : []
  })
}

/** Where each stage begins, as an index into the records. */
export function stageStarts(records: readonly MetricRecord[]): { name: string; at: number }[] {
  return records.flatMap((record, at) => (record.stage === records[at - 1]?.stage ? [] : [{ name: record.stage, at }]))
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** JSON that cannot end the script element it stands in. */
function scriptJson(value: unknown): string {
  return JSON.stringify(value)
    .replace(/</g, '\\u003c')
    .replace(/\u2028/g, '\\u2028')
    .replace(/\u2029/g, '\\u2029')
}

function resultsHtml({ stages }: RunSummary): string {
  const { head, rows } = resultsRows(stages)
  const cells = (tag: string, row: readonly string[]) =>
    `<tr>${row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`
  return `<table>${cells('th', head)}${rows.map((row) => cells('td', row)).join('')}</table>`
}

function imageHtml(bytes: Buffer): string {
  return `<img alt="" src="data:image/${imageKind(bytes)};base64,${bytes.toString('base64')}">`
}

const column = ({ row }: SampleRecord, name: string) => (typeof row[name] === 'string' ? row[name] : '')

function sampleHtml(folder: RunFolder, sample: SampleRecord): string {
  const completions = sample.completions
    .map(
      ({ text, reward }) =>
        `<li><b>${reward === null ? '–' : reward.toFixed(2)}</b> <code>${escapeHtml(text)}</code></li>`,
    )
    .join('')
  const images = folder.readImages(sample.id).map(imageHtml).join('')
  return (
    `<article><header>${escapeHtml(sample.stage)} · step ${sample.step}</header>${images}` +
    `<p>${escapeHtml(column(sample, 'question'))} <em>answer: ${escapeHtml(column(sample, 'answer'))}</em></p>` +
    `<ul>${completions}</ul></article>`
  )
}

/** The newest samples of every stage. */
function chosenSamples(samples: readonly SampleRecord[]): SampleRecord[] {
  return [...new Set(samples.map(({ stage }) => stage))].flatMap((stage) =>
    samples.filter((sample) => sample.stage === stage).slice(-SAMPLES_PER_STAGE),
  )
}

/** The whole page. */
export function renderReport(folder: RunFolder, summary: RunSummary): string {
  const require = createRequire(import.meta.url)
  const chartStyle = readFileSync(require.resolve('uplot/dist/uPlot.min.css'), 'utf8')
  const chartScript = readFileSync(require.resolve('uplot/dist/uPlot.iife.min.js'), 'utf8')
  const records = folder.readMetrics().filter((record) => !('phase' in record))
  const data = { charts: chartsOf(records), stages: stageStarts(records), steps: records.length }
  const samples = chosenSamples(folder.readSamples())
    .map((sample) => sampleHtml(folder, sample))
    .join('\n')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ReVisual run</title>
<style>${chartStyle}${pageStyle}</style>
</head>
<body>
<h1>ReVisual run</h1>
<p>${escapeHtml(summary.adapter)} · seed ${summary.seed}</p>
<h2>Held-out results</h2>
${resultsHtml(summary)}
<h2>Training</h2>
<div id="charts"></div>
<h2>Samples</h2>
<section class="samples">${samples}</section>
<script>${chartScript}</script>
<script>const data = ${scriptJson(data)}
${pageScript}</script>
</body>
</html>
`
}
