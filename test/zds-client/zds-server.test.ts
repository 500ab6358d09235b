/** The ZDS server of the tests keeps to istio-cni's side of the protocol, or breaks it as it is told. */
import { statSync } from 'node:fs'

import t from 'tap'

import { eventually } from '../fixtures/eventually.ts'
import { whyNoLinuxEngine } from '../fixtures/linux-engine.ts'
import { MinimalZdsClient } from '../fixtures/minimal-zds-client.ts'
import { encodeHello, zdsField } from '../fixtures/zds-messages.ts'
import { ZdsServer, socketPath } from '../fixtures/zds-server.ts'

import type { Test } from 'tap'
import type { Pod } from '../../src/mesh/pod.ts'
import type { PodInNamespace } from '../fixtures/zds-server-worker.ts'

const skip = (await whyNoLinuxEngine()) ?? false
/** A file of a network namespace that is always there. */
const NETNS = '/proc/self/ns/net'
const PLAIN_FILE = '/dev/null'

function pod(name: string): Pod {
  return { uid: `uid-of-${name}`, name, namespace: 'shop', serviceAccount: 'default' }
}

function start(t: Test, pods: readonly PodInNamespace[] = [], answerTimeoutMs = 5_000): Promise<ZdsServer> {
  return ZdsServer.start(t, socketPath(t), { pods, answerTimeoutMs })
}

t.test('sends a snapshot with a descriptor of each namespace, and its end', { skip }, async (t) => {
  const server = await start(t, [{ pod: pod('a'), netns: NETNS }])
  await server.keep(pod('b'))
  const { snapshot } = await MinimalZdsClient.open(t, server.path)
  t.match(snapshot, [
    { kind: 'add', pod: pod('a'), inodes: [statSync(NETNS).ino] },
    { kind: 'keep', uid: 'uid-of-b', inodes: [] },
  ])
  const state = await server.opened()
  t.match(state, { id: 1, version: 1, phase: 'open' })
  t.strictSame(
    state.exchanges.map(({ message, outcome, error }) => [message, outcome, error]),
    [
      ['add uid-of-a', 'ack', ''],
      ['keep uid-of-b', 'ack', ''],
      ['snapshot-sent', 'ack', ''],
    ],
  )
})

t.test('sends an added pod to the newest connection and a deletion to all', { skip }, async (t) => {
  const server = await start(t)
  t.match(await server.add(pod('early'), NETNS), { outcome: 'no-connection' })
  t.match(await server.delete('uid-of-early'), { outcome: 'ack' })
  const { client: old } = await MinimalZdsClient.open(t, server.path)
  const { client: newest } = await MinimalZdsClient.open(t, server.path)
  t.equal(await server.connected(), 2)

  const added = server.add(pod('a'), NETNS)
  t.match(await newest.answerNext(), { kind: 'add', pod: pod('a'), inodes: [statSync(NETNS).ino] })
  const { tookMs, ...answer } = await added
  t.strictSame(answer, { outcome: 'ack', error: '' })
  t.ok(tookMs > 0 && tookMs < 5_000, `${tookMs} ms`)

  const deleted = server.deleteFromEach('uid-of-a')
  t.match(await old.answerNext('no such pod'), { kind: 'delete', uid: 'uid-of-a' })
  t.match(await newest.answerNext(), { kind: 'delete', uid: 'uid-of-a' })
  t.match(await deleted, [
    { outcome: 'ack', error: 'no such pod' },
    { outcome: 'ack', error: '' },
  ])
})

t.test('sends one message at a time, the next when the answer is there or too late', { skip }, async (t) => {
  const server = await start(t, [], 3_000)
  const { client } = await MinimalZdsClient.open(t, server.path)
  const answers = [server.add(pod('a'), NETNS), server.add(pod('b'), NETNS)]
  t.match(await client.next(), { pod: pod('a') })
  t.ok(await client.hasQuiet(), 'nothing comes before the answer')
  t.match(await answers[0], { outcome: 'timeout', error: 'no answer within 3000 ms' })
  t.match(await client.next(), { pod: pod('b') })
  client.close()
  t.match(await answers[1], { outcome: 'closed', error: 'the client closed it' })
  t.match(await server.connections(), [{ phase: 'closed', closedFor: 'the client closed it' }])
})

