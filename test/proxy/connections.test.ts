/** What is asked about live connections, and what they teach about endpoints, as far as it needs no real socket. */
import t from 'tap'

import { parseIp, parseSocketAddress } from '../../src/core/address.ts'
import { seededRandom } from '../../src/core/random.ts'
import { DEFAULT_UPSTREAM_SETTINGS } from '../../src/mesh/upstream.ts'
import { LocalConnectionLimits } from '../../src/proxy/connection-limits.ts'
import { DEFAULT_CONNECTION_OPTIONS } from '../../src/proxy/connection-options.ts'
import { Connections } from '../../src/proxy/connections.ts'
import { FamilyHealth } from '../../src/proxy/endpoint-health.ts'
import { LoopGuard } from '../../src/proxy/loop-guard.ts'
import { ProxyStats } from '../../src/proxy/proxy-stats.ts'
import { ProxyTotals } from '../../src/proxy/proxy-totals.ts'
import { UpstreamEnds } from '../../src/proxy/upstream-ends.ts'
import { UpstreamStates } from '../../src/proxy/upstream-state.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'
import { FakeSocket, fakeTransport } from '../fixtures/fake-transport.ts'
import { aListener, anEndpoint } from '../fixtures/mesh-builder.ts'

import type { Route } from '../../src/mesh/router.ts'
import type { RouteWaiter } from '../../src/proxy/route-source.ts'

const OUTBOUND = aListener('outbound', [['0.0.0.0', 15_001]], '')
const INBOUND = aListener('inbound', [['0.0.0.0', 15_006]], '', { direction: 'inbound' })
const V4 = parseSocketAddress('10.1.0.1:80')
const V6 = parseSocketAddress('[fd01::1]:80')
const ENDPOINT = anEndpoint(['10.1.0.1:80', '[fd01::1]:80'])
const ROUTE: Route = {
  kind: 'upstream',
  upstream: { name: 'echo', ...DEFAULT_UPSTREAM_SETTINGS, endpoints: [ENDPOINT] },
  settings: { accessLogs: [] },
  labels: {},
}

function start() {
  const clock = new FakeClock()
  const { transport, attempts } = fakeTransport()
  const health = new FamilyHealth()
  const waiting: RouteWaiter[] = []
  const totals = new ProxyTotals()
  const connections = new Connections(
    {
      transport,
      clock,
      health,
      random: seededRandom(1),
      logger: { isEnabled: () => false, log: () => undefined },
      routes: { route: (_, waiter) => waiting.push(waiter) },
      stats: new ProxyStats({ slots: totals.open('main'), entryOf: totals.listeners.entryOf }),
      upstreams: new UpstreamStates(),
      limits: new LocalConnectionLimits(),
      loops: new LoopGuard(UpstreamEnds.allocate(64)),
      observer: { connected: () => undefined, closed: () => undefined },
      isOwnAddress: () => false,
      hasRoom: () => true,
    },
    DEFAULT_CONNECTION_OPTIONS,
  )
  /** Accepts a connection in a pod that has these addresses. */
  const accept = (listener: typeof INBOUND, addresses: readonly string[]): FakeSocket => {
    const socket = new FakeSocket('10.0.0.9:1234')
    const pod = {
      uid: 'uid',
      name: 'pod',
      namespace: 'shop',
      serviceAccount: 'default',
      addresses: addresses.map(parseIp),
    }
    connections.accept(socket, listener, { pod, namespace: { id: 1, fd: 9 } })
    return socket
  }
  return { connections, accept, waiting, attempts, health }
}

t.test('rule 12: policies are not asked about a connection that has no route yet', async (t) => {
  const { connections, accept, waiting } = start()
  const socket = accept(INBOUND, ['10.244.0.7'])
  t.equal(waiting.length, 1)
  t.strictSame(connections.judged(['inbound']), [], 'its pod may not be known yet')
  waiting[0]?.routed(ROUTE)
  t.equal(connections.judged(['inbound']).length, 1)
  t.strictSame(connections.judged(['outbound']), [])
  connections.closeAll('policy_changed')
  t.ok(socket.isReset)
})

for (const [has, addresses, isHealthy] of [
  ['no address of', ['10.244.0.7'], true],
  ['only a link-local address of', ['10.244.0.7', 'fe80::7%eth0'], true],
  ['an address of', ['10.244.0.7', 'fd00::7'], false],
] as const) {
  t.test(
    `rule 7: a family that cannot be reached from a pod with ${has} it is ${isHealthy ? 'no' : 'a'} fault of the endpoint`,
    async (t) => {
      const { accept, waiting, attempts, health } = start()
      const socket = accept(OUTBOUND, addresses)
      waiting[0]?.routed(ROUTE)
      attempts[0]?.fail('refused')
      attempts[1]?.fail('unreachable')
      t.strictSame(
        attempts.map(({ to }) => to),
        ['10.1.0.1:80', '[fd01::1]:80'],
      )
      t.ok(socket.isReset)
      const endpointId = ENDPOINT.id
      t.equal(health.isHealthy({ endpointId, family: V4.ip.family }, 0), false)
      t.equal(health.isHealthy({ endpointId, family: V6.ip.family }, 0), isHealthy)
    },
  )
}
