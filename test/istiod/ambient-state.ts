/** What a node proxy knows of the mesh, in the words of its /config_dump. */
import { arrayOf, parseJson, recordOf, textOf } from '../fixtures/json.ts'

import type { NamespaceHost } from '../fixtures/namespace-host.ts'
import type { Json } from '../fixtures/json.ts'

/** One line about each resource, by its name. */
export type Lines = Readonly<Record<string, string>>

export const ADMIN_PORT = 15_000

/** Addresses and protocol of each workload, by uid. */
export async function knownWorkloads(host: NamespaceHost): Promise<Lines> {
  return linesOf(await dumpOf(host), 'workloads', 'uid', (workload) => {
    return [...textsOf(workload, 'workloadIps'), textOf(workload, 'protocol', '')].join(' ')
  })
}

/** Families, addresses and the pods behind each service, by its host name. */
export async function knownServices(host: NamespaceHost): Promise<Lines> {
  return linesOf(await dumpOf(host), 'services', 'hostname', (service) => {
    const vips = textsOf(service, 'vips').map(lastPart)
    const pods = Object.keys(recordOf(service, 'endpoints')).map(lastPart).sort()
    return [textOf(service, 'ipFamilies', 'automatic'), ...vips, ...pods].join(' ')
  })
}

/** The action of each policy, by name. */
export async function knownPolicies(host: NamespaceHost): Promise<Lines> {
  return linesOf(await dumpOf(host), 'policies', 'name', (policy) => textOf(policy, 'action', ''))
}

/** State and name of each captured pod, by the UID that Kubernetes gave it. */
export async function capturedPods(host: NamespaceHost): Promise<Lines> {
  const states = recordOf(await dumpOf(host), 'workloadState')
  return Object.fromEntries(
    Object.keys(states).map((uid) => {
      const state = recordOf(states, uid)
      const info = recordOf(state, 'info')
      const name = `${textOf(info, 'namespace', '')}/${textOf(info, 'name', '')}`
      return [uid, `${textOf(state, 'state', '')} ${name}`]
    }),
  )
}

async function dumpOf(host: NamespaceHost): Promise<Json> {
  return parseJson(await host.get(ADMIN_PORT, '/config_dump'))
}

function linesOf(dump: Json, list: string, name: string, lineOf: (resource: Json) => string): Lines {
  return Object.fromEntries(
    arrayOf(dump, list).map((resource) => [textOf(resource, name, ''), lineOf(resource)]),
  )
}

/** Of a uid the name of the pod, of a network and address the address. */
function lastPart(text: string): string {
  return text.slice(text.lastIndexOf('/') + 1)
}

function textsOf(value: Json, field: string): readonly string[] {
  const found: unknown = value[field]
  return Array.isArray(found) ? found.map(String) : []
}
