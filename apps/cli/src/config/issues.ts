/**
 * Zod's issues as sentences: which key, the value seen, what is allowed, and what was probably meant.
 */
import { z } from 'zod'
import { didYouMean } from './nearest.js'

type Issue = z.core.$ZodIssue
type Path = readonly PropertyKey[]

/** `stages[1].data[0].source` */
function pathText(path: Path): string {
  return path.reduce<string>(
    (text, key) => (typeof key === 'number' ? `${text}[${key}]` : text === '' ? String(key) : `${text}.${String(key)}`),
    '',
  )
}

const valueAt = (value: unknown, path: Path): unknown =>
  path.reduce<unknown>(
    (at, key) => (typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[key] : undefined),
    value,
  )

function show(value: unknown): string {
  const text = JSON.stringify(value)
  if (text === undefined) return 'nothing'
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

/** Object schemas reachable at a path; unions are narrowed by the value's discriminator where they have one. */
function objectsAt(schema: z.core.$ZodType, value: unknown, path: Path): z.ZodObject[] {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodPrefault
  ) {
    return objectsAt(schema.unwrap(), value, path)
  }
  if (schema instanceof z.ZodPipe) return objectsAt(schema.in, value, path)
  if (schema instanceof z.ZodUnion) {
    const options = schema.options.flatMap((option) => objectsAt(option, value, []))
    const record = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
    const matching = options.filter((option) =>
      Object.entries(option.shape).every(
        ([key, field]) => !(field instanceof z.ZodLiteral) || (field.values as ReadonlySet<unknown>).has(record[key]),
      ),
    )
    return (matching.length > 0 ? matching : options).flatMap((option) => objectsAt(option, value, path))
  }
  const [key, ...rest] = path
  if (schema instanceof z.ZodArray)
    return key === undefined ? [] : objectsAt(schema.element, valueAt(value, [key]), rest)
  if (!(schema instanceof z.ZodObject)) return []
  if (key === undefined) return [schema]
  const field = schema.shape[String(key)] as z.core.$ZodType | undefined
  return field ? objectsAt(field, valueAt(value, [key]), rest) : []
}

/** Of a union's failures, those of the alternative that came closest: the fewest issues at its top. */
function closest(alternatives: readonly (readonly Issue[])[]): readonly Issue[] {
  const atTop = (issues: readonly Issue[]) =>
    issues.filter((issue) => issue.path.length === 0 && issue.code === 'invalid_type').length
  return [...alternatives].sort((a, b) => atTop(a) - atTop(b) || a.length - b.length)[0] ?? []
}

function describe(issue: Issue, path: Path, schema: z.core.$ZodType, input: unknown): string[] {
  const at = pathText(path) || 'the configuration'
  const value = valueAt(input, path)
  if (issue.code === 'unrecognized_keys') {
    const allowed = [...new Set(objectsAt(schema, input, path).flatMap((object) => Object.keys(object.shape)))]
    return issue.keys.map(
      (key) =>
        `${pathText([...path, key])}: there is no such key (value ${show(valueAt(value, [key]))}); allowed here: ${allowed.join(', ')}.` +
        didYouMean(key, allowed),
    )
  }
  if (issue.code === 'invalid_value') {
    const allowed = issue.values.map(String)
    const hint = typeof value === 'string' ? didYouMean(value, allowed) : ''
    return [`${at}: ${show(value)} is not allowed; allowed: ${allowed.join(', ')}.${hint}`]
  }
  if (issue.code === 'invalid_union') {
    if (issue.errors.length > 0) {
      const inner = closest(issue.errors)
      const nested = inner.filter(({ path: below, code }) => below.length > 0 || code !== 'invalid_type')
      if (nested.length > 0)
        return nested.flatMap((deeper) => describe(deeper, [...path, ...deeper.path], schema, input))
      const expected = issue.errors.flat().map((each) => (each.code === 'invalid_type' ? each.expected : each.message))
      return [`${at}: ${show(value)} is not allowed; expected ${[...new Set(expected)].join(' or ')}.`]
    }
    const discriminator = issue.discriminator ?? 'kind'
    // Zod reports a missing or wrong discriminator at the discriminator's own path.
    const holder = path.at(-1) === discriminator ? path.slice(0, -1) : path
    const allowed = discriminatorValues(schema, input, holder, discriminator)
    const seen = valueAt(valueAt(input, holder), [discriminator])
    const hint = typeof seen === 'string' ? didYouMean(seen, allowed) : ''
    return [
      `${pathText([...holder, discriminator])}: ${show(seen)} is not allowed; allowed: ${allowed.join(', ')}.${hint}`,
    ]
  }
  if (issue.code === 'invalid_type') {
    return [
      value === undefined
        ? `${at}: is missing; expected ${issue.expected}.`
        : `${at}: ${show(value)} is not allowed; expected ${issue.expected}.`,
    ]
  }
  return [`${at}: ${show(value)} is not allowed: ${issue.message}.`]
}

function discriminatorValues(schema: z.core.$ZodType, input: unknown, path: Path, discriminator: string): string[] {
  return objectsAt(schema, input, path).flatMap((object) => {
    const field: unknown = object.shape[discriminator]
    return field instanceof z.ZodLiteral ? [...(field.values as ReadonlySet<unknown>)].map(String) : []
  })
}

/** One line per thing that is wrong. */
export function describeIssues(error: z.ZodError, schema: z.core.$ZodType, input: unknown): string[] {
  return [...new Set(error.issues.flatMap((issue) => describe(issue, issue.path, schema, input)))]
}
