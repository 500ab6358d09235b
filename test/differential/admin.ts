/** What the admin endpoints of both proxies say, in one form. */
import { arrayOf, parseJson, recordOf, textOf } from '../fixtures/json.ts'

import type { Json } from '../fixtures/json.ts'
import type { RunningProxy } from './proxies.ts'

/** Lines about resources, by their names. */
export type Lines = Readonly<Record<string, string>>

/** The hosts of every cluster in /clusters: address, health, weight, priority and locality where not the default. */
export async function clusterHosts(proxy: RunningProxy): Promise<Lines> {
  const statuses = arrayOf(parseJson(await proxy.admin('/clusters?format=json')), 'cluster_statuses')
  return Object.fromEntries(
    statuses.map((status) => [
      textOf(status, 'name', ''),
      arrayOf(status, 'host_statuses').map(hostLine).sort().join('; '),
    ]),
  )
}

/** Which kinds of configuration /config_dump has. */
export async function dumpedKinds(proxy: RunningProxy): Promise<readonly string[]> {
  return (await configDump(proxy)).map((section) => textOf(section, '@type', '').replace(/^.*\./, ''))
}

/** The listeners of /config_dump: addresses, direction, and where each filter chain leads. */
export async function dumpedListeners(proxy: RunningProxy): Promise<Lines> {
  return linesOf(await configDump(proxy), 'static_listeners', 'listener', (listener) => {
    const addresses = [listener, ...arrayOf(listener, 'additional_addresses')]
    const chains = [...arrayOf(listener, 'filter_chains'), recordOf(listener, 'default_filter_chain')]
    return [
      addresses.map((each) => addressOf(recordOf(each, 'address'))).join(' '),
      textOf(listener, 'traffic_direction', 'UNSPECIFIED'),
      ...chains.flatMap((chain) => arrayOf(chain, 'filters')).map(targetOf),
    ].join(', ')
  })
}

/** The clusters of /config_dump: type, policy, timeout and the addresses of their endpoints. */
export async function dumpedClusters(proxy: RunningProxy): Promise<Lines> {
  return linesOf(await configDump(proxy), 'static_clusters', 'cluster', (cluster) =>
    [
      textOf(cluster, 'type', 'STATIC'),
      textOf(cluster, 'lb_policy', 'ROUND_ROBIN'),
      textOf(cluster, 'connect_timeout', '5s'),
      ...arrayOf(recordOf(cluster, 'load_assignment'), 'endpoints')
        .flatMap((locality) => arrayOf(locality, 'lb_endpoints'))
        .map(endpointLine),
    ].join(', '),
  )
}

async function configDump(proxy: RunningProxy): Promise<readonly Json[]> {
  return arrayOf(parseJson(await proxy.admin('/config_dump?include_eds')), 'configs')
}

function linesOf(
  sections: readonly Json[],
  listField: string,
  field: string,
  lineOf: (resource: Json) => string,
): Lines {
  const resources = sections
    .flatMap((section) => arrayOf(section, listField))
    .map((item) => recordOf(item, field))
  return Object.fromEntries(resources.map((resource) => [textOf(resource, 'name', ''), lineOf(resource)]))
}

function hostLine(host: Json): string {
  const health = recordOf(host, 'health_status')
  const locality = recordOf(host, 'locality')
  const zone = ['region', 'zone', 'sub_zone'].map((part) => textOf(locality, part, '')).join('/')
  const weight = textOf(host, 'weight', '1')
  const priority = textOf(host, 'priority', '0')
  return [
    addressOf(recordOf(host, 'address')),
    textOf(health, 'eds_health_status', 'UNKNOWN'),
    ...(health['failed_outlier_check'] === true ? ['ejected'] : []),
    ...(weight === '1' ? [] : [`weight ${weight}`]),
    ...(priority === '0' ? [] : [`priority ${priority}`]),
    ...(zone === '//' ? [] : [zone]),
  ].join(' ')
}

function endpointLine(lbEndpoint: Json): string {
  const endpoint = recordOf(lbEndpoint, 'endpoint')
  return [endpoint, ...arrayOf(endpoint, 'additional_addresses')]
    .map((each) => addressOf(recordOf(each, 'address')))
    .join(' ')
}

/** The cluster, or the clusters, of a tcp_proxy. */
function targetOf(filter: Json): string {
  const config = recordOf(filter, 'typed_config')
  const weighted = arrayOf(recordOf(config, 'weighted_clusters'), 'clusters')
  return weighted.length === 0
    ? textOf(config, 'cluster', '')
    : weighted.map((each) => `${textOf(each, 'name', '')} ${textOf(each, 'weight', '')}`).join(' ')
}

function addressOf(address: Json): string {
  const socketAddress = recordOf(address, 'socket_address')
  return `${textOf(socketAddress, 'address', '')}:${textOf(socketAddress, 'port_value', '')}`
}
