/** A program as code that can be pasted into a file and run. */
import { operationOf } from './operations.js'
import { learning, leafArray, type Program, type Step } from './program.js'

const array = (type: string, values: ArrayLike<number>) =>
  `new ${type}([${Array.from(values, (v) => String(v)).join(', ')}])`

function line(step: Step, index: number): string {
  const name = (at: number) => `v${at}`
  switch (step.kind) {
    case 'leaf': {
      const data = array(step.dtype === 'i32' ? 'Int32Array' : 'Float32Array', leafArray(step).data)
      const shape = JSON.stringify(step.shape)
      const learns = step.dtype === 'f32' ? '.detached(true)' : ''
      return `const ${name(index)} = device.tensor(${data}, ${shape}, '${step.dtype}')${learns}${step.view ? ' // as a view' : ''}`
    }
    case 'apply':
      return `const ${name(index)} = ${operationOf(step.op).code(step.inputs.map(name), step.options)}`
    case 'buffer':
      return `const ${name(index)} = device.buffer(${JSON.stringify(step.shape)})`
    case 'copy':
      return `const ${name(index)} = copy(${name(step.buffer)})`
    case 'accumulate': {
      const rows = `${name(step.buffer)}.slice(0, ${step.start}, ${step.start + step.rows})`
      return `assign(${rows}, add(${rows}, ${name(step.value)}))`
    }
    case 'assign':
      return `assign(${name(step.buffer)}.slice(${step.axis}, ${step.start}, ${step.end}), ${name(step.value)})`
    case 'evaluate':
      return `await device.eval([${step.values.map(name).join(', ')}])`
  }
}

export function printProgram(program: Program): string {
  const outputs = program.outputs.map((index) => `v${index}`).join(', ')
  const leaves = learning(program)
    .map((index) => `v${index}`)
    .join(', ')
  const gradient = program.gradients
    ? [`// and grad of the outputs, with random weights, with respect to [${leaves}]`]
    : []
  return [...program.steps.map(line), `console.log(await device.read([${outputs}]))`, ...gradient].join('\n')
}
