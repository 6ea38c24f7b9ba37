/**
 * Everything runs on the adapter as it is; the golden cases once more with the kernels any hardware GPU would be given (on a
 * software adapter others run by default).
 */
import { mergeConfig } from 'vitest/config'
import { packageTests } from '../../vitest.shared.ts'

const settings = { fileParallelism: false, testTimeout: 120_000, hookTimeout: 120_000 }

export default mergeConfig(packageTests(settings), {
  test: {
    projects: [
      { extends: true, test: { name: 'this adapter' } },
      {
        extends: true,
        test: {
          name: 'plain GPU',
          exclude: ['src/**', 'test/!(goldens).test.ts'],
          env: { REVISUAL_EMULATE: 'plain-gpu' },
        },
      },
    ],
  },
})
