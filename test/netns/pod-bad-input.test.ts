/** What istio-cni may send and never should: each is answered with its name, and nothing that is served is lost. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { makeBarePods, removeBarePods } from '../fixtures/bare-pods.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { eventually } from '../fixtures/eventually.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { APP_PORT } from '../fixtures/pod-lab.ts'
import {
  encodeAdd,
  encodeDelete,
  encodeKeep,
  encodeSnapshotSent,
  zdsField,
} from '../fixtures/zds-messages.ts'

import type { Test } from 'tap'
import type { HostConnection } from '../fixtures/namespace-host.ts'
import type { NamespaceAgent } from '../fixtures/namespace-agent.ts'
import type { ZdsAnswer } from '../fixtures/zds-connection.ts'
import type { ZdsServer } from '../fixtures/zds-server.ts'

/** A field that no version of the protocol has. */
const UNKNOWN_FIELD = 9
const MAX_PACKET_BYTES = 65_536

interface Lab {
  readonly captured: CapturedLab
  readonly server: ZdsServer
  readonly agent: NamespaceAgent
  /** One over each family, open all the time. */
  readonly live: readonly HostConnection[]
  readonly before: readonly string[]
}

async function startLab(t: Test): Promise<Lab> {
  const captured = await CapturedLab.start(t, {
    pods: [
      { namespace: 'shop', name: 'client' },
      { namespace: 'shop', name: 'server' },
    ],
    env: { TWINSTACK_ACCESS_LOG: 'off' },
  })
  const { server, agent } = captured.only
  const pod = captured.pod('shop/server')
  const app = await NamespaceHost.start(t, pod.network)
  const client = await NamespaceHost.start(t, captured.pod('shop/client').network)
  const live: HostConnection[] = []
  for (const family of FAMILIES) {
    await app.listen(pod.address(family), APP_PORT, 'echo')
    live.push(await client.open(pod.address(family), APP_PORT))
  }
  const lab = { captured, server, agent, live, before: [] }
  await staysWhole(t, lab)
  return { ...lab, before: agent.descriptors() }
}

/** Both pods are served, what was open is, and nothing more is open than before. */
async function staysWhole(t: Test, { agent, live, before }: Lab): Promise<void> {
  await eventually('the agent is ready', async () => (await agent.readyz()).startsWith('ready\n'))
  for (const connection of live) t.equal(await connection.ask('still here'), 'still here')
  t.equal(await agent.metric('workload_manager_proxies_stopped_total'), 0)
  if (before.length > 0) await agent.hasNoMoreThan(before)
}

