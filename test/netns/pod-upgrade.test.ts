/** The agent is replaced while the pods of its node are used: by one beside it, by one after it, and by none. */
import { readFileSync, readdirSync } from 'node:fs'

import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { eventually } from '../fixtures/eventually.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { APP_PORT } from '../fixtures/pod-lab.ts'

import type { Test } from 'tap'
import type { ChurnResult } from '../fixtures/churn.ts'
import type { HostChurn, HostConnection } from '../fixtures/namespace-host.ts'

const VIPS = { ipv4: '10.96.0.10', ipv6: 'fd00:96::10' }
const SERVICE = {
  namespace: 'shop',
  name: 'echo',
  pods: ['shop/server'],
  families: FAMILIES,
  vips: VIPS,
  ports: { 80: APP_PORT },
}
/** How many connections there are at once over each family and way. */
const CONCURRENCY = 4
/** How long an old agent's connections go on: longer than what is asked of them takes on a busy machine. */
const DRAIN_S = 10
/** How long an agent that ends accepts at least. */
const MIN_ACCEPTING_MS = 450
/** Of the agent beside the first. */
const OTHER_PORTS = { TWINSTACK_READINESS_PORT: '15121', TWINSTACK_METRICS_PORT: '15120' }
const NONE_FAILED = { reset: 0, refused: 0, cut: 0 }

interface Lab {
  readonly captured: CapturedLab
  readonly client: NamespaceHost
  readonly serverAddresses: Readonly<Record<'ipv4' | 'ipv6', string>>
}

async function startLab(t: Test): Promise<Lab> {
  const captured = await CapturedLab.start(t, {
    pods: [
      { namespace: 'shop', name: 'client' },
      { namespace: 'shop', name: 'server' },
    ],
    mesh: { services: [SERVICE] },
    env: { CONNECTION_TERMINATION_DEADLINE: `${DRAIN_S}s`, TWINSTACK_ACCESS_LOG: 'off' },
  })
  const client = await NamespaceHost.start(t, captured.pod('shop/client').network)
  const server = captured.pod('shop/server')
  const serverAddresses = { ipv4: server.address('ipv4'), ipv6: server.address('ipv6') }
  const app = await NamespaceHost.start(t, server.network)
  for (const family of FAMILIES) await app.listen(serverAddresses[family], APP_PORT, 'echo')
  return { captured, client, serverAddresses }
}

/** Short connections over both families, to the service and to the pod. */
async function startLoad({ client, serverAddresses }: Lab): Promise<readonly HostChurn[]> {
  const plan = { concurrency: CONCURRENCY, kind: 'exchange' } as const
  return Promise.all(
    FAMILIES.flatMap((family) => [
      client.startChurn({ ...plan, host: VIPS[family], port: 80 }),
      client.startChurn({ ...plan, host: serverAddresses[family], port: APP_PORT }),
    ]),
  )
}

function sum(results: readonly ChurnResult[]): ChurnResult {
  const total = { answered: 0, reset: 0, refused: 0, cut: 0 }
  for (const { answered, reset, refused, cut } of results) {
    total.answered += answered
    total.reset += reset
    total.refused += refused
    total.cut += cut
  }
  return total
}

async function countsOf(load: readonly HostChurn[]): Promise<ChurnResult> {
  return sum(await Promise.all(load.map((each) => each.counts())))
}

/** Resolves when every part of the load has had that many more answers. */
async function untilAnswered(load: readonly HostChurn[], more: number): Promise<void> {
  const before = await Promise.all(load.map((each) => each.counts()))
  await eventually(`${more} more are answered`, async () => {
    const now = await Promise.all(load.map((each) => each.counts()))
    return now.every(({ answered }, index) => answered >= (before[index]?.answered ?? 0) + more)
  })
}

/**
 * How long the threads of a process have waited in all for a processor that others had, see schedstat of proc(5): next to
 * nothing on a quiet machine.
 */
function queuedMs(pid: number): number {
  const waits = readdirSync(`/proc/${pid}/task`).map((task) =>
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[1]),
  )
  return waits.reduce((all, nanoseconds) => all + nanoseconds, 0) / 1e6
}

async function stopLoad(load: readonly HostChurn[]): Promise<ChurnResult> {
  return sum(await Promise.all(load.map((each) => each.stop())))
}

