/** The agent as a process and its control plane: when it serves, what it keeps, and what it says. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { TYPE_URLS } from '../../src/xds-client/discovery.ts'
import { AdsServer } from '../fixtures/ads-server.ts'
import { addressOf, envoyBytes } from '../fixtures/envoy-wire.ts'
import { eventually } from '../fixtures/eventually.ts'
import { freePort } from '../fixtures/loopback.ts'
import { startProgram } from '../fixtures/program.ts'
import { recordedResources } from '../fixtures/recorded-xds.ts'
import { address } from '../xds-client/resources/envoy-documents.ts'

import type { Test } from 'tap'
import type { RunningProgram } from '../fixtures/program.ts'

const ADDRESSES = recordedResources('wds-dual-stack.delta', 'Address')
const skip = process.platform === 'linux' ? false : 'the ambient dialect needs redirection, which is Linux'

interface AgentLab {
  readonly agent: RunningProgram
  readonly server: AdsServer
  readonly get: (port: 'readiness' | 'metrics' | 'admin', path: string) => Promise<string>
}

async function startLab(
  t: Test,
  env: Readonly<Record<string, string>> = {},
  bootstrapOf?: (server: AdsServer) => unknown,
): Promise<AgentLab> {
  const server = await AdsServer.start()
  t.teardown(() => server.close())
  const bootstrap = bootstrapOf?.(server)
  const file = path.join(t.testdir(), 'bootstrap.json')
  if (bootstrap !== undefined) writeFileSync(file, JSON.stringify(bootstrap))
  const ports = { readiness: await freePort(), metrics: await freePort(), admin: await freePort() }
  const agent = startProgram(t, bootstrap === undefined ? ['agent'] : ['agent', '-c', file], {
    env: {
      ...(bootstrap === undefined && { XDS_ADDRESS: `http://127.0.0.1:${server.port}` }),
      POD_NAME: 'agent-0',
      POD_NAMESPACE: 'istio-system',
      INSTANCE_IPS: '10.0.0.1,fd00::1',
      ISTIO_DUAL_STACK: 'true',
      TWINSTACK_READINESS_PORT: String(ports.readiness),
      TWINSTACK_METRICS_PORT: String(ports.metrics),
      TWINSTACK_ADMIN_PORT: String(ports.admin),
      TWINSTACK_OUTBOUND_PORT: '0',
      TWINSTACK_INBOUND_PORT: '0',
      ...env,
    },
  })
  return {
    agent,
    server,
    get: async (port, path) => {
      const answer = await fetch(`http://127.0.0.1:${ports[port]}${path}`, {
        headers: { connection: 'close' },
        signal: AbortSignal.timeout(20_000),
      })
      return answer.text()
    },
  }
}

t.test('serves when the control plane has answered, and goes on without it', { skip }, async (t) => {
  const { agent, server, get } = await startLab(t)
  const stream = await server.nextStream()
  t.match(await stream.nextRequest(), {
    typeUrl: TYPE_URLS.address,
    nodeId: 'ztunnel~10.0.0.1~agent-0.istio-system~istio-system.svc.cluster.local',
  })
  const readyz = async (): Promise<string> => await get('readiness', '/readyz').catch(() => '')
  await eventually('the ports are open', async () => (await readyz()) !== '', 15_000)
  t.match(await readyz(), /^not ready\n {2}configuration: /)
  t.notMatch(await readyz(), 'outbound', 'no connection is accepted that nothing can judge')

  const damaged = { name: 'Kubernetes//Pod/a/b', value: Buffer.from([0xff]) }
  stream.respond({
    typeUrl: TYPE_URLS.address,
    nonce: '1',
    version: 'v1',
    resources: [...ADDRESSES, damaged],
  })
  stream.respond({ typeUrl: TYPE_URLS.authorization, nonce: '2', version: 'v1' })
  await eventually('it is ready', async () => (await readyz()).startsWith('ready\n'), 15_000)
  t.match(await readyz(), /outbound ipv4 .* bound[^]*outbound ipv6 .* bound/)

  const dump = JSON.parse(await get('admin', '/config_dump')) as unknown
  t.match(dump, {
    config: { dualStack: { mode: 'on' }, proxyMetadata: { ISTIO_DUAL_STACK: 'true' } },
    xds: {
      connected: true,
      types: [
        { typeUrl: TYPE_URLS.address, lastNack: { detail: /Kubernetes\/\/Pod\/a\/b/ } },
        { version: 'v1' },
      ],
    },
  })
  const metrics = await get('metrics', '/metrics')
  t.match(metrics, '\ntwinstack_xds_connected 1\n')
  t.match(metrics, '\ntwinstack_xds_messages_total{type="istio.workload.Address",result="rejected"} 1\n')
  t.match(metrics, '\ntwinstack_plaintext_permitted 0\n')

  await server.close()
  await eventually('the stream is gone', async () =>
    (await get('metrics', '/metrics')).includes('\ntwinstack_xds_connected 0\n'),
  )
  t.match(await readyz(), /^ready\n/)
  t.match(await get('metrics', '/metrics'), /\ntwinstack_xds_resources{type="workload"} [1-9]/)
  agent.signal('SIGTERM')
  t.strictSame(await agent.exit, { code: 0, signal: null })
})

t.test('ends on SIGTERM while it still waits for the control plane', { skip }, async (t) => {
  const { agent, server } = await startLab(t)
  await server.nextStream()
  agent.signal('SIGTERM')
  t.strictSame(await agent.exit, { code: 0, signal: null })
})

t.test('warns once when plain text is permitted, and shows it', { skip }, async (t) => {
  const { agent, server, get } = await startLab(t, { TWINSTACK_ALLOW_PLAINTEXT: 'true' })
  await server.nextStream()
  await agent.logged('plain text is permitted to every destination although the mesh asks for mTLS')
  await eventually(
    'the metric says so',
    async () =>
      (await get('metrics', '/metrics').catch(() => '')).includes('\ntwinstack_plaintext_permitted 1\n'),
    15_000,
  )
  t.match(JSON.parse(await get('admin', '/config_dump')), { config: { allowPlaintext: ['*'] } })
})

/** A bootstrap with a cluster and a listener of its own, and everything else from `server`. */
function bootstrapOf(server: AdsServer): unknown {
  const cluster = (name: string, port: number) => ({
    name,
    type: 'STATIC',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address('127.0.0.1', port) } }] }],
    },
  })
  const tcpProxy = {
    name: 'tcp',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
      stat_prefix: 'web',
      cluster: 'web',
    },
  }
  return {
    node: { id: 'sidecar~10.0.0.1~a.b~b.svc.cluster.local' },
    dynamic_resources: {
      lds_config: { ads: {} },
      cds_config: { ads: {} },
      ads_config: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }] },
    },
    static_resources: {
      clusters: [cluster('xds', server.port), cluster('web', 9)],
      listeners: [
        { name: 'front', address: address('127.0.0.1', 0), filter_chains: [{ filters: [tcpProxy] }] },
      ],
    },
  }
}

