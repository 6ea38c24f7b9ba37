/** Evaluations as text tables. */
import type { Comparison } from './compare.js'
import type { Evaluation, Summary } from './evaluate.js'

/** Columns padded to their widest cell: the first to the left, the others to the right. */
function renderTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map((row) => [...(row[column] ?? '')].length)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => {
        const padding = ' '.repeat((widths[column] ?? 0) - [...cell].length)
        return column === 0 ? cell + padding : padding + cell
      })
      .join('  ')
      .trimEnd()
  return [line(header), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n')
}

const percent = (share: number) => (share * 100).toFixed(1)

const figures = ['n', 'accuracy %', '95 % interval', 'format %', 'tokens', 'truncated', 'errors']

function cells({ n, accuracy, ci95, formatRate, meanTokens, truncated, errors }: Summary): string[] {
  return [
    `${n}`,
    percent(accuracy),
    `${percent(ci95[0])} – ${percent(ci95[1])}`,
    percent(formatRate),
    meanTokens.toFixed(1),
    `${truncated}`,
    `${errors}`,
  ]
}

/** One line per evaluation. */
export function renderEvaluations(evaluations: readonly Evaluation[]): string {
  return renderTable(
    ['task', ...figures],
    evaluations.map((evaluation) => [evaluation.task, ...cells(evaluation)]),
  )
}

/** How the answers were drawn, the figures, and a table per category. */
export function renderEvaluation(evaluation: Evaluation): string {
  const { backend, sampling, passAtK, byCategory } = evaluation
  const drawn = `${backend}: temperature ${sampling.temperature}, seed ${sampling.seed}, at most ${sampling.maxTokens} tokens, ${sampling.samplesPerProblem} per problem`
  const passes = Object.entries(passAtK).map(([k, value]) => `pass@${k} ${percent(value)} %`)
  return [
    drawn,
    renderEvaluations([evaluation]),
    ...(sampling.samplesPerProblem > 1 ? [passes.join(', ')] : []),
    ...Object.entries(byCategory).map(([tag, values]) =>
      renderTable(
        [tag, ...figures],
        Object.entries(values).map(([value, summary]) => [value, ...cells(summary)]),
      ),
    ),
  ].join('\n\n')
}

/** The difference of two runs in a few lines. */
export function renderComparison({ n, difference, ci95, counts, pValue }: Comparison): string {
  const points = (share: number) => `${share > 0 ? '+' : share < 0 ? '−' : ''}${percent(Math.abs(share))}`
  return [
    `difference ${points(difference)} points (95 % interval ${points(ci95[0])} to ${points(ci95[1])}), ${n} problems`,
    `both right ${counts.both}, only first ${counts.onlyFirst}, only second ${counts.onlySecond}, neither ${counts.neither}; McNemar p = ${pValue.toPrecision(2)}`,
  ].join('\n')
}
