import t from 'tap'

import { parseIp } from '../../../src/core/address.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { HostRefresher } from '../../../src/proxy/dns/host-refresher.ts'
import { systemResolver } from '../../../src/proxy/dns/system-resolver.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { aCluster } from '../../fixtures/mesh-builder.ts'

import type { Cluster } from '../../../src/mesh/cluster.ts'
import type { HostResolver } from '../../../src/proxy/dns/host-refresher.ts'

function dnsCluster(hostname: string, refreshMs: number): Cluster {
  const base = aCluster('dns', [])
  const endpoint = { id: hostname, weight: 1, priority: 0, health: 'healthy', protocol: 'tcp' } as const
  return {
    ...base,
    discovery: {
      kind: 'strict-dns',
      lookupFamily: 'all',
      refreshMs,
      assignment: {
        name: 'dns',
        endpoints: [{ ...endpoint, hosts: [{ kind: 'hostname', hostname, port: 80 }] }],
      },
    },
  }
}

/** A refresher whose resolver answers what the test puts into `answers`; a name without an answer fails. */
function startLab() {
  const store = new MeshStore()
  const clock = new FakeClock()
  const answers = new Map<string, readonly string[]>()
  const asked: string[] = []
  const warnings: string[] = []
  const resolver: HostResolver = {
    resolve: (hostname) => {
      asked.push(hostname)
      const answer = answers.get(hostname)
      return answer === undefined
        ? Promise.reject(new Error('ENOTFOUND'))
        : Promise.resolve(answer.map(parseIp))
    },
  }
  const logger = { ...silentLogger, log: (_: string, message: string) => void warnings.push(message) }
  return {
    store,
    clock,
    answers,
    asked,
    warnings,
    refresher: new HostRefresher({ store, clock, resolver, logger }),
  }
}

function addressesOf(store: MeshStore, hostname: string): readonly string[] | undefined {
  return store.snapshot.host.get(hostname)?.addresses.map(({ text }) => text)
}

t.test('resolves the names of clusters into both families, and again after their interval', async (t) => {
  const { store, clock, answers, refresher } = startLab()
  answers.set('db.example', ['10.0.0.1', 'fd00::1'])
  store.apply([{ kind: 'cluster', upsert: dnsCluster('db.example', 7_000) }])
  await refresher.start()
  t.strictSame(addressesOf(store, 'db.example'), ['10.0.0.1', 'fd00::1'])
  answers.set('db.example', ['10.0.0.2'])
  clock.advance(6_999)
  await Promise.resolve()
  t.strictSame(addressesOf(store, 'db.example'), ['10.0.0.1', 'fd00::1'])
  clock.advance(1)
  await eventually('the new answer is in force', () => addressesOf(store, 'db.example')?.[0] === '10.0.0.2')
  refresher.close()
  t.equal(clock.pendingTimers, 0)
})

t.test('keeps the last addresses while a name does not resolve, and says so once', async (t) => {
  const { store, clock, answers, asked, warnings, refresher } = startLab()
  answers.set('db.example', ['10.0.0.1'])
  store.apply([{ kind: 'cluster', upsert: dnsCluster('db.example', 1_000) }])
  await refresher.start()
  answers.clear()
  for (let round = 2; round <= 4; round++) {
    await eventually('the timer is set', () => clock.pendingTimers === 1)
    clock.advance(1_000)
    await eventually('it was asked again', () => asked.length === round)
  }
  await eventually('the timer is set', () => clock.pendingTimers === 1)
  t.strictSame(addressesOf(store, 'db.example'), ['10.0.0.1'])
  t.equal(warnings.length, 1)
  t.match(warnings[0], /cannot resolve db\.example; its last addresses stay in use: ENOTFOUND/)
  refresher.close()
})

t.test('forgets a name that nobody mentions any more', async (t) => {
  const { store, clock, answers, refresher } = startLab()
  answers.set('db.example', ['10.0.0.1'])
  store.apply([{ kind: 'cluster', upsert: dnsCluster('db.example', 1_000) }])
  await refresher.start()
  store.replace(['cluster'], [])
  t.equal(addressesOf(store, 'db.example'), undefined)
  t.equal(clock.pendingTimers, 0)
  refresher.close()
})

t.test('the resolver of the machine knows localhost', async (t) => {
  const addresses = await systemResolver.resolve('localhost')
  t.ok(addresses.some(({ text }) => text === '127.0.0.1' || text === '::1'))
})
