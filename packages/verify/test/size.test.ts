import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'tsup'
import { expect, test } from 'vitest'

test('the package is at most 25 kB, minified and gzipped', async () => {
  const outDir = mkdtempSync(join(tmpdir(), 'verify-size-'))
  try {
    const entry = [fileURLToPath(new URL('../src/index.ts', import.meta.url))]
    await build({ entry, outDir, format: ['esm'], minify: true, dts: false, config: false, silent: true })
    const size = gzipSync(readFileSync(join(outDir, 'index.js'))).length
    expect(size).toBeGreaterThan(10_000)
    expect(size).toBeLessThanOrEqual(25_000)
  } finally {
    rmSync(outDir, { recursive: true, force: true })
  }
})
