/**
 * Ours as one file, from the sources of the workspace: what is measured is what is in the tree, whether or not it was built.
 * `webgpu` stays outside, for its binary lies beside it. The image decoder is left out: cases make their images.
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '..')

/** Bundles `entry` of this folder into `outfile`. */
export async function bundle(entry, outfile) {
  await build({
    entryPoints: [join(here, entry)],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['webgpu'],
    logLevel: 'error',
    absWorkingDir: root,
    alias: {
      '@revisual/tensor': join(root, 'packages/tensor/src/index.ts'),
      '@revisual/model': join(root, 'packages/model/src/index.ts'),
      sharp: join(here, 'lib/no-sharp.mjs'),
    },
    banner: {
      js: "import { createRequire as bundleRequire } from 'node:module'; const require = bundleRequire(import.meta.url);",
    },
  })
}
