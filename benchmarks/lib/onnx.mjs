/**
 * A small writer of ONNX models: Protocol Buffers by hand for the messages a graph of a few operators needs. Field numbers
 * are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
 */

const FLOAT = 1
const INT64 = 7

/** Base-128 varint of a non-negative integer. */
function varint(value) {
  const bytes = []
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) {
      bytes.push(Number(rest))
      return Buffer.from(bytes)
    }
    bytes.push(Number(rest & 127n) | 128)
  }
}

const integer = (field, value) => Buffer.concat([varint(field << 3), varint(BigInt.asUintN(64, BigInt(value)))])
const bytes = (field, data) => Buffer.concat([varint((field << 3) | 2), varint(data.length), data])
const text = (field, value) => bytes(field, Buffer.from(value, 'utf8'))

function float(field, value) {
  const data = Buffer.alloc(4)
  data.writeFloatLE(value)
  return Buffer.concat([varint((field << 3) | 5), data])
}

/** TensorProto: dims = 1, data_type = 2, name = 8, raw_data = 9. */
function tensor(name, shape, values) {
  const isFloat = values instanceof Float32Array
  const raw = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
  return Buffer.concat([
    ...shape.map((size) => integer(1, size)),
    integer(2, isFloat ? FLOAT : INT64),
    text(8, name),
    bytes(9, raw),
  ])
}

/** ValueInfoProto: name = 1, type = 2 { tensor_type = 1 { elem_type = 1, shape = 2 { dim = 1 { dim_value = 1 } } } }. */
function valueInfo(name, shape) {
  const dims = Buffer.concat(shape.map((size) => bytes(1, integer(1, size))))
  return Buffer.concat([text(1, name), bytes(2, bytes(1, Buffer.concat([integer(1, FLOAT), bytes(2, dims)])))])
}

/** AttributeProto: name = 1, f = 2, i = 3, ints = 8, type = 20 (FLOAT 1, INT 2, INTS 7). */
function attribute(name, value) {
  if (Array.isArray(value))
    return Buffer.concat([text(1, name), ...value.map((item) => integer(8, item)), integer(20, 7)])
  const isFloat = typeof value === 'object'
  return Buffer.concat([
    text(1, name),
    isFloat ? float(2, value.float) : integer(3, value),
    integer(20, isFloat ? 1 : 2),
  ])
}

/**
 * @param {object} model
 * @param {{op: string, inputs: string[], outputs: string[], domain?: string, attributes?: Record<string, number | number[] | {float: number}>}[]} model.nodes
 * @param {Record<string, number[]>} model.inputs shapes of the f32 inputs
 * @param {Record<string, number[]>} model.outputs
 * @param {Record<string, {shape: number[], values: Float32Array | BigInt64Array}>} [model.constants]
 * @returns {Buffer} a ModelProto of opset 17, with Microsoft's operators at hand
 */
export function onnxModel({ nodes, inputs, outputs, constants = {} }) {
  const graph = Buffer.concat([
    ...nodes.map(({ op, inputs: from, outputs: to, domain, attributes = {} }, index) =>
      bytes(
        1,
        Buffer.concat([
          ...from.map((name) => text(1, name)),
          ...to.map((name) => text(2, name)),
          text(3, `node${index}`),
          text(4, op),
          ...Object.entries(attributes).map(([name, value]) => bytes(5, attribute(name, value))),
          ...(domain === undefined ? [] : [text(7, domain)]),
        ]),
      ),
    ),
    text(2, 'benchmark'),
    ...Object.entries(constants).map(([name, { shape, values }]) => bytes(5, tensor(name, shape, values))),
    ...Object.entries(inputs).map(([name, shape]) => bytes(11, valueInfo(name, shape))),
    ...Object.entries(outputs).map(([name, shape]) => bytes(12, valueInfo(name, shape))),
  ])
  const opset = (domain, version) => bytes(8, Buffer.concat([text(1, domain), integer(2, version)]))
  return Buffer.concat([integer(1, 8), bytes(7, graph), opset('', 17), opset('com.microsoft', 1)])
}
