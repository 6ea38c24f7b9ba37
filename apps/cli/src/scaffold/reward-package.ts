/**
 * A reward package as files: small enough to be read at once, complete enough to be published. Its reward pays for short
 * completions; whoever made the package replaces it and keeps the frame.
 */
import { unscoped } from './package-name.js'

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`

/** Name of the reward in metrics: `revisual-reward-my-words` → `my-words`. */
function rewardName(packageName: string): string {
  const base = unscoped(packageName)
  return base.replace(/^(?:revisual-)?reward-(?=.)/, '')
}

const manifest = (name: string, rlVersion: string) => ({
  name,
  version: '0.1.0',
  description: 'A reward for ReVisual.',
  license: 'Apache-2.0',
  type: 'module',
  sideEffects: false,
  engines: { node: '>=20.19' },
  keywords: ['revisual-reward', 'reward'],
  exports: {
    '.': { types: './dist/index.d.ts', import: './dist/index.js' },
    './package.json': './package.json',
  },
  types: './dist/index.d.ts',
  files: ['dist', 'README.md', 'LICENSE'],
  publishConfig: { access: 'public' },
  scripts: { build: 'tsup', test: 'vitest run', typecheck: 'tsc', prepublishOnly: 'tsc && vitest run && tsup' },
  devDependencies: {
    '@revisual/rl': rlVersion,
    '@types/node': '^20.19.43',
    esbuild: '^0.27.0',
    tsup: '^8.5.1',
    typescript: '^5.9.0',
    vitest: '^4.1.12',
  },
})

const tsconfig = {
  compilerOptions: {
    target: 'es2023',
    module: 'nodenext',
    types: ['node'],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    verbatimModuleSyntax: true,
    skipLibCheck: true,
    noEmit: true,
  },
  include: ['src', 'tsup.config.ts'],
}

const tsup = `import { defineConfig } from 'tsup'

export default defineConfig({ entry: ['src/index.ts'], format: ['esm'], target: 'node20', dts: true, clean: true })
`

const source = (
  reward: string,
) => `/** A reward: 1 for at most \`words\` words, falling to 0 at twice as many. Replace it by yours. */
import type { OptionsSchema, RewardPlugin, RewardValue } from '@revisual/rl'

export interface Options {
  /** Words that earn the full reward. Default 100. */
  readonly words?: number
}

