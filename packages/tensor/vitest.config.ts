/**
 * The operations run twice: on all the adapter has, and with bindings of at most 1 MiB and small grids.
 */
import { mergeConfig } from 'vitest/config'
import { packageTests } from '../../vitest.shared.ts'

const settings = { fileParallelism: false, testTimeout: 120_000, hookTimeout: 120_000 }

export default mergeConfig(packageTests(settings), {
  test: {
    projects: [
      { extends: true, test: { name: 'full limits' } },
      {
        extends: true,
        test: {
          name: 'low limits',
          exclude: ['src/**', 'test/*.test.ts', 'test/ops/beyond-binding.test.ts'],
          env: { REVISUAL_TEST_BINDING: String(2 ** 20) },
        },
      },
    ],
  },
})
