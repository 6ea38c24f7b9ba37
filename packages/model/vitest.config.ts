import { packageTests } from '../../vitest.shared.ts'

export default packageTests({ fileParallelism: false, testTimeout: 120_000, hookTimeout: 120_000 })
