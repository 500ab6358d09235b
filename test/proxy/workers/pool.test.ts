/** What workers share: one connection's findings, policies, limits, and the loss of one of them. */
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'

import t from 'tap'

import { silentLogger } from '../../../src/core/logger.ts'
import { EnvoyRouter } from '../../../src/mesh/envoy-router.ts'
import { ANSWER_DEADLINE_MS, RESTART_BACKOFF, WorkerPool } from '../../../src/proxy/workers/worker-pool.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { LOOPBACK, freePort, skipUnlessDualStack } from '../../fixtures/loopback.ts'
import { dualStackMesh } from '../../fixtures/mesh-builder.ts'
import { countOpenDescriptors, startPool } from '../../fixtures/pool-lab.ts'
import { connectTcp, echo, exchange, greet, listenTcp } from '../../fixtures/tcp-servers.ts'

import type { Socket } from 'node:net'
import type { Test } from 'tap'
import type { RouteFacts } from '../../../src/mesh/router.ts'
import type { MeshUpsert } from '../../../src/mesh/store.ts'
import type { AuthorizationPolicy } from '../../../src/mesh/workload.ts'
import type { ConnectionRecord } from '../../../src/proxy/connection-record.ts'
import type { ToWorker } from '../../../src/proxy/workers/messages.ts'
import type { WorkerThreadEvents } from '../../../src/proxy/workers/worker-pool.ts'
import type { PoolLab } from '../../fixtures/pool-lab.ts'

const skip = (await skipUnlessDualStack()) || ((await whyNoLinuxEngine()) ?? false)

/** Neither of two workers has all of so many. */
const HELD = 30

const DENY: AuthorizationPolicy = {
  name: 'deny',
  namespace: 'shop',
  scope: 'global',
  action: 'deny',
  rules: [],
  isDryRun: false,
}

/** Connections that echo, opened one after the other; ids tell which worker has one. */
async function hold(t: Test, lab: PoolLab, count: number): Promise<readonly Socket[]> {
  const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
  const clients: Socket[] = []
  for (let index = 0; index < count; index++) {
    const client = await connectTcp(target)
    client.on('error', () => undefined)
    t.teardown(() => client.destroy())
    client.write('x')
    await once(client, 'data')
    clients.push(client)
  }
  return clients
}

/** The worker of a connection: each life of a worker has ids of its own. */
function lifeOf(id: number): number {
  return Math.floor(id / 2 ** 32)
}

/** All connections, when there are so many: a worker that answers late is left out of a list. */
async function listed(lab: PoolLab, count: number): Promise<readonly ConnectionRecord[]> {
  let records: readonly ConnectionRecord[] = []
  await eventually(`${count} connections are listed`, async () => {
    records = await lab.proxy.connections()
    return records.length === count
  })
  return records
}

t.test('connections are spread over the workers, with ids that are unique', { skip }, async (t) => {
  const port = await freePort()
  const server = await listenTcp('127.0.0.1', echo, port)
  t.teardown(() => server.close())
  const lab = await startPool(t, dualStackMesh(port))
  await hold(t, lab, 40)
  const records = await listed(lab, 40)
  t.equal(new Set(records.map(({ id }) => id)).size, 40)
  t.equal(new Set(records.map(({ id }) => lifeOf(id))).size, 2, 'both workers have some')
  await eventually('both tell of theirs', async () => {
    const readings = await lab.proxy.endpoints()
    return readings.activeConnections('echo', `127.0.0.1:${port}`) === 40
  })
  t.equal(lab.proxy.connectionCount, 40)
})

t.test('rule 7: what one connection found out holds for all workers', { skip }, async (t) => {
  const port = await freePort()
  const server = await listenTcp('127.0.0.1', greet('hello'), port)
  t.teardown(() => server.close())
  const lab = await startPool(t, dualStackMesh(port))
  const target = { host: LOOPBACK.ipv6, port: lab.portOf('front', 'ipv6') }
  await exchange(target, 'one')
  await eventually('the main thread knows', () => lab.proxy.unhealthyEndpoints().ipv6 === 1)
  for (let count = 0; count < 30; count++) await exchange(target, 'more')
  await eventually('all have ended', () => lab.closed.length === 31)
  t.equal(new Set(lab.closed.map(({ id }) => lifeOf(id))).size, 2, 'both workers had some')
  const refused = lab.closed.filter(({ attempts }) => attempts.some(({ result }) => result === 'refused'))
  t.equal(refused.length, 1, 'only the first one met the closed port')
  await eventually('the readings tell of it', async () => {
    const readings = await lab.proxy.endpoints()
    return !readings.isFamilyHealthy(`127.0.0.1:${port}`, 'ipv6')
  })
})

