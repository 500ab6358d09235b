/** Batches, identity and notification of the mesh store. */
import t from 'tap'

import { MeshStore } from '../../src/mesh/store.ts'
import { endpoint, host, listener, staticCluster } from './envoy-fixtures.ts'

import type { MeshChange, MeshUpsert } from '../../src/mesh/store.ts'

/** A change as plain data, for comparison. */
function plain(change: MeshChange): Record<string, readonly string[]> {
  return Object.fromEntries([...change].map(([kind, keys]) => [kind, [...keys].sort()]))
}

function cluster(name: string, address = '10.0.0.1:80'): MeshUpsert {
  return { kind: 'cluster', upsert: staticCluster(name, endpoint(address)) }
}

t.test('says which resources a batch added, changed and removed', (t) => {
  const store = new MeshStore()
  t.strictSame(plain(store.apply([cluster('a'), cluster('b')])), { cluster: ['a', 'b'] })
  const change = store.apply([
    cluster('a', '10.0.0.2:80'),
    cluster('b'),
    cluster('c'),
    { kind: 'host', upsert: host('x.example') },
  ])
  t.strictSame(plain(change), { cluster: ['a', 'c'], host: ['x.example'] })
  t.strictSame(plain(store.apply([{ kind: 'cluster', remove: 'a' }])), { cluster: ['a'] })
  t.strictSame([...store.snapshot.cluster.keys()], ['b', 'c'])
  t.end()
})

t.test('removes before it adds, whatever the order in the batch', (t) => {
  const store = new MeshStore()
  store.apply([cluster('a')])
  store.apply([cluster('a', '10.0.0.2:80'), { kind: 'cluster', remove: 'a' }])
  t.ok(store.snapshot.cluster.has('a'))
  t.end()
})

t.test('keeps the identity of a resource that comes again unchanged', (t) => {
  const store = new MeshStore()
  store.apply([cluster('a')])
  const held = store.snapshot.cluster.get('a')
  const version = store.snapshot.version
  t.strictSame(plain(store.apply([cluster('a')])), {})
  t.strictSame(plain(store.apply([{ kind: 'cluster', remove: 'a' }, cluster('a')])), {})
  t.equal(store.snapshot.cluster.get('a'), held)
  t.equal(store.snapshot.version, version, 'no change, no new version')
  t.end()
})

t.test('leaves a snapshot that somebody holds as it was', (t) => {
  const store = new MeshStore()
  store.apply([cluster('a')])
  const before = store.snapshot
  store.apply([cluster('b'), { kind: 'cluster', remove: 'a' }])
  t.strictSame([...before.cluster.keys()], ['a'])
  t.strictSame([...store.snapshot.cluster.keys()], ['b'])
  t.equal(store.snapshot.version, before.version + 1)
  t.equal(store.snapshot.listener, before.listener, 'maps of kinds that did not change stay the same')
  t.end()
})

t.test('makes the named kinds exactly what is given and leaves the others', (t) => {
  const store = new MeshStore()
  const web: MeshUpsert = { kind: 'listener', upsert: listener('web', ['0.0.0.0:80']) }
  store.apply([cluster('a'), cluster('b'), web])
  t.strictSame(plain(store.replace(['cluster'], [cluster('b'), cluster('c')])), { cluster: ['a', 'c'] })
  t.strictSame([...store.snapshot.cluster.keys()].sort(), ['b', 'c'])
  t.ok(store.snapshot.listener.has('web'))
  t.strictSame(plain(store.replace(['cluster', 'listener'], [])), { cluster: ['b', 'c'], listener: ['web'] })
  t.end()
})

t.test('does not mistake resources of two kinds with one key for each other', (t) => {
  const store = new MeshStore()
  store.apply([cluster('web'), { kind: 'listener', upsert: listener('web', ['0.0.0.0:80']) }])
  t.strictSame(plain(store.replace(['cluster', 'listener'], [cluster('web')])), { listener: ['web'] })
  t.end()
})

t.test('tells watchers once per batch, after the swap, and never of a batch without change', (t) => {
  const store = new MeshStore()
  const heard: Record<string, readonly string[]>[] = []
  const stop = store.watch((change, snapshot) => {
    t.equal(store.snapshot, snapshot, 'the swap has been made')
    heard.push(plain(change))
  })
  store.apply([cluster('a'), cluster('b')])
  store.apply([cluster('a')])
  store.apply([{ kind: 'cluster', remove: 'none' }])
  stop()
  store.apply([cluster('c')])
  t.strictSame(heard, [{ cluster: ['a', 'b'] }])
  t.end()
})

t.test('tells every watcher of a batch when one stops while it is told', (t) => {
  const store = new MeshStore()
  let heard = 0
  const stop = store.watch(() => {
    stop()
  })
  store.watch(() => {
    heard++
  })
  store.apply([cluster('a')])
  t.equal(heard, 1)
  t.end()
})
