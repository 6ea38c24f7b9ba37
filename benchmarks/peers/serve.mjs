/**
 * The child's side of a peer process: builds cases and times steps. A peer is `{ about, build }`; `build(case)` gives
 * `{ step, finish, sample, dispose }`: enqueue one step, wait for all of them, about sixty values of the result (of the
 * last loss, for training), give the memory back.
 */

/** Runs `steps` steps and waits for them; milliseconds of wall clock and of this process's CPU, the software GPU's included. */
async function time(built, steps) {
  const cpu = process.cpuUsage()
  const start = performance.now()
  for (let index = 0; index < steps; index++) await built.step()
  await built.finish()
  const wall = performance.now() - start
  const { user, system } = process.cpuUsage(cpu)
  return { wall: wall / steps, cpu: (user + system) / 1000 / steps }
}

export function serve(open) {
  let peer
  let built = null
  const handlers = {
    async open() {
      peer = await open()
      return peer.about
    },
    /** Two steps, whose result is compared; the third is warm and timed. */
    async prepare({ spec }) {
      built?.dispose()
      built = await peer.build(spec)
      await time(built, 1)
      await time(built, 1)
      const sample = await built.sample()
      return { sample, step: (await time(built, 1)).wall }
    },
    measure: ({ steps }) => time(built, steps),
    /** What the adapter can do, as seen now. Ours only. */
    roofline: () => peer.roofline(),
    async release() {
      built?.dispose()
      built = null
    },
  }
  process.on('message', async (message) => {
    try {
      process.send({ value: (await handlers[message.type](message)) ?? null })
    } catch (error) {
      process.send({
        error: String(error?.message ?? error)
          .split('\n')[0]
          .slice(0, 300),
      })
    }
  })
  process.on('disconnect', () => process.exit(0))
}

/** For cases a library has no way to run. */
export class Unsupported extends Error {}
