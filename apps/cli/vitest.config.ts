import { packageTests } from '../../vitest.shared.ts'

export default packageTests({ fileParallelism: false, testTimeout: 300_000 })