t.test('rule 12: a policy ends the connections that it denies, in every worker', { skip }, async (t) => {
  const port = await freePort()
  const server = await listenTcp('127.0.0.1', echo, port)
  t.teardown(() => server.close())
  const resources = dualStackMesh(port).map((update): MeshUpsert =>
    update.kind === 'listener'
      ? { kind: 'listener', upsert: { ...update.upsert, direction: 'inbound' } }
      : update,
  )
  const asked: RouteFacts[] = []
  const lab = await startPool(t, resources, {
    router: (store) => {
      const router = new EnvoyRouter({ store }, { ownAddresses: [] })
      return {
        plan: (facts) => router.plan(facts),
        judgedDirections: ['inbound'],
        isStillAllowed: (facts) => {
          asked.push(facts)
          return !store.snapshot.policy.has('shop/deny') || asked.length % 2 === 0
        },
      }
    },
  })
  const clients = await hold(t, lab, 40)
  lab.store.apply([{ kind: 'policy', upsert: DENY }])
  await eventually('half of them have ended', () => lab.proxy.connectionCount === 20)
  t.equal(asked.length, 40)
  t.equal(asked[0]?.client.ip.text, '127.0.0.1')
  t.equal(asked[0]?.listener.direction, 'inbound')
  await eventually('the clients see it', () => clients.filter(({ destroyed }) => destroyed).length === 20)
  t.equal(lab.totals.closed('policy_changed'), 20)
  t.equal(new Set(lab.closed.map(({ id }) => lifeOf(id))).size, 2, 'both workers closed some')
})

t.test('an update reaches connections that come after it, in every worker', { skip }, async (t) => {
  const ports = [await freePort(), await freePort()] as const
  for (const [index, port] of ports.entries()) {
    const server = await listenTcp('127.0.0.1', greet(`server ${index}`), port)
    t.teardown(() => server.close())
  }
  const lab = await startPool(t, dualStackMesh(ports[0]))
  const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
  const answers = async (count: number): Promise<readonly string[]> => {
    const all: string[] = []
    for (let index = 0; index < count; index++) all.push((await exchange(target, 'x')).received)
    return [...new Set(all)]
  }
  t.strictSame(await answers(20), ['server 0 x'])
  lab.store.apply(dualStackMesh(ports[1]))
  await eventually('the update has arrived', async () => (await answers(1))[0] === 'server 1 x')
  await setTimeout(20)
  t.strictSame(await answers(20), ['server 1 x'])
  lab.store.apply([{ kind: 'cluster', remove: 'echo' }])
  await eventually('the cluster has gone', () => exchange(target, 'x').then(({ end }) => end === 'rst'))
  await eventually('it is counted', () => lab.totals.closed('no_cluster') > 0)
})

t.test('a worker that dies loses its connections only, and is replaced', { skip }, async (t) => {
  const port = await freePort()
  const server = await listenTcp('127.0.0.1', echo, port)
  t.teardown(() => server.close())
  const lab = await startPool(t, dualStackMesh(port, { maxConnections: 100 }))
  const before = countOpenDescriptors()
  const clients = await hold(t, lab, HELD)
  const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
  const lost = (await listed(lab, HELD)).filter(({ id }) => lifeOf(id) === 0).length
  t.ok(lost > 0 && lost < HELD, `${lost} connections are in the first worker`)

  lab.threads[0]?.terminate()
  await eventually(
    'its clients are reset',
    () => clients.filter((client) => client.destroyed).length === lost,
  )
  t.equal(lab.totals.closed('internal'), lost)
  t.equal(lab.proxy.connectionCount, HELD - lost)
  t.equal(lab.log.filter((line) => line === 'error worker 0 died and is started again').length, 1)
  const queued = await Promise.all(Array.from({ length: 20 }, () => exchange(target, 'while it is away')))
  t.ok(
    queued.every(({ received }) => received === 'while it is away'),
    'what the kernel had queued for it is served',
  )
  await eventually('it is replaced', () => lab.threads.length === 3)
  t.equal(lab.proxy.workerRestarts, 1)
  await listed(lab, HELD - lost)
  await eventually('the endpoint has those that are left', async () => {
    const readings = await lab.proxy.endpoints()
    return readings.activeConnections('echo', `127.0.0.1:${port}`) === HELD - lost
  })
  for (const client of clients) client.destroy()
  await eventually('all have ended', () => lab.proxy.connectionCount === 0)
  await eventually('nobody has a socket', () => server.sockets.size === 0)
  // The pipes that a worker keeps for later transfers, and nothing else, may have come or gone.
  await eventually(
    'the descriptors are those of before',
    () => Math.abs(countOpenDescriptors() - before) <= 4,
  )
})