/** Standard Schema (https://standardschema.dev): a Zod, Valibot or ArkType schema could stand here instead. */
const options: OptionsSchema<Options> = {
  '~standard': {
    version: 1,
    vendor: '${reward}',
    validate(value = {}) {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        return { issues: [{ message: \`is \${JSON.stringify(value)}; allowed: an object\` }] }
      const unknown = Object.keys(value).find((name) => name !== 'words')
      if (unknown !== undefined) return { issues: [{ message: 'is unknown; allowed: words', path: [unknown] }] }
      const { words } = value as { readonly words?: unknown }
      if (words === undefined) return { value: {} }
      if (typeof words === 'number' && Number.isInteger(words) && words > 0) return { value: { words } }
      return { issues: [{ message: \`is \${JSON.stringify(words)}; allowed: an integer > 0\`, path: ['words'] }] }
    },
  },
}

/** Words, counted in one pass: rewards must stay linear in the length of a text. */
const countWords = (text: string): number => text.split(/\\s+/).filter((word) => word !== '').length

const reward: RewardPlugin<Options> = {
  name: '${reward}',
  options,
  create({ words = 100 }) {
    // One value per completion, in order: a number, null where the reward does not apply, or { score, parts }, whose
    // parts are logged. A reward may be asynchronous; context.signal is aborted when its time is up.
    return ({ completions }) =>
      completions.map((text): RewardValue => {
        const count = countWords(text)
        if (count === 0) return null
        return { score: Math.max(0, Math.min(1, 2 - count / words)), parts: { words: count } }
      })
  },
}

export default reward
`

const test = `import { checkReward, type RewardBatch, type RewardCase } from '@revisual/rl'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import reward, { type Options } from './index.js'

const folder = fileURLToPath(new URL('..', import.meta.url))

const batch = (completions: readonly string[]): RewardBatch => ({
  prompts: completions.map(() => ''),
  completions,
  completionLengths: completions.map(() => 1),
  finishReasons: completions.map(() => 'stop'),
  rows: completions.map(() => ({})),
  step: 1,
})

const score = async (completions: readonly string[], options: Options = {}) => {
  const score = await reward.create(options)
  return await score(batch(completions), { signal: new AbortController().signal })
}

test('pays for few words', async () => {
  expect(await score(['two words', 'three words now', 'these are four words', ''], { words: 2 })).toEqual([
    { score: 1, parts: { words: 2 } },
    { score: 0.5, parts: { words: 3 } },
    { score: 0, parts: { words: 4 } },
    null,
  ])
})

test.each<readonly [unknown, RegExp]>([
  [5, /allowed: an object/],
  [{ word: 5 }, /is unknown; allowed: words/],
  [{ words: 0 }, /is 0; allowed: an integer > 0/],
])('options %j are refused', async (value, message) => {
  const result = await reward.options?.['~standard'].validate(value)
  expect(result?.issues?.map((issue) => issue.message).join()).toMatch(message)
})

test('keeps the contract of rewards', async () => {
  const lines = readFileSync(new URL('../cases.jsonl', import.meta.url), 'utf8').trim().split('\\n')
  const cases = lines.map((line) => JSON.parse(line) as RewardCase)
  const checks = await checkReward({ use: './src/index.ts' }, { baseDir: folder }, cases)
  expect(checks.filter(({ outcome }) => outcome !== 'passed')).toEqual([])
})
`

const cases = [
  { prompt: 'What is 5 + 7?', completion: 'The sum is \\boxed{12}.', row: { answer: '12' }, expected: 1 },
  { prompt: 'What is 5 + 7?', completion: 'so '.repeat(150), row: { answer: '12' }, expected: 0.5 },
  { prompt: 'What is 5 + 7?', completion: '', row: { answer: '12' }, expected: null },
]

const readme = (name: string, reward: string) => `# ${name}

A reward for [ReVisual](https://www.npmjs.com/package/revisual): 1 for at most \`words\` words, falling to 0 at twice as
many.

\`\`\`sh
npm install ${name}
\`\`\`

In the configuration of a training run:

\`\`\`yaml
rewards:
  - { use: accuracy, weight: 0.9 }
  - { use: '${name}', weight: 0.1, options: { words: 60 } }
\`\`\`

## Options

| option  | default |                                  |
| ------- | ------- | -------------------------------- |
| \`words\` | 100     | words that earn the full reward  |

The metrics are \`rewards/${reward}/mean\`, and \`rewards/${reward}/words/mean\` for its part.

## Work on it

\`\`\`sh
npm test           # with the contract test of @revisual/rl on cases.jsonl
npm run build
npx revisual reward test ./dist/index.js --cases cases.jsonl
npm publish
\`\`\`
`

export interface RewardPackageOptions {
  /** Version range of `@revisual/rl`. */
  readonly rlVersion: string
  /** Text of the licence. */
  readonly license: string
}

/** Files of a reward package by path. */
export function rewardPackage(
  name: string,
  { rlVersion, license }: RewardPackageOptions,
): { readonly [path: string]: string } {
  const reward = rewardName(name)
  return {
    'package.json': json(manifest(name, rlVersion)),
    'tsconfig.json': json(tsconfig),
    'tsup.config.ts': tsup,
    'src/index.ts': source(reward),
    'src/index.test.ts': test,
    'cases.jsonl': cases.map((line) => `${JSON.stringify(line)}\n`).join(''),
    'README.md': readme(name, reward),
    LICENSE: license,
    '.gitignore': 'node_modules\ndist\n',
  }
}
