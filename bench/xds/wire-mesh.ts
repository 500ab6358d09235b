/** The resources of a {@link ModelMesh} as istiod puts them on the wire: Address by Address, in a delta response. */
import protobuf from 'protobufjs/minimal.js'

import { TYPE_URLS } from '../../src/xds-client/discovery.ts'
import { serviceKey } from '../../src/mesh/workload.ts'

import type { SentResource } from '../../test/fixtures/discovery-codec.ts'
import type { NetworkAddress, Service, Workload } from '../../src/mesh/workload.ts'
import type { ModelMesh } from './model-mesh.ts'

/** A resource with its bytes. */
export type WireResource = SentResource & { readonly value: Uint8Array }

const DELIMITED = 2
const VARINT = 0
const WORKLOAD_TYPES: readonly Workload['workloadType'][] = ['deployment', 'cronjob', 'pod', 'job']

/** Every workload and service of the mesh. */
export function encodeMesh(model: ModelMesh, workloads: number): readonly WireResource[] {
  return model
    .slice(0, workloads)
    .flatMap((update) =>
      update.kind === 'workload'
        ? [encodeWorkload(update.upsert)]
        : update.kind === 'service'
          ? [encodeService(update.upsert)]
          : [],
    )
}

/** An Address that is a workload. Its version is a hash of its content, as since Istio 1.31. */
export function encodeWorkload(workload: Workload): WireResource {
  return resource(workload.uid, (writer) => {
    nested(writer, 1, () => {
      writeWorkload(writer, workload)
    })
  })
}

function encodeService(service: Service): WireResource {
  return resource(serviceKey(service), (writer) => {
    nested(writer, 2, () => {
      writeService(writer, service)
    })
  })
}

function resource(name: string, write: (writer: protobuf.Writer) => void): WireResource {
  const writer = protobuf.Writer.create()
  write(writer)
  const value = writer.finish()
  return { name, typeUrl: TYPE_URLS.address, version: contentHash(value), value }
}

/** istio/istio pkg/workloadapi/workload.proto, the fields that a pod has. */
function writeWorkload(writer: protobuf.Writer, workload: Workload): void {
  text(writer, 1, workload.name)
  text(writer, 2, workload.namespace)
  for (const { bytes } of workload.addresses) writer.uint32(tag(3, DELIMITED)).bytes(bytes)
  text(writer, 4, workload.network)
  text(writer, 7, workload.serviceAccount)
  text(writer, 9, workload.node)
  text(writer, 10, workload.canonicalName)
  text(writer, 11, workload.canonicalRevision)
  number(writer, 12, WORKLOAD_TYPES.indexOf(workload.workloadType))
  text(writer, 13, workload.workloadName)
  number(writer, 17, workload.status === 'unhealthy' ? 1 : 0)
  text(writer, 18, workload.clusterId)
  text(writer, 20, workload.uid)
  for (const [key, ports] of workload.services) {
    nested(writer, 22, () => {
      text(writer, 1, key)
      nested(writer, 2, () => {
        writePorts(writer, 1, ports)
      })
    })
  }
  nested(writer, 24, () => {
    text(writer, 1, workload.locality.region)
    text(writer, 2, workload.locality.zone)
    text(writer, 3, workload.locality.subzone)
  })
}

function writeService(writer: protobuf.Writer, service: Service): void {
  text(writer, 1, service.name)
  text(writer, 2, service.namespace)
  text(writer, 3, service.hostname)
  for (const vip of service.vips) {
    nested(writer, 4, () => {
      writeAddress(writer, vip)
    })
  }
  writePorts(writer, 5, service.ports)
  number(writer, 11, service.isCanonical ? 1 : 0)
}

function writeAddress(writer: protobuf.Writer, { network, ip }: NetworkAddress): void {
  text(writer, 1, network)
  writer.uint32(tag(2, DELIMITED)).bytes(ip.bytes)
}

function writePorts(writer: protobuf.Writer, field: number, ports: ReadonlyMap<number, number>): void {
  for (const [servicePort, targetPort] of ports) {
    nested(writer, field, () => {
      number(writer, 1, servicePort)
      number(writer, 2, targetPort)
    })
  }
}

function text(writer: protobuf.Writer, field: number, value: string): void {
  if (value !== '') writer.uint32(tag(field, DELIMITED)).string(value)
}

function number(writer: protobuf.Writer, field: number, value: number): void {
  if (value !== 0) writer.uint32(tag(field, VARINT)).uint32(value)
}

function nested(writer: protobuf.Writer, field: number, write: () => void): void {
  writer.uint32(tag(field, DELIMITED)).fork()
  write()
  writer.ldelim()
}

function tag(field: number, wireType: number): number {
  return (field << 3) | wireType
}

/** As long as the one that istiod computes, and different where the content is. */
function contentHash(value: Uint8Array): string {
  let high = 0x811c9dc5
  let low = 0x9e3779b1
  for (const byte of value) {
    high = Math.imul(high ^ byte, 0x01000193)
    low = Math.imul(low ^ byte, 0x85ebca6b)
  }
  return [high, low].map((part) => (part >>> 0).toString(16).padStart(8, '0')).join('')
}
