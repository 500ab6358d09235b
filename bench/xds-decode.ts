/**
 * `node dist/bench/xds-decode.js`: how fast resources are decoded from their wire bytes, and what they weigh. Compares
 * ways to read 100,000 dual-stack workloads, and measures Envoy's resources as a real istiod sends them. Run it with
 * `--expose-gc` for the memory figures.
 */
import protobuf from 'protobufjs'

import { MeshStore } from '../src/mesh/store.ts'
import { loadEnvoySchema } from '../src/xds-client/reading/envoy-schema.ts'
import { decodeAddressResource } from '../src/xds-client/resources/wire-address.ts'
import {
  decodeAssignmentResource,
  decodeClusterResource,
  decodeListenerResource,
} from '../src/xds-client/resources/wire-envoy.ts'
import { AmbientPools } from '../src/xds-client/resources/wire-values.ts'
import { recordedResources } from '../test/fixtures/recorded-xds.ts'

import type { MeshUpsert } from '../src/mesh/store.ts'

const WORKLOADS = 100_000
const REPLICAS_PER_SERVICE = 20
const ROUNDS = 5

/** istio/istio pkg/workloadapi/workload.proto, the fields that a pod has. */
const SCHEMA = `
  syntax = "proto3";
  package istio.workload;
  message Address { Workload workload = 1; }
  message Workload {
    string uid = 20; string name = 1; string namespace = 2; repeated bytes addresses = 3; string network = 4;
    TunnelProtocol tunnel_protocol = 5; string service_account = 7; string node = 9; string canonical_name = 10;
    string canonical_revision = 11; WorkloadType workload_type = 12; string workload_name = 13;
    map<string, PortList> services = 22; string cluster_id = 18; Locality locality = 24;
  }
  enum TunnelProtocol { NONE = 0; HBONE = 1; }
  enum WorkloadType { DEPLOYMENT = 0; CRONJOB = 1; POD = 2; JOB = 3; }
  message PortList { repeated Port ports = 1; }
  message Port { uint32 service_port = 1; uint32 target_port = 2; }
  message Locality { string region = 1; string zone = 2; string subzone = 3; }`

function main(): void {
  const address = protobuf.parse(SCHEMA, { keepCase: true }).root.lookupType('istio.workload.Address')
  const encoded = Array.from({ length: WORKLOADS }, (_, index) => encodeWorkload(address, index))
  note(`${WORKLOADS} dual-stack workloads, ${Math.round(averageLength(encoded))} bytes each`)
  measure('own reader, into the model', encoded, () => {
    const pools = new AmbientPools()
    return (value) => decodeAddressResource(value, pools)
  })
  measure('protobufjs reflection, into its own objects', encoded, () => (value) => address.decode(value))
  measure(
    'protobufjs reflection, into JSON form',
    encoded,
    () => (value) => address.toObject(address.decode(value), { enums: String, bytes: String }),
  )
  weigh(encoded)
  measureEnvoy()
}

/** A pod of a deployment of twenty, on one of 200 nodes, with one service of two ports. */
function encodeWorkload(address: protobuf.Type, index: number): Uint8Array {
  const service = Math.floor(index / REPLICAS_PER_SERVICE)
  const namespace = `team-${service % 100}`
  const app = `app-${service}`
  const name = `${app}-6d4cf56db6-${index.toString(36).padStart(5, '0')}`
  const [high, low] = [index >> 8, index & 255]
  const ipv6 = [0xfd, 0, 0, 0x10, 2, 0x44, 0, 0, 0, 0, 0, 0, 0, high >> 8, high & 255, low]
  return address
    .encode({
      workload: {
        uid: `Kubernetes//Pod/${namespace}/${name}`,
        name,
        namespace,
        addresses: [Buffer.from([10, high >> 8, high & 255, low]), Buffer.from(ipv6)],
        network: '',
        tunnel_protocol: 1,
        service_account: app,
        node: `node-${index % 200}`,
        canonical_name: app,
        canonical_revision: 'v1',
        workload_type: 2,
        workload_name: app,
        services: {
          [`${namespace}/${app}.${namespace}.svc.cluster.local`]: {
            ports: [
              { service_port: 80, target_port: 8080 },
              { service_port: 443, target_port: 8443 },
            ],
          },
        },
        cluster_id: 'Kubernetes',
        locality: { region: 'region', zone: `zone-${index % 3}` },
      },
    })
    .finish()
}

/** Prints the best of some rounds, each with a fresh decoder, in CPU time: other load of the machine does not count. */
function measure(
  what: string,
  encoded: readonly Uint8Array[],
  makeDecoder: () => (value: Uint8Array) => unknown,
): void {
  let bestMs = Infinity
  for (let round = 0; round < ROUNDS; round++) {
    const decode = makeDecoder()
    const before = process.cpuUsage()
    for (const value of encoded) decode(value)
    bestMs = Math.min(bestMs, process.cpuUsage(before).user / 1_000)
  }
  const each = (bestMs * 1_000) / encoded.length
  note(`${what}: ${bestMs.toFixed(0)} ms of CPU for ${encoded.length}, ${each.toFixed(2)} µs each`)
}

/** What the decoded workloads weigh in the mesh with its indexes. */
function weigh(encoded: readonly Uint8Array[]): void {
  const before = heapBytes()
  const pools = new AmbientPools()
  const store = new MeshStore()
  const batch: MeshUpsert[] = encoded.flatMap((value) => {
    const decoded = decodeAddressResource(value, pools)
    return decoded.ok ? [decoded.value] : []
  })
  const decodedBytes = heapBytes() - before
  store.apply(batch)
  batch.length = 0
  const totalBytes = heapBytes() - before
  const perWorkload = (bytes: number): string => `${(bytes / encoded.length).toFixed(0)} bytes`
  note(
    `in memory, per workload: ${perWorkload(decodedBytes)} decoded, ${perWorkload(totalBytes)} for the ${store.snapshot.workload.size} in the store with its indexes`,
  )
}

function measureEnvoy(): void {
  const startedAt = performance.now()
  const schema = loadEnvoySchema()
  note(`Envoy's schema: loaded in ${(performance.now() - startedAt).toFixed(0)} ms`)
  const recording = 'sidecar-tcp-echo-dual-stack.sotw'
  const kinds = [
    ['Cluster', decodeClusterResource],
    ['ClusterLoadAssignment', decodeAssignmentResource],
    ['Listener', decodeListenerResource],
  ] as const
  for (const [typeName, decode] of kinds) {
    const recorded = recordedResources(recording, typeName).map(({ value }) => value)
    const many = Array.from({ length: Math.ceil(2_000 / recorded.length) }, () => recorded).flat()
    note(`${typeName}: ${Math.round(averageLength(many))} bytes each`)
    measure(`${typeName}, bytes to model`, many, () => (value) => decode(value, schema))
  }
}

function averageLength(values: readonly Uint8Array[]): number {
  return values.reduce((sum, { length }) => sum + length, 0) / values.length
}

function heapBytes(): number {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

function note(text: string): void {
  process.stdout.write(`${text}\n`)
}

main()
