/** Style and script of the report page, as text: they run in a browser, not here. */

export const pageStyle = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #8884 }
th:first-child, td:first-child { text-align: left }
#charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(30rem, 1fr)); gap: 1.5rem }
.u-title { font-size: 1rem } .uplot { background: #fff; color: #111; padding: .5rem; border-radius: .4rem }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1rem }
article { border: 1px solid #8884; border-radius: .4rem; padding: .7rem }
article img { image-rendering: pixelated; height: 5rem; margin-right: .5rem; border: 1px solid #8884 }
article header { opacity: .7; font-size: .85rem } article ul { padding-left: 1.2rem } code { white-space: pre-wrap }
`

/** Expects `data` ({ charts, stages, steps }) and the global `uPlot`. */
export const pageScript = `
const colours = ['#2563eb', '#dc2626', '#059669', '#d97706', '#7c3aed', '#0891b2', '#be185d', '#4d7c0f']
const x = Array.from({ length: data.steps }, (_, i) => i + 1)
const stageLines = {
  hooks: {
    draw: [(u) => {
      const { ctx, bbox } = u
      ctx.save()
      ctx.strokeStyle = ctx.fillStyle = '#888'
      ctx.font = '11px system-ui'
      ctx.setLineDash([4, 4])
      for (const { name, at } of data.stages) {
        const left = Math.round(u.valToPos(at + 1, 'x', true))
        ctx.beginPath()
        ctx.moveTo(left, bbox.top)
        ctx.lineTo(left, bbox.top + bbox.height)
        ctx.stroke()
        ctx.fillText(name, left + 4, bbox.top + 12)
      }
      ctx.restore()
    }],
  },
}
const host = document.getElementById('charts')
for (const { title, series } of data.charts) {
  new uPlot({
    title, width: 480, height: 260, plugins: [stageLines],
    scales: { x: { time: false } },
    series: [{ label: 'step' }, ...series.map(({ name }, i) => ({
      label: name, stroke: colours[i % colours.length], width: 1.5, spanGaps: false,
      value: (_, v) => v == null ? '–' : Number(v.toPrecision(4)),
    }))],
  }, [x, ...series.map(({ values }) => values)], host)
}
`
