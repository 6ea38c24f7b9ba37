/**
 * One Vitest set-up for every package: workspace packages resolve to their sources, so a test never runs a stale
 * build, and GPU files run one at a time in a forked process (Dawn's event loop does not live in worker threads).
 */
import { fileURLToPath } from 'node:url'
import { defineConfig, type ViteUserConfig } from 'vitest/config'

const packages = [
  'tensor',
  'model',
  'rl',
  'data',
  'bench',
  'verify',
  'reward-math',
  'reward-style',
  'reward-judge',
] as const

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export function packageTests(test: ViteUserConfig['test'] = {}): ViteUserConfig {
  return defineConfig({
    resolve: {
      alias: [
        { find: '@revisual/tensor/testing', replacement: source('./packages/tensor/src/testing/index.ts') },
        ...packages.map((name) => ({
          find: new RegExp(`^@revisual/${name}$`),
          replacement: source(`./packages/${name}/src/index.ts`),
        })),
      ],
    },
    test: {
      include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
      pool: 'forks',
      testTimeout: 60_000,
      hookTimeout: 60_000,
      ...test,
    },
  })
}
