/** Decodes istio.workload.Address and istio.workload.Workload from their wire bytes. */
import { decodeResource, delimited, readFields, readNestedWith, wireFields } from '../reading/wire-message.ts'
import { readWireService } from './wire-service.ts'
import { readWireWorkload } from './wire-workload.ts'

import type { Path, Result } from '../../core/result.ts'
import type { MeshUpsert } from '../../mesh/store.ts'
import type { Service, Workload } from '../../mesh/workload.ts'
import type { AmbientPools, WireContext } from './wire-values.ts'

/** A workload or a service, as the mesh takes it. */
export type AddressUpsert = Extract<MeshUpsert, { readonly kind: 'workload' | 'service' }>

interface Draft {
  workload: Workload | undefined
  service: Service | undefined
  /** One of the two was there, even where nothing could be made of it. */
  hasType: boolean
}

const ADDRESS = wireFields<Draft, WireContext>({
  1: delimited((draft, reader, context) => {
    draft.hasType = true
    draft.service = undefined
    draft.workload = readNestedWith(reader, readWireWorkload, under('workload', context))
  }),
  2: delimited((draft, reader, context) => {
    draft.hasType = true
    draft.workload = undefined
    draft.service = readNestedWith(reader, readWireService, under('service', context))
  }),
})

/**
 * Decodes an istio.workload.Address. The bytes are not kept; `pools` are those of all resources of one mesh. A uid that is
 * equal to `name`, under which it came, is that same text: of 100,000 it counts.
 */
export function decodeAddressResource(
  value: Uint8Array,
  pools: AmbientPools,
  name = '',
): Result<AddressUpsert> {
  return decodeResource(value, (reader, onProblem) => {
    const draft: Draft = { workload: undefined, service: undefined, hasType: false }
    readFields(reader, ADDRESS, draft, { pools, name, onProblem })
    if (draft.workload !== undefined) return { kind: 'workload', upsert: draft.workload }
    if (draft.service !== undefined) return { kind: 'service', upsert: draft.service }
    if (!draft.hasType) onProblem([], 'an Address needs a workload or a service')
    return undefined
  })
}

/** Decodes an istio.workload.Workload, which stands by itself where that type is subscribed to. */
export function decodeWorkloadResource(value: Uint8Array, pools: AmbientPools): Result<AddressUpsert> {
  return decodeResource(value, (reader, onProblem) => {
    const workload = readWireWorkload(reader, { pools, name: '', onProblem })
    return workload && { kind: 'workload', upsert: workload }
  })
}

/** Problems of a part are told with its name before their path. */
function under(part: string, { pools, name, onProblem }: WireContext): WireContext {
  return {
    pools,
    name,
    onProblem: (path: Path, message, at) => onProblem([part, ...path], message, at),
  }
}
