/**
 * TFRecord framing: length (uint64), masked CRC-32C of it, data, masked CRC-32C of the data, all little-endian
 * (https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details").
 */
import { concatenate } from './protobuf.js'

/** CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), byte by byte. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  return value >>> 0
})

export function crc32c(bytes: Uint8Array): number {
  let value = 0xffffffff
  for (const byte of bytes) value = (TABLE[(value ^ byte) & 0xff] as number) ^ (value >>> 8)
  return (value ^ 0xffffffff) >>> 0
}

/** Rotated and offset, so that checksums of data that holds checksums stay useful. */
export function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

/** One record around `data`. */
export function tfRecord(data: Uint8Array): Uint8Array {
  const head = new DataView(new ArrayBuffer(12))
  head.setBigUint64(0, BigInt(data.length), true)
  head.setUint32(8, maskedCrc(new Uint8Array(head.buffer, 0, 8)), true)
  const foot = new DataView(new ArrayBuffer(4))
  foot.setUint32(0, maskedCrc(data), true)
  return concatenate([new Uint8Array(head.buffer), data, new Uint8Array(foot.buffer)])
}
