/** Pods come and go, and so does istio-cni, while connections of other pods are live: nobody notices but who is gone. */
import { readdirSync, statSync } from 'node:fs'

import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { RELEASE_DEADLINE_MS } from '../../src/proxy/release.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { eventually } from '../fixtures/eventually.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { APP_PORT } from '../fixtures/pod-lab.ts'

import type { BigIntStats } from 'node:fs'
import type { Test } from 'tap'
import type { HostConnection } from '../fixtures/namespace-host.ts'
import type { LabPod } from '../fixtures/pod-lab.ts'

const PODS = [
  { namespace: 'shop', name: 'client' },
  { namespace: 'shop', name: 'server' },
]
/** Pods that come and go beside the others. */
const CHANGES = 40
/** A third of what a busy machine does: it may stall for a minute in all. */
const MIN_PER_MINUTE = 30
const TRANSFER = { totalBytes: 64 * 1_048_576, paceMs: 15 }
const NONE_FAILED = { reset: 0, refused: 0, cut: 0 }

interface Lab {
  readonly captured: CapturedLab
  readonly client: NamespaceHost
  readonly server: LabPod
}

async function startLab(t: Test, more: readonly (typeof PODS)[number][] = []): Promise<Lab> {
  const captured = await CapturedLab.start(t, { pods: [...PODS, ...more] })
  const server = captured.pod('shop/server')
  await listenIn(t, server)
  const client = await NamespaceHost.start(t, captured.pod('shop/client').network)
  return { captured, client, server }
}

async function listenIn(t: Test, pod: LabPod): Promise<NamespaceHost> {
  const app = await NamespaceHost.start(t, pod.network)
  for (const family of FAMILIES) await app.listen(pod.address(family), APP_PORT, 'echo')
  return app
}

/** One over each family. */
async function openLong({ client }: Lab, pod: LabPod): Promise<readonly HostConnection[]> {
  const long: HostConnection[] = []
  for (const family of FAMILIES) long.push(await client.open(pod.address(family), APP_PORT))
  await goOn(long)
  return long
}

async function goOn(connections: readonly HostConnection[]): Promise<void> {
  for (const connection of connections) {
    const answer = await connection.ask('still here')
    if (answer !== 'still here') throw new Error(`a live connection has answered '${answer}'`)
  }
}

async function becomesReady({ captured }: Lab): Promise<void> {
  await eventually(
    'the agent is ready',
    async () => (await captured.only.agent.readyz()).startsWith('ready\n'),
    20_000,
  )
}

/** Whoever holds a network namespace: as its own, or by a descriptor. */
function holdersOf({ dev, ino }: BigIntStats): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => [
      ...listOf(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}/ns/net`),
      ...listOf(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`),
    ])
    .filter((file) => {
      const stats = statOf(file)
      return stats?.dev === dev && stats.ino === ino
    })
}

function listOf(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    // The process has ended since it was listed.
    return []
  }
}

function statOf(file: string): BigIntStats | undefined {
  try {
    return statSync(file, { bigint: true })
  } catch {
    // Closed since it was listed, or of a process that nobody may look at.
    return undefined
  }
}

/** A pod comes, and goes when it has been taken in. */
async function changePod(t: Test, { captured }: Lab, name: string): Promise<void> {
  const { server } = captured.only
  const guest = captured.lab.addPod({ namespace: 'guests', name })
  guest.redirect()
  const { pod, netns } = guest
  const added = await server.add(pod, netns)
  captured.lab.removePod(`guests/${name}`)
  const removed = await server.delete(pod.uid)
  for (const { outcome, error } of [added, removed])
    if (outcome !== 'ack' || error !== '') t.fail(`pod ${name}: ${outcome} ${error}`)
}

/** Descriptors of network namespaces, whatever connections there are. */
function isOfPods(descriptor: string): boolean {
  return /net/.test(descriptor)
}

