/** Hand-written Standard Schema (https://standardschema.dev) for options that are numbers and switches. */
import type { OptionsSchema } from '@revisual/rl'

interface Check {
  readonly allowed: string
  readonly test: (value: unknown) => boolean
  /** Default: false. */
  readonly required?: boolean
}

export const flag: Check = { allowed: 'true, false', test: (value) => typeof value === 'boolean' }

export const oneOf = (...values: readonly string[]): Check => ({
  allowed: values.join(', '),
  test: (value) => typeof value === 'string' && values.includes(value),
})

/** A finite number in low…high, an integer if wanted. */
export const numberIn = (low: number, high: number, kind: 'number' | 'integer' = 'number'): Check => ({
  allowed: `${kind === 'integer' ? 'an integer' : 'a number'} from ${low} to ${high}`,
  test: (value) =>
    typeof value === 'number' && value >= low && value <= high && (kind === 'number' || Number.isInteger(value)),
})

/** Schema of an object whose keys are those of `checks`. Absent options count as `{}`. */
export function optionsSchema<Options>(checks: {
  readonly [name in keyof Required<Options>]: Check
}): OptionsSchema<Options> {
  const known = new Map<string, Check>(Object.entries(checks))
  return {
    '~standard': {
      version: 1,
      vendor: 'revisual',
      validate(value = {}) {
        if (typeof value !== 'object' || value === null || Array.isArray(value))
          return { issues: [{ message: `is ${JSON.stringify(value)}; allowed: an object` }] }
        const given = new Map<string, unknown>(Object.entries(value))
        const unknown = [...given.keys()].filter((name) => !known.has(name))
        const issues = [
          ...unknown.map((name) => ({
            message: `is unknown; allowed: ${[...known.keys()].join(', ')}`,
            path: [name],
          })),
          ...[...known].flatMap(([name, check]) => {
            const seen = given.get(name)
            if (seen === undefined ? check.required !== true : check.test(seen)) return []
            return [{ message: `is ${JSON.stringify(seen) ?? 'missing'}; allowed: ${check.allowed}`, path: [name] }]
          }),
        ]
        return issues.length > 0 ? { issues } : { value: value as Options }
      },
    },
  }
}
