/** What a sidecar knows of the mesh, in the words of its /config_dump. */
import { arrayOf, parseJson, recordOf, textOf } from '../fixtures/json.ts'
import { socketText } from '../fixtures/socket-text.ts'
import { ADMIN_PORT } from './ambient-state.ts'

import type { NamespaceHost } from '../fixtures/namespace-host.ts'
import type { Json } from '../fixtures/json.ts'
import type { Lines } from './ambient-state.ts'

/** The addresses of each listener, by name, primary one first. */
export async function knownListeners(host: NamespaceHost): Promise<Lines> {
  const states = await sectionOf(host, 'ListenersConfigDump', 'dynamic_listeners')
  return Object.fromEntries(
    states
      .map((state) => recordOf(recordOf(state, 'active_state'), 'listener'))
      .map((listener) => [textOf(listener, 'name', ''), addressesIn(listener)]),
  )
}

/** The addresses of the endpoints of each cluster, by its name: those of one endpoint together, endpoints in order. */
export async function knownEndpoints(
  host: NamespaceHost,
): Promise<Readonly<Record<string, readonly string[]>>> {
  const configs = await sectionOf(host, 'EndpointsConfigDump', 'dynamic_endpoint_configs')
  return Object.fromEntries(
    configs
      .map((config) => recordOf(config, 'endpoint_config'))
      .map((assignment) => [
        textOf(assignment, 'cluster_name', ''),
        arrayOf(assignment, 'endpoints')
          .flatMap((locality) => arrayOf(locality, 'lb_endpoints'))
          .map((lbEndpoint) => addressesIn(recordOf(lbEndpoint, 'endpoint')))
          .sort(),
      ]),
  )
}

async function sectionOf(host: NamespaceHost, section: string, list: string): Promise<readonly Json[]> {
  const dump = parseJson(await host.get(ADMIN_PORT, '/config_dump?include_eds'))
  const found = arrayOf(dump, 'configs').find((each) => textOf(each, '@type', '').endsWith(`.${section}`))
  return found === undefined ? [] : arrayOf(found, list)
}

function addressesIn(resource: Json): string {
  return [resource, ...arrayOf(resource, 'additional_addresses')]
    .map((each) => recordOf(recordOf(each, 'address'), 'socket_address'))
    .map((address) => socketText(textOf(address, 'address', ''), textOf(address, 'port_value', '')))
    .join(' ')
}
