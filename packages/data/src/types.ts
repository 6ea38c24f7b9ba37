/**
 * The one dataset row type: what loaders yield, curation annotates, and bench and the trainer read.
 */

/** Anything `JSON.stringify` keeps. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue }

/** An image as encoded bytes (PNG, JPEG, WebP) or a path to such a file. */
export type ImageRef =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array; readonly mime: string }
  | { readonly kind: 'file'; readonly path: string }

export interface Row {
  readonly id: string
  /** The question as the user would ask it, without chat markup. */
  readonly question: string
  /** Images in the order the question refers to them; they come before the text in the user turn. */
  readonly images: readonly ImageRef[]
  /** Final answer, as compact text or LaTeX. */
  readonly answer: string
  /** Worked solution in `<think>…</think>\boxed{…}` form, where the source has one. */
  readonly solution?: string
  /** Dataset it came from. */
  readonly source: string
  /** Free labels, e.g. `task: 'add'`, `level: 2`; bench builds per-category tables from them. */
  readonly tags: { readonly [tag: string]: string | number | boolean }
}

/** A seeded stream of rows whose position can be saved. */
export interface RowStream {
  next(count: number): Promise<readonly Row[]>
  state(): JsonValue
  restore(state: JsonValue): void
}
