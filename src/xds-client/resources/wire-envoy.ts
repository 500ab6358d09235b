/**
 * Decodes Envoy's resources from their wire bytes: turns them into their JSON form and reads that as a file is read, but
 * leniently. A control plane cannot be told to remove a field, so what has no meaning here is listed instead of refused.
 */
import { DecodeReport, rootField } from '../reading/message-reader.ts'
import { decodeResource } from '../reading/wire-message.ts'
import { jsonForm } from '../reading/json-form.ts'
import { decodeCluster } from './cluster.ts'
import { decodeListener } from './listener.ts'
import { decodeLoadAssignment } from './load-assignment.ts'

import type { Problem, Result } from '../../core/result.ts'
import type { Cluster, LoadAssignment } from '../../mesh/cluster.ts'
import type { Listener } from '../../mesh/listener.ts'
import type { EnvoySchema } from '../reading/envoy-schema.ts'
import type { Field } from '../reading/message-reader.ts'

/** A resource, and what of it has no effect here: `Message.field`, each once, for /config_dump. */
export interface EnvoyResource<Value> {
  readonly value: Value
  readonly ignoredFields: readonly string[]
}

/** Decodes an envoy.config.cluster.v3.Cluster. */
export function decodeClusterResource(
  value: Uint8Array,
  schema: EnvoySchema,
): Result<EnvoyResource<Cluster>> {
  return decodeEnvoy(value, { schema, typeName: 'envoy.config.cluster.v3.Cluster', decode: decodeCluster })
}

/** Decodes an envoy.config.endpoint.v3.ClusterLoadAssignment. One without endpoints is fine. */
export function decodeAssignmentResource(
  value: Uint8Array,
  schema: EnvoySchema,
): Result<EnvoyResource<LoadAssignment>> {
  const typeName = 'envoy.config.endpoint.v3.ClusterLoadAssignment'
  return decodeEnvoy(value, { schema, typeName, decode: decodeLoadAssignment })
}

/** Decodes an envoy.config.listener.v3.Listener. */
export function decodeListenerResource(
  value: Uint8Array,
  schema: EnvoySchema,
): Result<EnvoyResource<Listener>> {
  return decodeEnvoy(value, { schema, typeName: 'envoy.config.listener.v3.Listener', decode: decodeListener })
}

function decodeEnvoy<Value>(
  value: Uint8Array,
  how: {
    readonly schema: EnvoySchema
    readonly typeName: string
    readonly decode: (field: Field) => Value | undefined
  },
): Result<EnvoyResource<Value>> {
  const report = new DecodeReport(undefined, 'wire')
  const form = decodeResource(value, (reader) =>
    jsonForm(reader, how.typeName, { schema: how.schema, report }),
  )
  if (!form.ok) return form
  const decoded = how.decode(rootField(form.value, report))
  const problems: readonly Problem[] = report.problems.filter(({ severity }) => severity === 'error')
  if (decoded === undefined || problems.length > 0) return { ok: false, problems }
  return { ok: true, value: { value: decoded, ignoredFields: report.ignoredFields } }
}
