/** The decoders of both dialects as the sinks take them, each with what it shares among resources. */
import { decodeAddressResource } from '../resources/wire-address.ts'
import { decodeAuthorizationResource } from '../resources/wire-authorization.ts'
import {
  decodeAssignmentResource,
  decodeClusterResource,
  decodeListenerResource,
} from '../resources/wire-envoy.ts'
import { decodeNameTableResource } from '../resources/name-table.ts'
import { AmbientPools } from '../resources/wire-values.ts'

import type { AmbientDecoders } from './ambient-sink.ts'
import type { EnvoyDecoders } from './envoy-sink.ts'
import type { EnvoySchema } from '../reading/envoy-schema.ts'

/** The decoders of one mesh, whose resources share what is equal among them. */
export function ambientDecoders(pools = new AmbientPools()): AmbientDecoders {
  return {
    address: (value, name) => decodeAddressResource(value, pools, name),
    authorization: decodeAuthorizationResource,
  }
}

export function envoyDecoders(schema: EnvoySchema): EnvoyDecoders {
  return {
    cluster: (value) => decodeClusterResource(value, schema),
    assignment: (value) => decodeAssignmentResource(value, schema),
    listener: (value) => decodeListenerResource(value, schema),
    nameTable: decodeNameTableResource,
  }
}