t.test('a worker that dies at once is started again and again, later each time', async (t) => {
  const clock = new FakeClock()
  const spawned: WorkerThreadEvents[] = []
  const pool = new WorkerPool(
    {
      clock,
      random: { next: () => 0 },
      logger: silentLogger,
      spawn: (_, events) => {
        spawned.push(events)
        return { post: () => undefined, terminate: () => undefined }
      },
    },
    { workers: 1 },
    { started: () => undefined, received: () => undefined, died: () => undefined },
  )
  const started = pool.start()
  spawned[0]?.exited(new Error('no'))
  await started
  const delaysMs: number[] = []
  for (let death = 1; death <= 3; death++) {
    const sinceMs = clock.nowMs()
    while (spawned.length === death) clock.advance(1)
    delaysMs.push(clock.nowMs() - sinceMs)
    spawned[death]?.exited(new Error('no'))
  }
  t.strictSame(delaysMs, [25, 50, 100])
  const closed = pool.close()
  await closed
  clock.advance(60_000)
  t.equal(spawned.length, 4, 'a pool that is closed starts nothing')
})

t.test('a worker that cannot be started is tried again, and holds up nobody', async (t) => {
  const clock = new FakeClock()
  const log: string[] = []
  const died: number[] = []
  let isFull = true
  let started = 0
  const pool = new WorkerPool(
    {
      clock,
      random: { next: () => 0 },
      logger: {
        isEnabled: () => true,
        log: (_, message, fields) => log.push(`${message}: ${String(fields?.['reason'])}`),
      },
      spawn: () => {
        if (isFull) throw new Error('eventfd: EMFILE')
        started++
        return { post: () => undefined, terminate: () => undefined }
      },
    },
    { workers: 1 },
    { started: () => undefined, received: () => undefined, died: (worker) => died.push(worker) },
  )
  await pool.start()
  clock.advance(RESTART_BACKOFF.maxMs)
  t.ok(log.length > 1)
  t.match(log[0], 'worker 0 died and is started again: eventfd: EMFILE')
  t.equal(died.length, log.length, 'what it was given is cleared away each time')
  isFull = false
  clock.advance(RESTART_BACKOFF.maxMs)
  t.equal(started, 1)
})

t.test('a worker that does not answer does not hold up the others', async (t) => {
  const clock = new FakeClock()
  const events: WorkerThreadEvents[] = []
  const posted: ToWorker[][] = [[], []]
  const pool = new WorkerPool(
    {
      clock,
      random: { next: () => 0 },
      logger: silentLogger,
      spawn: (worker, each) => {
        events.push(each)
        return { post: (message) => posted[worker]?.push(message), terminate: () => undefined }
      },
    },
    { workers: 2 },
    { started: () => undefined, received: () => undefined, died: () => undefined },
  )
  void pool.start()
  for (const each of events) each.received({ kind: 'started' })
  const asked = pool.ask('records')
  t.match(posted, [[{ kind: 'tell', what: 'records' }], [{ kind: 'tell', what: 'records' }]])
  events[1]?.received({ kind: 'told', request: 1, told: { what: 'records', records: [] } })
  clock.advance(ANSWER_DEADLINE_MS)
  t.equal((await asked).length, 1)
  const idle = pool.ask('idle')
  events[1]?.received({ kind: 'told', request: 2, told: { what: 'idle' } })
  events[0]?.exited(undefined)
  t.equal((await idle).length, 1, 'one that dies is not waited for')
})
