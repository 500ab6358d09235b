/** Which files are taken at all. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'

import {
  address,
  bootstrap,
  cluster,
  filterChain,
  lbEndpoint,
  listener,
  loadAssignment,
  typed,
} from '../../xds-client/resources/envoy-documents.ts'
import { text } from '../observation.ts'

import type { Message } from '../../xds-client/resources/envoy-documents.ts'
import type { Observation } from '../observation.ts'
import type { Lab, Scenario } from '../scenario.ts'

const NODE = { node: { id: 'lab', cluster: 'lab' } }

function withEndpoints(endpoints: readonly Message[], rest: Message = {}): Message {
  return bootstrap({ clusters: [cluster({ load_assignment: loadAssignment(endpoints), ...rest })] })
}

function withListener(rest: Message): Message {
  return bootstrap({ listeners: [listener(rest)] })
}

function withSources(sources: Message): Message {
  return bootstrap({ clusters: [cluster({ upstream_bind_config: sources })] })
}

function eds(file: string): Message {
  const eds_cluster_config = { eds_config: { path_config_source: { path: file } } }
  return { clusters: [{ name: 'web', type: 'EDS', eds_cluster_config }] }
}

function withFormat(template: string): Message {
  const log_format = { text_format_source: { inline_string: template } }
  return withListener({ access_log: [typed('access_loggers.stream.v3.StdoutAccessLog', { log_format })] })
}

function matching(match: Message): Message {
  return withListener({ filter_chains: [filterChain('web', { filter_chain_match: match })] })
}

const TEN = lbEndpoint('10.0.0.1', 80)
const SOURCE = { address: '10.0.0.6', port_value: 0 }

/** Each is the bootstrap of one listener and one cluster with one thing changed. */
const FILES: Readonly<Record<string, Message>> = {
  'one listener and one cluster': bootstrap(),
  'a field that there is not': bootstrap({}, { nodes: {} }),
  'a cluster that there is not': bootstrap({ clusters: [cluster({ name: 'other' })] }),
  'a cluster without endpoints': withEndpoints([]),
  'an endpoint twice': withEndpoints([TEN, TEN]),
  'an endpoint with a host name': withEndpoints([lbEndpoint('web.test', 80)]),
  'an endpoint at port 0': withEndpoints([lbEndpoint('10.0.0.1', 0)]),
  'a link-local endpoint without a zone': withEndpoints([lbEndpoint('fe80::1', 80)]),
  'a LOGICAL_DNS cluster of two endpoints': withEndpoints([TEN, lbEndpoint('web.test', 80)], {
    type: 'LOGICAL_DNS',
  }),
  'an ORIGINAL_DST cluster with ROUND_ROBIN': bootstrap({
    clusters: [{ name: 'web', type: 'ORIGINAL_DST' }],
  }),
  'connect_timeout 0s': bootstrap({ clusters: [cluster({ connect_timeout: '0s' })] }),
  'EDS without a node': bootstrap(eds('./endpoints.json')),
  'EDS from a path without a folder': bootstrap(eds('endpoints.json'), NODE),
  'EDS from a file that there is not': bootstrap(eds('./nothing.json'), NODE),
  'a listener without a name': bootstrap({ listeners: [{ ...listener(), name: '' }] }),
  'a listener with one address twice': withListener({
    additional_addresses: [{ address: address('0.0.0.0', 80) }],
  }),
  'a listener without filter chains': withListener({ filter_chains: [] }),
  'ipv4_compat on an additional address': withListener({
    address: address('127.0.0.1', 80),
    additional_addresses: [{ address: address('::', 81, { ipv4_compat: true }) }],
  }),
  'ipv4_compat on ::1': withListener({ address: address('::1', 80, { ipv4_compat: true }) }),
  'a mapped address without ipv4_compat': withListener({ address: address('::ffff:127.0.0.1', 80) }),
  'two filter chains that match the same': withListener({
    filter_chains: [filterChain('web'), filterChain('web')],
  }),
  'a filter chain for a mapped prefix': matching({
    prefix_ranges: [{ address_prefix: '::ffff:10.0.0.0', prefix_len: 104 }],
  }),
  'a prefix of more bits than there are': matching({
    prefix_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 33 }],
  }),
  'keepalive_time 0': withListener({ tcp_keepalive: { keepalive_time: 0 } }),
  'two sources of one family': withSources({
    source_address: SOURCE,
    extra_source_addresses: [{ address: { address: '10.0.0.7', port_value: 0 } }],
  }),
  'only an extra source': withSources({ extra_source_addresses: [{ address: SOURCE }] }),
  'an access log operator that there is not': withFormat('%NOTHING%\n'),
  'an access log operator with a length': withFormat('%UPSTREAM_CLUSTER:3%\n'),
}

const ENDPOINTS: Message = {
  resources: [
    { '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', cluster_name: 'web' },
  ],
}

async function verdicts({ proxy }: Lab): Promise<Readonly<Record<string, Observation>>> {
  const details: Record<string, Observation> = {}
  writeFileSync(path.join(proxy.folder, 'endpoints.json'), JSON.stringify(ENDPOINTS))
  for (const [index, [name, document]] of Object.entries(FILES).entries()) {
    const file = `verdict-${index}.json`
    writeFileSync(path.join(proxy.folder, file), JSON.stringify(document))
    details[name] = text((await proxy.takes(file)) ? 'taken' : 'refused')
  }
  return details
}

export const VERDICTS: Scenario = { file: 'minimal', cases: { verdicts } }
