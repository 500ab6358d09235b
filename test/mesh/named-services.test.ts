/** Which services an address means. */
import t from 'tap'

import { parseSocketAddress } from '../../src/core/address.ts'
import { NamedServices } from '../../src/mesh/named-services.ts'
import { MeshStore } from '../../src/mesh/store.ts'
import { endpoint, host, staticCluster } from './envoy-fixtures.ts'

import type { MeshUpdate } from '../../src/mesh/store.ts'

function name(hostname: string, ...addresses: readonly string[]): MeshUpdate {
  return { kind: 'name', upsert: host(hostname, ...addresses) }
}

function cluster(clusterName: string): MeshUpdate {
  return { kind: 'cluster', upsert: staticCluster(clusterName, endpoint('10.1.0.1:80')) }
}

function start(...updates: readonly MeshUpdate[]) {
  const store = new MeshStore()
  store.apply(updates)
  const services = new NamedServices()
  const at = (address: string): readonly string[] =>
    services.clustersAt(parseSocketAddress(address), store.snapshot).map((found) => found.name)
  return { store, at }
}

t.test('an address means the cluster of its name and port, in both families', (t) => {
  const { at } = start(
    name('a.shop', '10.96.0.1', 'fd96::1'),
    ...['outbound|80||a.shop', 'outbound|81||a.shop', 'outbound|80|v1|a.shop', 'a.shop'].map(cluster),
  )
  t.strictSame(at('10.96.0.1:80'), ['outbound|80||a.shop'])
  t.strictSame(at('[fd96::1]:80'), ['outbound|80||a.shop'])
  t.strictSame(at('10.96.0.1:81'), ['outbound|81||a.shop'])
  t.strictSame(at('10.96.0.1:82'), [], 'a port that it does not have')
  t.strictSame(at('10.96.0.2:80'), [], 'an address without a name')
  t.end()
})

t.test('an address of several names means each that has a cluster, once', (t) => {
  const { at } = start(
    name('a.shop', '10.96.0.1', '10.96.0.1'),
    name('b.shop', '10.96.0.1'),
    name('pod-0.b.shop', '10.96.0.1'),
    ...['outbound|80||a.shop', 'outbound|80||b.shop'].map(cluster),
  )
  t.strictSame(at('10.96.0.1:80'), ['outbound|80||a.shop', 'outbound|80||b.shop'])
  t.end()
})

t.test('follows names and clusters as they come, change and go', (t) => {
  const { store, at } = start(name('a.shop', '10.96.0.1'))
  t.strictSame(at('10.96.0.1:80'), [])
  store.apply([cluster('outbound|80||a.shop')])
  t.strictSame(at('10.96.0.1:80'), ['outbound|80||a.shop'])
  store.apply([name('a.shop', '10.96.0.2')])
  t.strictSame(at('10.96.0.1:80'), [])
  t.strictSame(at('10.96.0.2:80'), ['outbound|80||a.shop'])
  store.apply([{ kind: 'name', remove: 'a.shop' }])
  t.strictSame(at('10.96.0.2:80'), [])
  t.end()
})