t.test('closes a connection that says something unasked, or too much', { skip }, async (t) => {
  const server = await start(t)
  const { client } = await MinimalZdsClient.open(t, server.path)
  await server.opened()
  client.send(encodeHello())
  await eventually('it is closed', async () => (await server.connected()) === 0)
  const { client: verbose } = await MinimalZdsClient.open(t, server.path)
  const answer = server.add(pod('a'), NETNS)
  await verbose.answerNext('x'.repeat(2_000))
  t.match(await answer, { outcome: 'closed', error: /more than 1024 bytes/ })
  t.match(await server.connections(), [{ closedFor: 'an unexpected message' }, { phase: 'closed' }])
})

t.test('closes in the snapshot when it is told to, and sends the whole one next', { skip }, async (t) => {
  const server = await start(t, [
    { pod: pod('a'), netns: NETNS },
    { pod: pod('b'), netns: NETNS },
  ])
  await server.closeNextSnapshotAfter(1)
  const client = await MinimalZdsClient.connect(t, server.path)
  client.send(encodeHello())
  t.match(await client.answerNext(), { kind: 'add', pod: pod('a') })
  await t.rejects(client.next(), /closed/)
  t.equal((await MinimalZdsClient.open(t, server.path)).snapshot.length, 2)
})

t.test('sends what no server should, with any descriptors', { skip }, async (t) => {
  const server = await start(t)
  const { client } = await MinimalZdsClient.open(t, server.path)
  const [netns, plain] = [NETNS, PLAIN_FILE].map((file) => statSync(file).ino)
  for (const { bytes, files, seen } of [
    { bytes: zdsField(9, 'x'), files: [], seen: { kind: 'unknown', inodes: [] } },
    { bytes: zdsField(9, 'x'), files: [NETNS, PLAIN_FILE], seen: { inodes: [netns, plain] } },
    { bytes: zdsField(9, 'x'.repeat(100_000)), files: [], seen: { bytes: 100_004 } },
  ]) {
    const answer = server.sendRaw(bytes, files)
    t.match(await client.answerNext('bad'), seen)
    t.match(await answer, { outcome: 'ack', error: 'bad' })
  }
})

t.test('starts again with the pods that it had', { skip }, async (t) => {
  const server = await start(t, [{ pod: pod('a'), netns: NETNS }])
  const { client } = await MinimalZdsClient.open(t, server.path)
  await server.stop()
  await t.rejects(client.next(), /closed/)
  await t.rejects(MinimalZdsClient.connect(t, server.path), /ECONNREFUSED/)
  await server.restart()
  t.equal((await MinimalZdsClient.open(t, server.path)).snapshot.length, 1)
  await server.disconnect()
  t.equal(await server.connected(), 0)
  t.equal((await MinimalZdsClient.open(t, server.path)).snapshot.length, 1)
})

t.test('holds a descriptor for each pod that it knows and no other', { skip }, async (t) => {
  const server = await start(t)
  const before = await server.descriptors()
  const { client } = await MinimalZdsClient.open(t, server.path)
  for (const name of ['a', 'b', 'a']) {
    const answer = server.add(pod(name), NETNS)
    await client.answerNext()
    await answer
  }
  t.equal(await server.openFiles(), 2)
  await t.rejects(server.add(pod('c'), '/nowhere'), /ENOENT/)
  await server.setPods([])
  t.equal(await server.openFiles(), 0)
  client.close()
  await eventually('the connection is gone', async () => (await server.connected()) === 0)
  t.equal(await server.descriptors(), before)
})
