/** The few pieces of Python's behaviour that MathRuler's verdicts depend on. */

const PYTHON_FLOAT = /^\s*[+-]?(?:\d(?:_?\d)*(?:\.(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d(?:_?\d)*)?\s*$/

/** `float(text)`, or null where it raises. Underscores between digits are part of Python's number syntax. */
export function pythonFloat(text: string): number | null {
  return text.length <= 4000 && PYTHON_FLOAT.test(text) ? Number(text.replaceAll('_', '')) : null
}

/** `abs(x - int(round(x))) <= 1e-7`; false where that raises. */
export const isNearInteger = (value: number): boolean =>
  Number.isFinite(value) && Math.abs(value - Math.round(value)) <= 1e-7

/** `str(int(x))` of a finite double, all digits written out. */
export const integerText = (value: number): string => BigInt(Math.trunc(value)).toString()
