/**
 * The operations run three times: on all the adapter has, with bindings of at most 1 MiB and small grids, and with what any
 * hardware GPU would be given (on a software adapter other kernels run by default).
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
          env: { REVISUAL_TEST_BINDING: String(2 ** 20), REVISUAL_TEST_FEW: '1' },
        },
      },
      {
        extends: true,
        test: {
          name: 'plain GPU',
          exclude: ['src/**', 'test/*.test.ts', 'test/ops/beyond-binding.test.ts'],
          env: { REVISUAL_EMULATE: 'plain-gpu', REVISUAL_TEST_FEW: '1' },
        },
      },
    ],
  },
})