async function openLong({ client, serverAddresses }: Lab): Promise<readonly HostConnection[]> {
  const long = await Promise.all(FAMILIES.map((family) => client.open(serverAddresses[family], APP_PORT)))
  for (const connection of long) await connection.ask('first')
  return long
}

if (requireNamespaces(t)) {
  t.setTimeout(120_000)

  t.test('an agent takes the place of another one without one failed connection', async (t) => {
    const lab = await startLab(t)
    const { captured } = lab
    const { only } = captured
    const long = await openLong(lab)
    const load = await startLoad(lab)
    await untilAnswered(load, 50)
    let [old, oldPort] = [only.agent, 1]
    for (const round of [1, 2, 3]) {
      const next = await captured.startAgent(only, round % 2 === 1 ? OTHER_PORTS : {})
      await eventually('the new agent is ready', async () => (await next.readyz()).startsWith('ready\n'))
      await only.server.opened(++oldPort)
      t.strictSame(
        { ...(await countsOf(load)), answered: 0 },
        { ...NONE_FAILED, answered: 0 },
        'while both serve',
      )
      old.program.signal('SIGTERM')
      await old.program.logged('SIGTERM: draining')
      if (round === 1) {
        // The load goes on over the new agent, the long connections over the old one, until its deadline.
        for (const connection of long) t.equal(await connection.ask('drains'), 'drains')
        await untilAnswered(load, 200)
        for (const connection of long) t.equal(await connection.ended, 'fin')
      }
      t.strictSame(await old.program.exit, { code: 0, signal: null })
      await untilAnswered(load, 50)
      t.strictSame(
        { ...(await countsOf(load)), answered: 0 },
        { ...NONE_FAILED, answered: 0 },
        `round ${round}`,
      )
      old = next
    }
    const result = await stopLoad(load)
    t.comment(`${result.answered} connections`)
    t.match(result, NONE_FAILED)
  })

  t.test('pods serve again within 2 s of the start of an agent after one that was killed', async (t) => {
    const lab = await startLab(t)
    const { captured, client } = lab
    const { only } = captured
    const tookMs: number[] = []
    let { agent } = only
    for (const round of [1, 2, 3]) {
      const load = await startLoad(lab)
      await untilAnswered(load, 50)
      agent.program.signal('SIGKILL')
      await agent.program.exit
      await stopLoad(load)
      const startedAt = performance.now()
      const starting = captured.startAgent(only)
      for (const family of FAMILIES) {
        await eventually(`${family} is served`, async () => {
          const { received } = await client.exchange(VIPS[family], 80, 'again')
          return received === 'again'
        })
      }
      const servedAt = performance.now()
      agent = await starting
      tookMs.push(Math.max(0, Math.round(servedAt - startedAt - queuedMs(agent.program.pid))))
      await only.server.opened(round + 1)
    }
    t.ok(Math.min(...tookMs) < 2_000, `served again within 2 s: ${tookMs.join(', ')} ms`)
    const after = await startLoad(lab)
    await untilAnswered(after, 50)
    t.match(await stopLoad(after), NONE_FAILED)
  })

  t.test('an agent without a successor accepts until its listeners close, and then refuses', async (t) => {
    const lab = await startLab(t)
    const { captured, client } = lab
    const { agent } = captured.only
    const long = await openLong(lab)
    const load = await startLoad(lab)
    await untilAnswered(load, 50)
    const signalledAt = performance.now()
    agent.program.signal('SIGTERM')
    // It waits for handshakes of its pods first, and nobody is turned away meanwhile.
    await eventually('the load is refused', async () => (await countsOf(load)).refused > 0)
    const acceptedMs = Math.round(performance.now() - signalledAt)
    t.ok(acceptedMs > MIN_ACCEPTING_MS, `refused after ${acceptedMs} ms`)
    await eventually('new clients are refused', async () => {
      const ends = await Promise.all(FAMILIES.map((family) => client.exchange(VIPS[family], 80, 'late')))
      return ends.every(({ end }) => end === 'refused')
    })
    // One that left its pod a moment before finds the other pod closed: it is reset, by rule 8.
    t.equal((await stopLoad(load)).cut, 0)
    for (const connection of long) t.equal(await connection.ask('goes on'), 'goes on')
    for (const connection of long) t.equal(await connection.ended, 'fin')
    t.strictSame(await agent.program.exit, { code: 0, signal: null })
  })
}
