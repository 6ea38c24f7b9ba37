/**
 * What only a process of its own can show: that it ends by itself, survives garbage collection, and stays small. The
 * package is bundled once into a folder from which `webgpu` resolves.
 */
import { execFile } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'tsup'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const outDir = join(root, 'node_modules', `.process-test-${process.pid}`)
const bundle = pathToFileURL(join(outDir, 'index.js')).href

beforeAll(async () => {
  await build({
    entry: [join(root, 'src/index.ts')],
    format: ['esm'],
    target: 'node20',
    outDir,
    config: false,
    silent: true,
    clean: false,
    external: ['webgpu'],
    tsconfig: join(root, 'tsconfig.json'),
  })
})
afterAll(() => rm(outDir, { recursive: true, force: true }))

interface Ending {
  readonly code: number | string | null
  readonly output: string
}

/** Runs node; a process that does not end by itself is killed, and its code is then null. */
function run(args: readonly string[], timeout: number): Promise<Ending> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout, killSignal: 'SIGKILL', cwd: outDir }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? null) : 0, output: stdout + stderr })
    })
  })
}

const script = (code: string) => ['--input-type=module', '-e', `import { createDevice } from '${bundle}'\n${code}`]

test('a process that read a value and never destroyed its device ends by itself', async () => {
  const { code, output } = await run(
    script(`const d = await createDevice(); console.log(await d.tensor([1, 2, 3]).sum().item())`),
    30_000,
  )
  expect(output).toContain('6')
  expect(code).toBe(0)
})

test('so does one that destroyed it with work in flight, with the one error', async () => {
  const { code, output } = await run(
    script(`
const d = await createDevice()
const pending = d.tensor(new Float32Array(1 << 16)).exp().sum().item()
d.destroy()
await pending.catch((error) => console.log(error.name))`),
    30_000,
  )
  expect(output).toContain('DeviceLostError')
  expect(code).toBe(0)
})

test('devices of the main thread and of a worker compute side by side, and both threads end by themselves', async () => {
  const inWorker = `
import { parentPort } from 'node:worker_threads'
const { createDevice } = await import('${bundle}')
const d = await createDevice()
let sum = 0
for (let i = 0; i < 30; i++) sum += await d.tensor([1, 2]).add(i).sum().item()
parentPort.postMessage(sum)`
  const { code, output } = await run(
    script(`
import { Worker } from 'node:worker_threads'
const url = new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(inWorker)}))
const d = await createDevice()
const worker = new Worker(url)
const answer = new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
let sum = 0
for (let i = 0; i < 30; i++) sum += await d.tensor([1, 2]).add(i).sum().item()
console.log(sum, await answer)
await new Promise((resolve) => worker.once('exit', resolve))
console.log(await d.tensor([4]).item())`),
    60_000,
  )
  expect(output).toContain('960 960')
  expect(output).toMatch(/^4$/m)
  expect(code).toBe(0)
})

test('a second device works beside the first and after it, also when the first is lost under load', async () => {
  const { code, output } = await run(
    script(`
const work = (d) => d.tensor(new Float32Array(1 << 16).fill(1)).exp().sum().item()
const [a, b] = [await createDevice(), await createDevice()]
console.log((await work(a)) === (await work(b)))
const [lost, fine] = [work(a), work(b)]
a.gpu.destroy()
await lost.catch((error) => console.log(error.name))
const c = await createDevice()
console.log((await fine) === (await work(c)))`),
    60_000,
  )
  expect(output).toMatch(/^true\nDeviceLostError\ntrue$/m)
  expect(code).toBe(0)
})

interface Sample {
  readonly liveBytes: number
  readonly allocatedBytes: number
  readonly pipelines: number
  readonly rss: number
}

interface Soak {
  readonly steps: number
  readonly first: number
  readonly last: number
  readonly before: Sample
  readonly after: Sample
}

test('20 s and 300 steps with forced collections: no crash, flat memory, and it learns', async () => {
  const path = fileURLToPath(new URL('soak.mjs', import.meta.url))
  const { code, output } = await run(['--expose-gc', path, bundle, '20', '400'], 110_000)
  expect(code, output).toBe(0)
  const line = output.split('\n').find((text) => text.startsWith('{'))
  const { steps, first, last, before, after } = JSON.parse(line ?? '{}') as Soak
  expect(steps).toBeGreaterThan(400)
  expect(last).toBeLessThan(first * 0.8)
  expect(after.liveBytes).toBe(before.liveBytes)
  expect(after.allocatedBytes).toBe(before.allocatedBytes)
  expect(after.pipelines).toBe(before.pipelines)
  expect(after.rss - before.rss).toBeLessThan(48 * 2 ** 20)
})

test('the example of the README runs and prints what it says', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const example = /```js\n(.*?)```/s.exec(readme)?.[1] ?? ''
  const { code, output } = await run(
    ['--input-type=module', '-e', example.replace("'@revisual/tensor'", `'${bundle}'`)],
    60_000,
  )
  expect(code, output).toBe(0)
  const printed = /Float32Array\(3\) \[(.*?)\]/s.exec(output)?.[1]?.split(',').map(Number) ?? []
  expect(printed.length).toBe(3)
  printed.forEach((value, i) => expect(Math.abs(value - (i + 1))).toBeLessThan(0.1))
})
