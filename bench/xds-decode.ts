/**
 * What it costs to decode 100,000 dual-stack workloads from their wire bytes: the agent's own reader, which ends in checked
 * parts of the model, beside protobufjs's reflection, which ends in objects that would still have to be checked and converted.
 * In processor time, so that other load of the machine does not count.
 */
import protobuf from 'protobufjs'

import { FAMILIES } from '../src/core/family.ts'
import { decodeAddressResource } from '../src/xds-client/resources/wire-address.ts'
import { AmbientPools } from '../src/xds-client/resources/wire-values.ts'
import { ModelMesh } from './xds/model-mesh.ts'
import { encodeWorkload } from './xds/wire-mesh.ts'

import type { BoundedFigure, FigureBenchDeps } from './report/bounded-figure.ts'

const WORKLOADS = 100_000
/** Of these, each service has so many. */
const REPLICAS = 20

/** istio/istio pkg/workloadapi/workload.proto, the fields that wire-mesh.ts writes. */
const SCHEMA = `
  syntax = "proto3";
  package istio.workload;
  message Address { Workload workload = 1; }
  message Workload {
    string uid = 20; string name = 1; string namespace = 2; repeated bytes addresses = 3; string network = 4;
    string service_account = 7; string node = 9; string canonical_name = 10; string canonical_revision = 11;
    WorkloadType workload_type = 12; string workload_name = 13; WorkloadStatus status = 17; string cluster_id = 18;
    map<string, PortList> services = 22; Locality locality = 24;
  }
  enum WorkloadType { DEPLOYMENT = 0; CRONJOB = 1; POD = 2; JOB = 3; }
  enum WorkloadStatus { HEALTHY = 0; UNHEALTHY = 1; }
  message PortList { repeated Port ports = 1; }
  message Port { uint32 service_port = 1; uint32 target_port = 2; }
  message Locality { string region = 1; string zone = 2; string subzone = 3; }`

/** Measures rounds of both readers, which take turns; each round begins with nothing read. */
export function measureXdsDecode(
  { note, rounds }: FigureBenchDeps,
  workloads = WORKLOADS,
): readonly BoundedFigure[] {
  const model = new ModelMesh({ workloads, services: Math.ceil(workloads / REPLICAS), families: FAMILIES })
  const encoded = Array.from({ length: workloads }, (_, n) => encodeWorkload(model.workload(n)).value)
  const address = protobuf.parse(SCHEMA, { keepCase: true }).root.lookupType('istio.workload.Address')
  const ownMs: number[] = []
  const reflectionMs: number[] = []
  for (let round = 1; round <= rounds; round++) {
    note(`decode: round ${round} of ${rounds}`)
    const pools = new AmbientPools()
    ownMs.push(
      processorMs(encoded, (value) => {
        const decoded = decodeAddressResource(value, pools)
        if (!decoded.ok) throw new Error(decoded.problems[0]?.message)
      }),
    )
    reflectionMs.push(processorMs(encoded, (value) => address.decode(value)))
  }
  return [
    { title: 'all workloads decoded into the model, processor time', unit: 'ms', rounds: ownMs },
    { title: 'the same by reflection into its own objects', unit: 'ms', rounds: reflectionMs },
  ]
}

function processorMs(encoded: readonly Uint8Array[], decode: (value: Uint8Array) => unknown): number {
  const before = process.cpuUsage()
  for (const value of encoded) decode(value)
  return process.cpuUsage(before).user / 1_000
}
