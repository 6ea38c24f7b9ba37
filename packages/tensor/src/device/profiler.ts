/**
 * Times kernels with timestamp queries: every dispatch becomes a pass of its own with a stamp at either end. Stamps are
 * taken in sets of a few thousand, resolved inside the command stream and read back at the end, so a profile may be of
 * any length. A pass per dispatch costs time itself; the sum is more than the same work takes unobserved.
 */
export interface DispatchWork {
  readonly label: string
  /** Bytes of the buffers bound: at least what must be moved, unless only parts of them are read. */
  readonly bytes: number
  /** Multiplications and additions, where the kernel is a matrix product. */
  readonly operations: number
}

/** One dispatch in a profile. Times are nanoseconds of the GPU's clock. */
export interface KernelEvent extends DispatchWork {
  readonly start: number
  readonly end: number
}

/** Time one kernel took, summed over its dispatches. */
export interface KernelTime {
  readonly label: string
  readonly dispatches: number
  readonly milliseconds: number
  readonly bytes: number
  readonly operations: number
}

const QUERIES_PER_SET = 4096
const MEGA = 1e6

interface QuerySet {
  readonly queries: GPUQuerySet
  readonly staging: GPUBuffer
  readonly resolved: GPUBuffer
  readonly work: DispatchWork[]
}

/** Records dispatches until it is read. */
export class Profiler {
  private readonly sets: QuerySet[] = []
  private recorded = 0

  /** @param mostDispatches Those after so many are not recorded. */
  constructor(
    private readonly device: GPUDevice,
    private readonly mostDispatches: number,
  ) {}

  /** True when the next dispatch is to be recorded in a pass of its own. */
  get isRecording(): boolean {
    return this.recorded < this.mostDispatches
  }

  /** The pass of the next dispatch. */
  pass(work: DispatchWork, commands: GPUCommandEncoder): GPUComputePassDescriptor {
    let set = this.sets.at(-1)
    if (!set || set.work.length * 2 === QUERIES_PER_SET) {
      if (set) this.resolve(set, commands)
      set = this.newSet()
    }
    const index = (set.work.push(work) - 1) * 2
    this.recorded++
    return {
      timestampWrites: { querySet: set.queries, beginningOfPassWriteIndex: index, endOfPassWriteIndex: index + 1 },
    }
  }

  /** Ends recording; the commands must be submitted before {@link events} is awaited. */
  end(commands: GPUCommandEncoder): void {
    const set = this.sets.at(-1)
    if (set) this.resolve(set, commands)
    this.recorded = Infinity
  }

  /** What was recorded, in the order it ran. */
  async events(): Promise<KernelEvent[]> {
    const events: KernelEvent[] = []
    for (const { queries, staging, resolved, work } of this.sets) {
      await staging.mapAsync(GPUMapMode.READ)
      const stamps = new BigUint64Array(staging.getMappedRange())
      const first = events[0] ? this.origin : (this.origin = stamps[0] ?? 0n)
      work.forEach((done, index) => {
        const at = (offset: number) => Number((stamps[index * 2 + offset] ?? 0n) - first)
        events.push({ ...done, start: at(0), end: at(1) })
      })
      for (const buffer of [staging, resolved]) buffer.destroy()
      queries.destroy()
    }
    return events
  }

  private origin = 0n

  private newSet(): QuerySet {
    const bytes = QUERIES_PER_SET * 8
    const set = {
      queries: this.device.createQuerySet({ type: 'timestamp', count: QUERIES_PER_SET }),
      resolved: this.device.createBuffer({
        size: bytes,
        usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
      }),
      staging: this.device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }),
      work: [],
    }
    this.sets.push(set)
    return set
  }

  private resolve({ queries, resolved, staging, work }: QuerySet, commands: GPUCommandEncoder): void {
    commands.resolveQuerySet(queries, 0, work.length * 2, resolved, 0)
    commands.copyBufferToBuffer(resolved, 0, staging, 0, work.length * 16)
  }
}

/** What a profile found. */
export class Profile {
  /** Kernels by time, longest first. */
  readonly kernels: readonly KernelTime[]

  /** @internal */
  constructor(
    /** Every dispatch, in the order they ran. */
    readonly events: readonly KernelEvent[],
    private readonly adapter: string,
  ) {
    const sums = new Map<string, { -readonly [Key in keyof KernelTime]: KernelTime[Key] }>()
    for (const { label, start, end, bytes, operations } of events) {
      const sum = sums.get(label) ?? { label, dispatches: 0, milliseconds: 0, bytes: 0, operations: 0 }
      sum.dispatches++
      sum.milliseconds += (end - start) / MEGA
      sum.bytes += bytes
      sum.operations += operations
      sums.set(label, sum)
    }
    this.kernels = [...sums.values()].sort((a, b) => b.milliseconds - a.milliseconds)
  }

  /** Milliseconds of all kernels together. */
  get milliseconds(): number {
    return this.kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0)
  }

  /** A table of the kernels that took longest: calls, time, share, GB/s, and GFLOP/s of matrix products. */
  table(rows = 20): string {
    const total = this.milliseconds
    const rate = (amount: number, milliseconds: number) =>
      amount > 0 && milliseconds > 0 ? (amount / milliseconds / MEGA).toFixed(1) : ''
    const head = ['kernel', 'calls', 'ms', 'share', 'GB/s', 'GFLOP/s']
    const lines = this.kernels
      .slice(0, rows)
      .map(({ label, dispatches, milliseconds, bytes, operations }) => [
        label,
        String(dispatches),
        milliseconds.toFixed(2),
        `${((100 * milliseconds) / total).toFixed(1)} %`,
        rate(bytes, milliseconds),
        rate(operations, milliseconds),
      ])
    const rest = this.kernels.slice(rows)
    if (rest.length > 0) {
      const sum = rest.reduce((ms, { milliseconds }) => ms + milliseconds, 0)
      const calls = rest.reduce((count, { dispatches }) => count + dispatches, 0)
      lines.push([
        `${rest.length} others`,
        String(calls),
        sum.toFixed(2),
        `${((100 * sum) / total).toFixed(1)} %`,
        '',
        '',
      ])
    }
    return alignColumns([head, ...lines])
  }

  /** The events in the Trace Event Format that chrome://tracing and Perfetto open. */
  chromeTrace(): { readonly traceEvents: readonly object[]; readonly displayTimeUnit: 'ms' } {
    const named = (name: string, args: object) => ({ name, ph: 'M', pid: 1, tid: 1, args })
    const events = this.events.map(({ label, start, end, bytes, operations }) => ({
      name: label,
      cat: 'kernel',
      ph: 'X',
      pid: 1,
      tid: 1,
      // Microseconds.
      ts: start / 1e3,
      dur: (end - start) / 1e3,
      args: { bytes, ...(operations > 0 ? { operations } : {}) },
    }))
    const names = [named('process_name', { name: this.adapter }), named('thread_name', { name: 'queue' })]
    return { traceEvents: [...names, ...events], displayTimeUnit: 'ms' }
  }
}

/** The first column to the left, the others to the right. */
function alignColumns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('  '),
    )
    .join('\n')
}
