/**
 * envoy.config.core.v3.Node, by which a client says who it is, on the wire.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto
 */
import { LENGTH_DELIMITED, tagOf } from '../reading/wire-message.ts'

import type protobuf from 'protobufjs/minimal.js'

/** A value of google.protobuf.Value. */
export type StructValue =
  null | boolean | number | string | readonly StructValue[] | { readonly [key: string]: StructValue }

/** Who the client is. Sent with the first request of a stream only. */
export interface DiscoveryNode {
  readonly id: string
  /** The service cluster that Envoy calls `--service-cluster`; empty where there is none. */
  readonly cluster?: string
  readonly metadata: Readonly<Record<string, StructValue>>
  readonly locality?: { readonly region: string; readonly zone: string; readonly subZone: string }
  /** The name of the client and its version, for the control plane's own records. */
  readonly userAgent?: { readonly name: string; readonly version: string }
}

const VARINT = 0
const FIXED_64 = 1

/** Writes a text unless it is empty, as proto3 does. */
export function writeText(writer: protobuf.Writer, field: number, text: string): void {
  if (text !== '') writer.uint32(tagOf(field, LENGTH_DELIMITED)).string(text)
}

/** Writes a message, also an empty one. */
export function writeMessage(writer: protobuf.Writer, field: number, write: () => void): void {
  writer.uint32(tagOf(field, LENGTH_DELIMITED)).fork()
  write()
  writer.ldelim()
}

/** Writes the fields of a Node. */
export function writeNode(writer: protobuf.Writer, node: DiscoveryNode): void {
  const { locality, userAgent } = node
  writeText(writer, 1, node.id)
  writeText(writer, 2, node.cluster ?? '')
  writeMessage(writer, 3, () => {
    writeStruct(writer, node.metadata)
  })
  if (locality !== undefined)
    writeMessage(writer, 4, () => {
      writeText(writer, 1, locality.region)
      writeText(writer, 2, locality.zone)
      writeText(writer, 3, locality.subZone)
    })
  writeText(writer, 6, userAgent?.name ?? '')
  writeText(writer, 7, userAgent?.version ?? '')
}

function writeStruct(writer: protobuf.Writer, struct: Readonly<Record<string, StructValue>>): void {
  for (const [key, value] of Object.entries(struct))
    writeMessage(writer, 1, () => {
      writeText(writer, 1, key)
      writeMessage(writer, 2, () => {
        writeValue(writer, value)
      })
    })
}

/** A member of a oneof is written even when it is empty or 0: which member it is counts. */
function writeValue(writer: protobuf.Writer, value: StructValue): void {
  if (value === null) writer.uint32(tagOf(1, VARINT)).int32(0)
  else if (typeof value === 'number') writer.uint32(tagOf(2, FIXED_64)).double(value)
  else if (typeof value === 'string') writer.uint32(tagOf(3, LENGTH_DELIMITED)).string(value)
  else if (typeof value === 'boolean') writer.uint32(tagOf(4, VARINT)).bool(value)
  else if (isList(value))
    writeMessage(writer, 6, () => {
      for (const item of value)
        writeMessage(writer, 1, () => {
          writeValue(writer, item)
        })
    })
  else
    writeMessage(writer, 5, () => {
      writeStruct(writer, value)
    })
}

function isList(value: StructValue): value is readonly StructValue[] {
  return Array.isArray(value)
}
