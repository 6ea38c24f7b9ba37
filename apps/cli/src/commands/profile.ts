/** A profile of a command's kernels, as a trace file and a table. */
import { writeFileSync } from 'node:fs'
import { DeviceLostError, type Device } from '@revisual/tensor'

/** A trace of more kernels than this is more than viewers open. */
const mostDispatches = 50_000

/**
 * Runs `body`, timing its first kernels when there is a file to write them to. A pass per kernel makes it slower.
 * @param file Chrome trace (chrome://tracing, Perfetto); the table goes to stderr.
 */
export async function profiled<Result>(
  device: Device,
  file: string | null,
  body: () => Promise<Result>,
): Promise<Result> {
  if (file === null) return body()
  let result: { readonly value: Result } | undefined
  try {
    const profile = await device.profile(
      async () => {
        result = { value: await body() }
      },
      { mostDispatches },
    )
    writeFileSync(file, JSON.stringify(profile.chromeTrace()))
    process.stderr.write(`\n${profile.table()}\n\n${file}: the first ${profile.events.length} kernels\n`)
  } catch (error) {
    // The body went on with another device; only the profile is lost.
    if (!result || !(error instanceof DeviceLostError)) throw error
    process.stderr.write(`warning: no profile, its device was lost\n`)
  }
  if (!result) throw new Error('Internal: the profiled body did not run.')
  return result.value
}
