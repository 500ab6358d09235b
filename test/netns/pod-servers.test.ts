/** The agent beside each server of pods, istio-cni's own too: it serves what it is told of, and nothing else. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { startPodAgent } from '../fixtures/captured-pods.ts'
import { writeFile } from '../fixtures/envoy-files.ts'
import { eventually } from '../fixtures/eventually.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { createPodLab } from '../fixtures/pod-lab.ts'
import { podMeshText } from '../fixtures/pod-mesh.ts'
import { ECHO_PORT, startTcpEcho } from '../fixtures/pod-programs.ts'
import { forEachPodServer } from '../fixtures/pod-servers.ts'
import { socketPath } from '../fixtures/zds-server.ts'

import type { LabPod } from '../fixtures/pod-lab.ts'

/** istio-cni accepts a connection every 200 ms, and a new one only then. */
const PATIENCE_MS = 10_000

if (requireNamespaces(t)) {
  forEachPodServer(t, 'pods of a node come, stay and go', async (t, start) => {
    const lab = createPodLab(t, {
      nodes: 1,
      pods: ['client', 'server', 'late'].map((name) => ({ namespace: 'shop', name })),
    })
    const [client, server, late] = ['client', 'server', 'late'].map((name) => lab.pod(`shop/${name}`))
    const [node] = lab.nodes
    if (!client || !server || !late || !node) throw new TypeError('the lab has them')
    const file = writeFile(t.testdir(), 'mesh.yaml', podMeshText({ pods: lab.pods }))
    for (const pod of lab.pods) pod.redirect()
    await Promise.all([server, late].map((pod) => startTcpEcho(t, pod)))
    const host = await NamespaceHost.start(t, client.network)
    const outside = await NamespaceHost.start(t, lab.outside.network)
    const call = async (pod: LabPod, from = host): Promise<readonly string[]> =>
      Promise.all(
        FAMILIES.map(async (family) => {
          const { received, end } = await from.exchange(pod.address(family), ECHO_PORT, 'dualstack\n')
          return received === '' ? end : received
        }),
      )
    const isServed = async (pod: LabPod): Promise<boolean> =>
      (await call(pod)).every((answer) => answer === 'hello dualstack\n')

    const socket = socketPath(t)
    const podServer = await start(t, socket, {
      pods: [client, server].map(({ pod, netns }) => ({ pod, netns })),
    })
    const options = { node, file, socket, env: {} }
    const first = await startPodAgent(t, options)
    await eventually('the snapshot is served', () => isServed(server), PATIENCE_MS)

    // Its rules are there and nobody behind them. Not asked through the agent: it would remember that for a while, rule 7.
    t.strictSame(await call(late, outside), ['refused', 'refused'])
    t.match(await podServer.add(late.pod, late.netns), { outcome: 'ack', error: '' })
    t.ok(await isServed(late), 'a pod is served when its addition has been answered')
    for (const family of FAMILIES) {
      const line = await first.logOf(
        (each) =>
          each['direction'] === 'inbound' && each['dst.workload'] === 'late' && each['family'] === family,
      )
      t.match(line, { 'src.workload': 'client', source_preserved: 'true' })
    }
    t.match(await podServer.add(late.pod, late.netns), { outcome: 'ack', error: '' }, 'once more')

    first.program.signal('SIGKILL')
    await first.program.exit
    await startPodAgent(t, options)
    await eventually('another agent serves what is there', () => isServed(late), PATIENCE_MS)
    // A snapshot has its pods in no order.
    await eventually('each of them', () => isServed(server), PATIENCE_MS)

    // istio-cni looks for connections that have ended from time to time, and tells these too of a deletion.
    await eventually('the first one is forgotten', async () => (await podServer.connected()) === 1)
    t.match(await podServer.delete(late.pod.uid), { outcome: 'ack', error: '' })
    t.strictSame(await call(late, outside), ['refused', 'refused'])
    t.ok(await isServed(server), 'nobody else is concerned')
  })
}