if (requireNamespaces(t)) {
  t.setTimeout(120_000)

  t.test('a bad message of istio-cni', async (t) => {
    const lab = await startLab(t)
    const { captured, server, agent } = lab
    const netns = captured.pod('shop/server').netns
    const file = path.join(t.testdir({}), 'file')
    writeFileSync(file, 'no namespace')
    const stranger = { uid: 'uid-stranger', name: 'stranger', namespace: 'shop', serviceAccount: 'default' }
    const add = encodeAdd(stranger)
    const oversized = Buffer.concat([add, zdsField(UNKNOWN_FIELD, Buffer.alloc(MAX_PACKET_BYTES))])
    const cases: readonly (readonly [string, () => Promise<ZdsAnswer>, RegExp])[] = [
      [
        'that is cut off',
        () => server.sendRaw(add.subarray(0, -5), [netns]),
        /^add: add cannot be read: a message of 41 bytes is cut off in 38 bytes/,
      ],
      ['that is empty but for its descriptor', () => server.sendRaw(Buffer.alloc(0), [netns]), /is empty/],
      ['that is noise', () => server.sendRaw(Buffer.alloc(64, 0xff)), /^a message: .*cannot be read/],
      [
        'longer than 64 KiB',
        () => server.sendRaw(oversized, [netns]),
        /^add.*: longer than the 65536 bytes that are taken/,
      ],
      [
        'of a kind that nobody knows',
        () => server.sendRaw(zdsField(UNKNOWN_FIELD, 'new'), [netns]),
        /^a message: holds no message of version 1, only field 9/,
      ],
      [
        'of two kinds',
        () => server.sendRaw(Buffer.concat([add, encodeDelete('uid-other')]), [netns]),
        /holds several messages \(add, delete\)/,
      ],
      [
        'that adds without a uid',
        () => server.sendRaw(encodeAdd({ ...stranger, uid: '' }), [netns]),
        /^add: add\.uid must not be empty/,
      ],
      [
        'that adds without a descriptor',
        () => server.sendRaw(add),
        /^add of pod uid-stranger: needs one descriptor, of the network namespace, and came with 0/,
      ],
      ['that adds with two descriptors', () => server.sendRaw(add, [netns, netns]), /came with 2/],
      [
        'that adds with a file',
        () => server.sendRaw(add, [file]),
        /^add of pod uid-stranger: its descriptor is of .*\/file, not of a network namespace/,
      ],
      [
        'that adds with a namespace of another kind',
        () => server.sendRaw(add, ['/proc/self/ns/mnt']),
        /its descriptor is of mnt:\[\d+\], not of a network namespace/,
      ],
      [
        'that deletes with a descriptor',
        () => server.sendRaw(encodeDelete('uid-other'), [netns]),
        /takes no descriptor and came with 1/,
      ],
      [
        'that deletes a pod nobody knows',
        () => server.delete('uid-nobody'),
        /^delete of pod uid-nobody: it is not served here/,
      ],
      [
        'that keeps after the snapshot',
        () => server.sendRaw(encodeKeep('uid-other')),
        /^keep of pod uid-other: belongs to a snapshot, which is complete/,
      ],
      [
        'that ends the snapshot again',
        () => server.sendRaw(encodeSnapshotSent()),
        /^snapshot-sent: the snapshot of this connection is complete already/,
      ],
    ]
    for (const [what, send, problem] of cases) {
      await t.test(what, async (t) => {
        const { outcome, error } = await send()
        t.equal(outcome, 'ack')
        t.match(error, problem)
        await staysWhole(t, lab)
      })
    }

    await t.test('that adds a pod again is answered as the first, and keeps its connections', async (t) => {
      const { pod } = captured.pod('shop/server')
      t.match(await server.add(pod, netns), { outcome: 'ack', error: '' })
      await staysWhole(t, lab)
    })

    await t.test('leaves the connection as it is', async (t) => {
      t.equal((await server.connections()).length, 1)
      t.equal(await agent.metric('workload_manager_active_proxy_count'), 2)
    })
  })

  t.test('a pod whose network namespace vanished on the way', async (t) => {
    const lab = await startLab(t)
    const { server, agent } = lab
    for (const whenDeleted of ['before', 'after']) {
      await t.test(
        `is named in the answer, and forgotten when its deletion comes ${whenDeleted} that`,
        async (t) => {
          const [gone] = makeBarePods(t, 1, { families: [] })
          if (gone === undefined) throw new TypeError('one was made')
          // The server holds the namespace by a descriptor, as istio-cni does.
          await server.remember(gone.pod, gone.netns)
          const answering = server.add(gone.pod, gone.netns)
          if (whenDeleted === 'before') await server.delete(gone.pod.uid)
          const answer = await answering
          removeBarePods([gone])
          t.match(answer, {
            outcome: 'ack',
            error: /its network namespace has no interface: the pod is gone/,
          })
          if (whenDeleted === 'after') {
            t.match(await agent.readyz(), /^ready\n/, 'it is nobody else’s concern')
            // After three tries it is given up: the deletion may come too late for it.
            const { outcome, error } = await server.delete(gone.pod.uid)
            t.equal(outcome, 'ack')
            t.match(error, /^$|is not served here/)
          }
          await eventually('nothing is pending', async () => {
            return (await agent.metric('workload_manager_pending_proxy_count')) === 0
          })
          for (const connection of lab.live) t.equal(await connection.ask('still here'), 'still here')
          await agent.hasNoMoreThan(lab.before)
        },
      )
    }

    await t.test('is given up when nobody deletes it', async (t) => {
      const [gone] = makeBarePods(t, 1, { families: [] })
      if (gone === undefined) throw new TypeError('one was made')
      t.match(await server.add(gone.pod, gone.netns), { error: /has no interface/ })
      removeBarePods([gone])
      await eventually(
        'it is given up',
        () => agent.program.stderr.includes(`pod bare/${gone.pod.name} is given up`),
        20_000,
      )
      t.equal(await agent.metric('workload_manager_pending_proxy_count'), 0)
      for (const connection of lab.live) t.equal(await connection.ask('still here'), 'still here')
      await agent.hasNoMoreThan(lab.before)
    })
  })

  t.test('istio-cni in trouble', async (t) => {
    await t.test('that goes in mid-snapshot loses nothing, and is asked again', async (t) => {
      const lab = await startLab(t)
      const { server, agent } = lab
      for (const messages of [0, 1, 2]) {
        const count = (await server.connections()).length
        await server.closeNextSnapshotAfter(messages)
        await server.disconnect()
        await server.opened(count + 2)
        t.match((await server.connections())[count], {
          phase: 'closed',
          closedFor: 'closed in the snapshot, as the test asked',
        })
        await staysWhole(t, lab)
      }
      t.match(agent.program.stderr, /is lost in the middle of a snapshot/)
    })

    await t.test('that names a pod badly in its snapshot ends nobody', async (t) => {
      const lab = await startLab(t)
      const { server, captured } = lab
      const { pod, netns } = captured.pod('shop/client')
      // The server's pod is in no message that can be read.
      await server.setPods([
        { pod, netns },
        { pod: { ...captured.pod('shop/server').pod, uid: '' }, netns: captured.pod('shop/server').netns },
      ])
      await server.disconnect()
      const { exchanges } = await server.opened(2)
      t.match(
        exchanges.map(({ error }) => error),
        ['', /^add: add\.uid must not be empty/, ''],
      )
      await staysWhole(t, lab)
    })

    await t.test('of another version closes after the hello: the agent says so and goes on', async (t) => {
      const lab = await startLab(t)
      const { server, agent } = lab
      await server.refuseVersion(true)
      await server.disconnect()
      await agent.program.logged('it may not know version 1 of the protocol')
      await eventually('the agent says so', async () =>
        /^not ready\n {2}workload proxy manager: istio-cni is not connected/.test(await agent.readyz()),
      )
      for (const connection of lab.live) t.equal(await connection.ask('still here'), 'still here')
      await server.refuseVersion(false)
      await eventually(
        'the agent is ready again',
        async () => (await agent.readyz()).startsWith('ready\n'),
        20_000,
      )
      await staysWhole(t, lab)
    })
  })
}