t.test('tells the control plane that static resources stay, by name', async (t) => {
  const { server, get } = await startLab(t, {}, bootstrapOf)
  const stream = await server.nextStream()
  const answer = (typeUrl: string, value: Uint8Array): void => {
    stream.respond({ typeUrl, nonce: typeUrl, version: 'v1', resources: [{ value }] })
  }
  answer(TYPE_URLS.cluster, envoyBytes('envoy.config.cluster.v3.Cluster', { name: 'web', type: 'STATIC' }))
  const front = { name: 'front', address: addressOf('127.0.0.1', 9) }
  answer(TYPE_URLS.listener, envoyBytes('envoy.config.listener.v3.Listener', front))
  await eventually('it is ready', async () =>
    (await get('readiness', '/readyz').catch(() => '')).startsWith('ready\n'),
  )
  t.match(JSON.parse(await get('admin', '/config_dump')), {
    xds: {
      types: [
        { typeUrl: TYPE_URLS.cluster, lastNack: { detail: /web.*static_resources has one of this name/ } },
        { typeUrl: TYPE_URLS.assignment },
        { typeUrl: TYPE_URLS.listener, lastNack: { detail: /front.*static_resources has one of this name/ } },
        { typeUrl: TYPE_URLS.nameTable },
      ],
    },
  })
  const metrics = await get('metrics', '/metrics')
  for (const type of ['cluster', 'listener'])
    t.match(metrics, `\ntwinstack_xds_resources{type="${type}"} 1\n`, 'the one of the bootstrap')
})
