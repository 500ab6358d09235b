/** Following a mesh file: when an edit takes effect, and what stays when it is wrong. */
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'

import t from 'tap'

import { MeshFileSource, POLL_INTERVAL_MS, fileSystem } from '../../../src/agent/source/mesh-file-source.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { bootstrapText, clusterOf, listenerOn } from '../../fixtures/envoy-files.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'

import type { Test } from 'tap'
import type { Clock } from '../../../src/core/clock.ts'
import type { MeshFileSourceDeps } from '../../../src/agent/source/mesh-file-source.ts'

const MESH = '/mesh/envoy.yaml'
const UNAVAILABLE = { isAvailable: false, reason: 'not part of this test' } as const
const CAPABILITIES = {
  originalDestination: UNAVAILABLE,
  transparentSource: UNAVAILABLE,
  packetMark: UNAVAILABLE,
  socketOptions: UNAVAILABLE,
  userTimeout: UNAVAILABLE,
  splice: UNAVAILABLE,
  networkNamespaces: UNAVAILABLE,
}

/** Files in memory that count how often each is read. A write is a new version, also of an equal text. */
class FakeFiles {
  readonly #files = new Map<string, { readonly text: string; readonly version: number }>()
  readonly reads: string[] = []
  #version = 0

  write(file: string, text: string): void {
    this.#files.set(file, { text, version: ++this.#version })
  }

  remove(file: string): void {
    this.#files.delete(file)
  }

  readonly readFile = (file: string): Promise<string> => {
    this.reads.push(file)
    const found = this.#files.get(file)
    if (found !== undefined) return Promise.resolve(found.text)
    return Promise.reject(Object.assign(new Error(`ENOENT: ${file}`), { code: 'ENOENT' }))
  }

