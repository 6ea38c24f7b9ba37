/**
 * Reading values out of parsed JSON with errors that name the key, the value seen and what is allowed.
 */

export type JsonObject = { readonly [key: string]: unknown }

/** A file of a checkpoint says something this package cannot do, or leaves out something it needs. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const show = (value: unknown) => (value === undefined ? 'absent' : JSON.stringify(value))

/** One object of a JSON file, with typed access to its fields. */
export class JsonReader {
  constructor(
    readonly object: JsonObject,
    /** Where the object sits, e.g. `config.json: vision_config`. */
    readonly where: string,
  ) {}

  fail(key: string, allowed: string): never {
    throw new ConfigError(`${this.where}: '${key}' is ${show(this.object[key])}; allowed: ${allowed}.`)
  }

  has(key: string): boolean {
    return this.object[key] !== undefined && this.object[key] !== null
  }

  child(key: string): JsonReader {
    const value = this.object[key]
    if (!isJsonObject(value)) this.fail(key, 'an object')
    return new JsonReader(value, `${this.where}: ${key}`)
  }

  childOr(key: string): JsonReader {
    return this.has(key) ? this.child(key) : new JsonReader({}, `${this.where}: ${key}`)
  }

  positiveInteger(key: string): number {
    const value = this.object[key]
    if (typeof value !== 'number' || !Number.isInteger(value) || value <= 0) this.fail(key, 'an integer > 0')
    return value
  }

  tokenId(key: string): number {
    const value = this.object[key]
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) this.fail(key, 'a token id (integer ≥ 0)')
    return value
  }

  positiveNumber(key: string): number {
    const value = this.object[key]
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) this.fail(key, 'a number > 0')
    return value
  }

  positiveNumberOr(key: string, fallback: number): number {
    return this.has(key) ? this.positiveNumber(key) : fallback
  }

  integerList(key: string): number[] {
    const value = this.object[key]
    if (!Array.isArray(value) || !value.every((item): item is number => Number.isInteger(item) && item >= 0)) {
      this.fail(key, 'a list of integers ≥ 0')
    }
    return value
  }

  numberList(key: string): number[] {
    const value = this.object[key]
    if (!Array.isArray(value) || !value.every((item): item is number => typeof item === 'number')) {
      this.fail(key, 'a list of numbers')
    }
    return value
  }

  /** Checks that every item of a list, if there is one, is allowed. */
  everyOf(key: string, allowed: readonly string[]): void {
    const value = this.object[key]
    if (!this.has(key)) return
    if (!Array.isArray(value) || !value.every((item: unknown) => allowed.some((candidate) => candidate === item))) {
      this.fail(key, `a list of ${allowed.map((candidate) => JSON.stringify(candidate)).join(', ')}`)
    }
  }

  /** The value, which must be one of `allowed`; absent gives `fallback`. */
  oneOf<T extends string | number | boolean>(key: string, allowed: readonly T[], fallback: T): T {
    if (!this.has(key)) return fallback
    const value = this.object[key]
    const found = allowed.find((candidate) => candidate === value)
    return found ?? this.fail(key, allowed.map((candidate) => JSON.stringify(candidate)).join(', '))
  }
}
