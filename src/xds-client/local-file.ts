/**
 * Decodes ztunnel's local file (LOCAL_XDS_PATH, already parsed from YAML): the ambient mesh as one document with the
 * lists `workloads`, `policies` and `services`, each optional. Reading and watching the file is the caller's.
 */
import { policyKey, serviceKey } from '../mesh/workload.ts'
import { DecodeReport, rootField } from './reading/message-reader.ts'
import { decodeLocalAuthorization } from './resources/authorization.ts'
import { decodeLocalService } from './resources/service.ts'
import { decodeLocalWorkload } from './resources/workload.ts'

import type { MeshUpsert, ResourceKind } from '../mesh/store.ts'
import type { Field } from './reading/message-reader.ts'

/** The kinds that a local file is the whole state of, for `MeshStore.replace`. */
export const LOCAL_FILE_KINDS: readonly ResourceKind[] = ['workload', 'service', 'policy']

export interface LocalFile {
  readonly report: DecodeReport
  /** Incomplete when the report has errors: not to be used then. */
  readonly resources: readonly MeshUpsert[]
}

/** Decodes a whole local file, and finds every problem in it. An empty document is an empty mesh. */
export function decodeLocalFile(document: unknown): LocalFile {
  const report = new DecodeReport()
  const resources: MeshUpsert[] = []
  const message = rootField(document ?? {}, report).message('local file')
  if (message === undefined) return { report, resources }

  const uids = new UniqueKeys('uid')
  for (const field of message.takeList('workloads')) {
    const workload = decodeLocalWorkload(field)
    if (workload === undefined) continue
    uids.check(workload.uid, field)
    resources.push({ kind: 'workload', upsert: workload })
  }
  const serviceKeys = new UniqueKeys('service')
  for (const field of message.takeList('services')) {
    const service = decodeLocalService(field)
    if (service === undefined) continue
    serviceKeys.check(serviceKey(service), field)
    resources.push({ kind: 'service', upsert: service })
  }
  const policyKeys = new UniqueKeys('policy')
  for (const field of message.takeList('policies')) {
    const policy = decodeLocalAuthorization(field)
    if (policy === undefined) continue
    policyKeys.check(policyKey(policy), field)
    resources.push({ kind: 'policy', upsert: policy })
  }
  message.finish()
  return { report, resources }
}

/** Reports the second use of a key: the store would silently keep only the last. */
class UniqueKeys {
  readonly #what: string
  readonly #seen = new Set<string>()

  constructor(what: string) {
    this.#what = what
  }

  check(key: string, field: Field): void {
    if (this.#seen.has(key))
      field.error(`${this.#what} ${key} is there already; remove one of the two, or rename it`)
    this.#seen.add(key)
  }
}