  readonly fingerprint = (file: string): Promise<string> =>
    Promise.resolve(String(this.#files.get(file)?.version ?? ''))
}

type Files = Pick<MeshFileSourceDeps, 'readFile' | 'fingerprint'>

interface SourceLab {
  readonly store: MeshStore
  readonly source: MeshFileSource
  /** `level message` of each line. */
  readonly log: string[]
  readonly loads: ('applied' | 'rejected')[]
}

/** A source that has loaded and applied its file. */
async function startSource(
  t: Test,
  { files, clock }: { readonly files: Files; readonly clock: Clock },
  file: string,
): Promise<SourceLab> {
  const store = new MeshStore()
  const log: string[] = []
  const loads: ('applied' | 'rejected')[] = []
  const logger = {
    isEnabled: () => true,
    log: (level: string, message: string) => void log.push(`${level} ${message}`),
  }
  const source = new MeshFileSource(
    {
      ...files,
      clock,
      store,
      logger,
      capabilities: CAPABILITIES,
      loaded: (result) => void loads.push(result),
    },
    { path: file },
  )
  t.teardown(() => {
    source.close()
  })
  const { mesh, errors } = await source.load()
  if (mesh === undefined) throw new Error(errors.join('\n'))
  source.start(mesh)
  return { store, source, log, loads }
}

/** Lets `count` looks at the files happen, each to its end. */
async function poll(clock: FakeClock, count = 1): Promise<void> {
  for (let look = 0; look < count; look++) {
    clock.advance(POLL_INTERVAL_MS)
    for (let turn = 0; turn < 20; turn++) await nextTurn()
  }
}

function meshTo(host: string, port = 80): string {
  return bootstrapText([listenerOn('web', [['127.0.0.1', 0]], 'web')], [clusterOf('web', [[host, port]])])
}

/** The addresses of the cluster `web` as the store has them. */
function endpointsOf({ store }: SourceLab): readonly string[] {
  const discovery = store.snapshot.cluster.get('web')?.discovery
  const assignment =
    discovery?.kind === 'static' ? discovery.assignment : store.snapshot.assignment.get('web')
  return assignment?.endpoints.map(({ id }) => id) ?? []
}

t.test('an edit is in force after two looks, and nothing is read before', async (t) => {
  const clock = new FakeClock()
  const files = new FakeFiles()
  files.write(MESH, meshTo('10.0.0.1'))
  const lab = await startSource(t, { files, clock }, MESH)
  t.strictSame(endpointsOf(lab), ['10.0.0.1:80'])
  await poll(clock, 4)
  t.equal(files.reads.length, 1, 'a file that stays is read once')

  files.write(MESH, meshTo('10.0.0.2'))
  await poll(clock)
  t.strictSame(endpointsOf(lab), ['10.0.0.1:80'])
  await poll(clock)
  t.strictSame(endpointsOf(lab), ['10.0.0.2:80'])
  t.equal(lab.log.at(-1), `info ${MESH} is in force: 1 cluster`)
  await poll(clock, 4)
  t.equal(files.reads.length, 2)
  t.strictSame(lab.loads, ['applied', 'applied'])
})

t.test('a file that is being written is not read', async (t) => {
  const clock = new FakeClock()
  const files = new FakeFiles()
  files.write(MESH, meshTo('10.0.0.1'))
  const lab = await startSource(t, { files, clock }, MESH)
  await poll(clock)
  const whole = meshTo('10.0.0.2')
  for (const share of [0.2, 0.4, 0.6, 0.8]) {
    files.write(MESH, whole.slice(0, whole.length * share))
    await poll(clock)
  }
  files.write(MESH, whole)
  await poll(clock, 2)
  t.equal(files.reads.length, 2, 'the start and the whole file')
  t.strictSame(lab.loads, ['applied', 'applied'])
  t.strictSame(endpointsOf(lab), ['10.0.0.2:80'])
})

t.test('an invalid edit is refused as a whole and the state stays the same object', async (t) => {
  const clock = new FakeClock()
  const files = new FakeFiles()
  files.write(MESH, meshTo('10.0.0.1'))
  const lab = await startSource(t, { files, clock }, MESH)
  const before = lab.store.snapshot
  let changes = 0
  t.teardown(lab.store.watch(() => changes++))

  // One mistake beside an endpoint that would be fine.
  files.write(
    MESH,
    bootstrapText([listenerOn('web', [['127.0.0.1', 0]], 'absent')], [clusterOf('web', [['10.0.0.2', 80]])]),
  )
  await poll(clock, 2)
  t.equal(lab.store.snapshot, before)
  t.equal(changes, 0)
  t.match(
    lab.log.at(-2),
    /^error \/mesh\/envoy\.yaml:\d+:\d+: error: static_resources\.listeners\[0\].*'absent'/,
  )
  t.equal(lab.log.at(-1), `error ${MESH} was refused; the last good configuration stays`)
  t.strictSame(lab.loads, ['applied', 'rejected'])
  const { length } = lab.log
  await poll(clock, 10)
  t.equal(lab.log.length, length, 'the same mistake is told once')

  files.write(MESH, meshTo('10.0.0.2'))
  await poll(clock, 2)
  t.strictSame(endpointsOf(lab), ['10.0.0.2:80'])
  t.strictSame(lab.loads, ['applied', 'rejected', 'applied'])
})

t.test('a file that is gone changes nothing until it is back', async (t) => {
  const clock = new FakeClock()
  const files = new FakeFiles()
  files.write(MESH, meshTo('10.0.0.1'))
  const lab = await startSource(t, { files, clock }, MESH)
  const before = lab.store.snapshot
  await poll(clock)
  files.remove(MESH)
  await poll(clock, 10)
  t.equal(lab.store.snapshot, before)
  t.strictSame(lab.log.slice(1), [
    `error ${MESH}: error: cannot be read: there is no such file; check the path`,
    `error ${MESH} was refused; the last good configuration stays`,
  ])

  files.write(MESH, meshTo('10.0.0.2'))
  await poll(clock, 2)
  t.strictSame(endpointsOf(lab), ['10.0.0.2:80'])
})

t.test('a file that is away between two looks is not missed', async (t) => {
  const clock = new FakeClock()
  const files = new FakeFiles()
  files.write(MESH, meshTo('10.0.0.1'))
  const lab = await startSource(t, { files, clock }, MESH)
  await poll(clock)
  files.remove(MESH)
  await poll(clock)
  files.write(MESH, meshTo('10.0.0.2'))
  await poll(clock, 2)
  t.strictSame(endpointsOf(lab), ['10.0.0.2:80'])
  t.strictSame(lab.loads, ['applied', 'applied'], 'nothing was refused meanwhile')
})

t.test('a change while the file is being read is seen as a change', async (t) => {
  const clock = new FakeClock()
  const files = new FakeFiles()
  files.write(MESH, meshTo('10.0.0.1'))
  const readFile = async (file: string): Promise<string> => {
    const text = await files.readFile(file)
    // The second reading gets the old text and the file is replaced right after.
    if (files.reads.length === 2) files.write(MESH, meshTo('10.0.0.3'))
    return text
  }
  const lab = await startSource(t, { files: { fingerprint: files.fingerprint, readFile }, clock }, MESH)
  files.write(MESH, meshTo('10.0.0.2'))
  await poll(clock, 2)
  t.strictSame(endpointsOf(lab), ['10.0.0.2:80'])
  await poll(clock, 2)
  t.strictSame(endpointsOf(lab), ['10.0.0.3:80'])
})

const EDS_FILE = '/mesh/eds.yaml'

function edsMesh(): string {
  const eds = { type: 'EDS', eds_cluster_config: { eds_config: { path_config_source: { path: EDS_FILE } } } }
  return bootstrapText([listenerOn('web', [['127.0.0.1', 0]], 'web')], [{ name: 'web', ...eds }])
}

function assignmentTo(...hosts: readonly string[]): string {
  const endpoints = hosts.map((host) => ({
    endpoint: { address: { socket_address: { address: host, port_value: 80 } } },
  }))
  const type = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment'
  return JSON.stringify({
    resources: [{ '@type': type, cluster_name: 'web', endpoints: [{ lb_endpoints: endpoints }] }],
  })
}

t.test('an edit of the EDS file alone changes the endpoints alone', async (t) => {
  const clock = new FakeClock()
  const files = new FakeFiles()
  files.write(MESH, edsMesh())
  files.write(EDS_FILE, assignmentTo('10.0.0.1'))
  const lab = await startSource(t, { files, clock }, MESH)
  t.strictSame(endpointsOf(lab), ['10.0.0.1:80'])
  const before = lab.store.snapshot

  files.write(EDS_FILE, assignmentTo('10.0.0.1', 'fd00::1'))
  await poll(clock, 2)
  t.strictSame(endpointsOf(lab), ['10.0.0.1:80', '[fd00::1]:80'])
  t.equal(lab.log.at(-1), `info ${MESH} is in force: 1 assignment`)
  t.equal(lab.store.snapshot.cluster, before.cluster, 'the clusters are the same object')
  t.equal(lab.store.snapshot.listener, before.listener)

  const good = lab.store.snapshot
  files.write(EDS_FILE, assignmentTo('fe80::1'))
  await poll(clock, 2)
  t.equal(lab.store.snapshot, good)
  t.match(lab.log.at(-2), /^error \/mesh\/eds\.yaml:1:\d+: error: .*fe80::1 is link-local/)

  files.remove(EDS_FILE)
  await poll(clock, 2)
  t.equal(lab.store.snapshot, good)
  files.write(EDS_FILE, assignmentTo('10.0.0.9'))
  await poll(clock, 2)
  t.strictSame(endpointsOf(lab), ['10.0.0.9:80'])
})

t.test('an EDS file that a broken edit no longer names is followed again after it', async (t) => {
  const clock = new FakeClock()
  const files = new FakeFiles()
  files.write(MESH, edsMesh())
  files.write(EDS_FILE, assignmentTo('10.0.0.1'))
  const lab = await startSource(t, { files, clock }, MESH)
  files.write(MESH, 'static_resources: [')
  await poll(clock, 2)
  t.equal(lab.loads.at(-1), 'rejected')
  files.write(EDS_FILE, assignmentTo('10.0.0.2'))
  files.write(MESH, edsMesh())
  await poll(clock, 3)
  t.strictSame(endpointsOf(lab), ['10.0.0.2:80'])
  files.write(EDS_FILE, assignmentTo('10.0.0.3'))
  await poll(clock, 3)
  t.strictSame(endpointsOf(lab), ['10.0.0.3:80'])
})

t.test('a closed source applies nothing and leaves no timer', async (t) => {
  const clock = new FakeClock()
  const files = new FakeFiles()
  files.write(MESH, meshTo('10.0.0.1'))
  const lab = await startSource(t, { files, clock }, MESH)
  await poll(clock)
  files.write(MESH, meshTo('10.0.0.2'))
  await poll(clock)
  // The look that would read the file has begun and the source is closed before it ends.
  clock.advance(POLL_INTERVAL_MS)
  lab.source.close()
  lab.source.close()
  await poll(clock, 4)
  t.strictSame(endpointsOf(lab), ['10.0.0.1:80'])
  t.equal(clock.pendingTimers, 0)
})

t.test('real files: an edit, a swap of a ConfigMap, a removal', async (t) => {
  const folder = t.testdir()
  // As the kubelet lays a ConfigMap out: the file is a link through ..data, which is swapped.
  for (const [version, host] of [
    ['..v1', '10.0.0.1'],
    ['..v2', '10.0.0.2'],
  ] as const) {
    mkdirSync(path.join(folder, version))
    writeFileSync(path.join(folder, version, 'envoy.yaml'), meshTo(host))
  }
  symlinkSync('..v1', path.join(folder, '..data'))
  const file = path.join(folder, 'envoy.yaml')
  symlinkSync(path.join('..data', 'envoy.yaml'), file)
  const lab = await startSource(t, { files: fileSystem, clock: systemClock }, file)
  const isAt = (what: string, endpoint: string): Promise<void> =>
    eventually(what, () => endpointsOf(lab).join() === endpoint)

  symlinkSync('..v2', path.join(folder, '..data_tmp'))
  renameSync(path.join(folder, '..data_tmp'), path.join(folder, '..data'))
  rmSync(path.join(folder, '..v1'), { recursive: true })
  await isAt('the swap is in force', '10.0.0.2:80')

  writeFileSync(file, meshTo('10.0.0.3'))
  await isAt('an edit in place is in force', '10.0.0.3:80')

  rmSync(file)
  await eventually('the removal is noticed', () => lab.loads.at(-1) === 'rejected')
  t.strictSame(endpointsOf(lab), ['10.0.0.3:80'])
  writeFileSync(`${file}.new`, meshTo('10.0.0.4'))
  renameSync(`${file}.new`, file)
  await isAt('the new file is in force', '10.0.0.4:80')
})