if (requireNamespaces(t)) {
  t.setTimeout(180_000)

  t.test('pods that come and go leave the connections of the others alone', async (t) => {
    const lab = await startLab(t)
    const { captured, client, server } = lab
    const { agent } = captured.only
    // What is opened once and kept is there after the first pods and connections.
    await changePod(t, lab, 'first')
    const plan = { concurrency: 2, kind: 'exchange', port: APP_PORT } as const
    const load = await Promise.all(
      FAMILIES.map((family) => client.startChurn({ ...plan, host: server.address(family) })),
    )
    const transfers = await Promise.all(
      FAMILIES.map((family) =>
        client.transfer({ ...TRANSFER, host: server.address(family), port: APP_PORT }),
      ),
    )
    await eventually('the load is under way', async () => {
      const counts = await Promise.all(load.map((each) => each.counts()))
      return counts.every(({ answered }) => answered > 100)
    })
    const before = agent.descriptors().filter(isOfPods)
    const tookMs: number[] = []
    for (let change = 0; change < CHANGES; change++) {
      const startedAt = performance.now()
      await changePod(t, lab, `guest-${change}`)
      tookMs.push(performance.now() - startedAt)
    }
    const quickestMs = Math.min(...tookMs)
    const perMinute = 60_000 / (tookMs.reduce((sum, each) => sum + each) / CHANGES)
    const after = agent.descriptors().filter(isOfPods)
    t.comment(`${Math.round(perMinute)} pods per minute`)
    t.ok(perMinute > MIN_PER_MINUTE, `at ${Math.round(perMinute)} per minute`)
    t.ok(quickestMs < RELEASE_DEADLINE_MS, `without a wait, in ${Math.round(quickestMs)} ms`)
    for (const each of load) {
      const result = await each.stop()
      t.match(result, NONE_FAILED)
      t.ok(result.answered > 100, `${result.answered} were answered`)
    }
    for (const { result } of transfers)
      t.strictSame(await result, { receivedBytes: TRANSFER.totalBytes, isSame: true, end: 'fin' })
    t.equal(await agent.metric('workload_manager_proxies_stopped_total'), CHANGES + 1)
    t.strictSame(after, before)
  })

  t.test('the removal of a pod ends its connections and frees its network namespace', async (t) => {
    const lab = await startLab(t, [{ namespace: 'shop', name: 'guest' }])
    const { captured } = lab
    const { agent, server: cni, node } = captured.only
    const guest = captured.pod('shop/guest')
    const app = await listenIn(t, guest)
    const others = await openLong(lab, lab.server)
    const long = await openLong(lab, guest)
    const namespace = statSync(guest.netns, { bigint: true })
    t.ok(
      holdersOf(namespace).some((file) => file.startsWith(`/proc/${agent.program.pid}/fd/`)),
      'the agent holds it',
    )
    // The kernel takes its interfaces away when it ends a namespace, and a pair's other end with them: nothing else does.
    node.network.ip(`link add witness type veth peer name witness netns ${guest.network.name}`)

    t.match(await cni.delete(guest.pod.uid), { outcome: 'ack', error: '' })
    for (const connection of long) t.equal(await connection.ended, 'rst')
    t.match(await agent.logOf((line) => line['close_reason'] === 'pod_removed'), { direction: 'inbound' })
    t.equal(await agent.metric('twinstack_connections_closed_total{reason="pod_removed"}'), FAMILIES.length)
    t.notOk(
      holdersOf(namespace).some((file) => file.startsWith(`/proc/${agent.program.pid}/`)),
      'the agent holds it no more',
    )
    await app.stop()
    captured.lab.removePod('shop/guest')
    t.strictSame(holdersOf(namespace), [])
    await eventually(
      'the kernel has ended it',
      () => !node.network.run('ip', '-o', 'link').includes('witness'),
    )
    await goOn(others)
  })

  t.test('istio-cni goes and comes back: what is there goes on, what is gone meanwhile ends', async (t) => {
    const lab = await startLab(t, [
      { namespace: 'shop', name: 'guest' },
      { namespace: 'shop', name: 'kept' },
    ])
    const { captured, client, server } = lab
    const { agent, server: cni } = captured.only
    const kept = captured.pod('shop/kept')
    await listenIn(t, captured.pod('shop/guest'))
    await listenIn(t, kept)
    const [others, toKept] = [await openLong(lab, server), await openLong(lab, kept)]
    const toGuest = await openLong(lab, captured.pod('shop/guest'))
    const listeners = agent.descriptors()

    await cni.stop()
    await eventually('the agent is not ready', async () =>
      /^not ready\n {2}workload proxy manager: istio-cni is not connected/.test(await agent.readyz()),
    )
    await Promise.all([others, toKept, toGuest].map(goOn))
    for (const family of FAMILIES)
      t.match(await client.exchange(server.address(family), APP_PORT, 'without istio-cni'), {
        received: 'without istio-cni',
      })

    // One pod goes while nobody can say so, one comes, and of one istio-cni has no descriptor any more.
    const known = ['shop/client', 'shop/server'].map((key) => captured.pod(key))
    await cni.setPods(known.map(({ pod, netns }) => ({ pod, netns })))
    await cni.keep(kept.pod)
    const fresh = captured.lab.addPod({ namespace: 'shop', name: 'fresh' })
    fresh.redirect()
    await cni.remember(fresh.pod, fresh.netns)
    await cni.restart()
    const { exchanges } = await cni.opened(2, 20_000)
    t.strictSame(
      exchanges.map(({ message, error }) => `${message.replace(/ uid-\d+-/, ' ')}${error}`),
      ['add client-shop', 'add server-shop', 'keep kept-shop', 'add fresh-shop', 'snapshot-sent'],
    )
    await becomesReady(lab)
    for (const connection of toGuest) t.equal(await connection.ended, 'rst')
    await Promise.all([others, toKept].map(goOn))
    t.equal(await agent.metric('workload_manager_proxies_started_total'), 5, 'none was taken in twice')
    t.equal(await agent.metric('workload_manager_proxies_stopped_total'), 1)
    t.equal(await agent.metric('workload_manager_active_proxy_count'), 4)
    // The pod that came has what the one that went had.
    await eventually('the connections of the pod that went are closed', () => {
      return agent.descriptors().length <= listeners.length - 2 * toGuest.length
    })

    // Cut off in the middle, a snapshot says of nobody that they are gone.
    await cni.closeNextSnapshotAfter(0)
    await cni.disconnect()
    await eventually('the snapshot was cut', async () => (await cni.connections())[2]?.phase === 'closed')
    t.equal(await agent.metric('workload_manager_proxies_stopped_total'), 1)
    // Nor does one that could not be used as a whole end anybody but who is not in it.
    await Promise.all([others, toKept].map(goOn))
  })

  t.test('readiness asks for istio-cni, and never for one pod', async (t) => {
    const lab = await startLab(t)
    const { captured } = lab
    const { server: cni, agent } = captured.only
    const broken = captured.lab.addPod({ namespace: 'shop', name: 'broken' })
    const listener = await NamespaceHost.start(t, broken.network)
    await listener.listen('0.0.0.0', 15_006)
    const answer = await cni.add(broken.pod, broken.netns)
    t.match(answer, { outcome: 'ack', error: /cannot listen on 0\.0\.0\.0:15006: bind EADDRINUSE/ })
    t.match(await agent.readyz(), /^ready\n[^]*2 up, 1 pending[^]*shop\/broken: cannot listen/)
    t.equal(await agent.metric('workload_manager_pending_proxy_count'), 1)
    await cni.stop()
    await eventually('it is not ready', async () => (await agent.readyz()).startsWith('not ready\n'))
    await cni.restart()
    await becomesReady(lab)
    await listener.stop()
    await eventually(
      'the pod is taken in when it can be',
      async () => (await agent.metric('workload_manager_active_proxy_count')) === 3,
      // The pause before the next try doubles, to 30 s in the end.
      40_000,
    )
  })
}
