/** The few wire types of Protocol Buffers that TensorBoard's events use (https://protobuf.dev/programming-guides/encoding/). */

function varint(value: bigint): number[] {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, value)
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80)
    rest >>= 7n
  }
  return [...bytes, Number(rest)]
}

const tag = (field: number, wireType: number) => varint(BigInt((field << 3) | wireType))

/** An integer field (int64). */
export const integerField = (field: number, value: number): Uint8Array =>
  Uint8Array.from([...tag(field, 0), ...varint(BigInt(value))])

/** A `double` field. */
export function doubleField(field: number, value: number): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(8))
  bytes.setFloat64(0, value, true)
  return Uint8Array.from([...tag(field, 1), ...new Uint8Array(bytes.buffer)])
}

/** A `float` field. */
export function floatField(field: number, value: number): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(4))
  bytes.setFloat32(0, value, true)
  return Uint8Array.from([...tag(field, 5), ...new Uint8Array(bytes.buffer)])
}

/** A field of bytes: an embedded message, or a string in UTF-8. */
export function bytesField(field: number, value: Uint8Array | string): Uint8Array {
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value
  return Uint8Array.from([...tag(field, 2), ...varint(BigInt(bytes.length)), ...bytes])
}

export function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((total, { length }) => total + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
