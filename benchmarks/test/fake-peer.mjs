/** A peer without a library, for tests of the harness: what it does is in its name. */
import { serve } from '../peers/serve.mjs'

const behaviour = process.argv[2]

serve(async () => ({
  about: { version: '1', adapter: 'none' },
  build() {
    if (behaviour === 'throws') throw new Error('cannot do that\nat all')
    return {
      step() {
        if (behaviour === 'crashes') process.exit(7)
        if (behaviour === 'hangs') return new Promise((resolve) => setTimeout(resolve, 1e6))
      },
      finish: async () => {},
      sample: async () => [behaviour === 'wrong' ? 2 : 1],
      dispose() {},
    }
  },
}))
