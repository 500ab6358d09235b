/** The ZDS server of the tests and istio-cni's own do the same where both are asked: what is shown with one holds for both. */
import { statSync } from 'node:fs'

import t from 'tap'

import { eventually } from '../fixtures/eventually.ts'
import { whyNoLinuxEngine } from '../fixtures/linux-engine.ts'
import { MinimalZdsClient } from '../fixtures/minimal-zds-client.ts'
import { forEachPodServer } from '../fixtures/pod-servers.ts'
import { encodeAck, encodeHello } from '../fixtures/zds-messages.ts'
import { socketPath } from '../fixtures/zds-server.ts'

import type { Pod } from '../../src/mesh/pod.ts'

/** A file of a network namespace that is always there. */
const NETNS = '/proc/self/ns/net'

function pod(name: string): Pod {
  return { uid: `uid-of-${name}`, name, namespace: 'shop', serviceAccount: 'default' }
}

const reason = await whyNoLinuxEngine()
if (reason !== undefined) t.plan(0, reason)
else {
  forEachPodServer(t, 'snapshots have the pods that are there', async (t, start) => {
    const path = socketPath(t)
    const server = await start(t, path, { pods: [{ pod: pod('a'), netns: NETNS }] })
    await server.keep(pod('b'))
    const { snapshot } = await MinimalZdsClient.open(t, path)
    // istio-cni has them in a map.
    const sorted = [...snapshot].sort((first, second) => (first.kind < second.kind ? -1 : 1))
    t.match(sorted, [
      { kind: 'add', pod: pod('a'), inodes: [statSync(NETNS).ino] },
      { kind: 'keep', uid: 'uid-of-b', inodes: [] },
    ])
  })

  forEachPodServer(t, 'a pod that nobody is there for is in the next snapshot', async (t, start) => {
    const path = socketPath(t)
    const server = await start(t, path)
    t.match(await server.add(pod('a'), NETNS), { outcome: 'no-connection', error: /no ztunnel connection/ })
    t.equal(await server.connected(), 0)
    t.match((await MinimalZdsClient.open(t, path)).snapshot, [{ kind: 'add', pod: pod('a') }])
    t.equal(await server.connected(), 1)
  })

  forEachPodServer(t, 'an added pod goes to the newest connection, a deletion to all', async (t, start) => {
    const path = socketPath(t)
    const server = await start(t, path)
    const { client: old } = await MinimalZdsClient.open(t, path)
    const { client: newest } = await MinimalZdsClient.open(t, path)
    const added = server.add(pod('a'), NETNS)
    t.match(await newest.answerNext(), { kind: 'add', pod: pod('a'), inodes: [statSync(NETNS).ino] })
    t.match(await added, { outcome: 'ack', error: '' })
    const refused = server.add(pod('b'), NETNS)
    await newest.answerNext('no listener')
    t.match(await refused, { outcome: 'ack', error: 'no listener' })
    const deleted = server.delete('uid-of-a')
    t.match(await old.answerNext(), { kind: 'delete', uid: 'uid-of-a' })
    t.match(await newest.answerNext(), { kind: 'delete', uid: 'uid-of-a' })
    t.match(await deleted, { outcome: 'ack', error: '' })
  })

  forEachPodServer(t, 'a pod that is added before the snapshot was sent comes twice', async (t, start) => {
    const path = socketPath(t)
    const server = await start(t, path, { pods: [{ pod: pod('a'), netns: NETNS }] })
    const client = await MinimalZdsClient.connect(t, path)
    await eventually('it is connected', async () => (await server.connected()) === 1)
    const added = server.add(pod('a'), NETNS)
    await eventually('the order has arrived', async () => (await server.connected()) === 1)
    client.send(encodeHello())
    t.match(await client.answerNext(), { kind: 'add', pod: pod('a') })
    t.match(await client.answerNext(), { kind: 'snapshot-sent' })
    t.match(await client.answerNext(), { kind: 'add', pod: pod('a') })
    t.match(await added, { outcome: 'ack', error: '' })
  })

  forEachPodServer(t, 'a client that says something unasked is not served any more', async (t, start) => {
    const path = socketPath(t)
    const server = await start(t, path)
    const { client } = await MinimalZdsClient.open(t, path)
    client.send(encodeAck())
    await eventually('it is closed', async () => (await server.connected()) === 0)
    await t.rejects(client.next(), /closed/)
  })

  forEachPodServer(t, 'a client that closes is gone, and the server that stops too', async (t, start) => {
    const path = socketPath(t)
    const server = await start(t, path)
    const { client } = await MinimalZdsClient.open(t, path)
    client.close()
    await eventually('it is gone', async () => (await server.connected()) === 0)
    const { client: second } = await MinimalZdsClient.open(t, path)
    await server.stop()
    await t.rejects(second.next(), /closed/)
  })
}
