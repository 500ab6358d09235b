/** The rules for a pod at work: an agent in the namespace of a pod, whose connections they redirect. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { writeFile } from '../fixtures/envoy-files.ts'
import { LOOPBACK } from '../fixtures/loopback.ts'
import { startNamespaceAgent } from '../fixtures/namespace-agent.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { LAB, createLab, requireNamespaces } from '../fixtures/namespaces.ts'
import { applyRules, assertPassesBy, forEachBackend, removeRules } from '../fixtures/rules-lab.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { Family } from '../../src/core/family.ts'
import type { Namespace } from '../fixtures/namespaces.ts'

/** Of the application in the pod, and of one elsewhere. */
const POD_PORT = 9_000
const ELSEWHERE_PORT = 9_100
const PROBE = { ipv4: '169.254.7.127', ipv6: 'fd16:9254:7127:1337:ffff:ffff:ffff:ffff' } as const

if (requireNamespaces(t)) {
  forEachBackend(t, 'in a pod', async (t, backend) => {
    // The lab's server is the pod, its node that of the pod, and its client is elsewhere.
    const { client: elsewhere, node, server: pod } = createLab(t)
    applyRules(pod, backend)
    const [elsewhereHost, nodeHost, podHost] = await Promise.all([
      NamespaceHost.start(t, elsewhere),
      NamespaceHost.start(t, node),
      NamespaceHost.start(t, pod),
    ])
    const agent = await startNamespaceAgent(t, pod, [], {
      env: {
        LOCAL_XDS_PATH: writeFile(t.testdir(), 'mesh.yaml', 'workloads: []\n'),
        TWINSTACK_ENGINE: 'linux',
        TWINSTACK_WORKERS: '1',
        ENABLE_ORIG_SRC: 'true',
      },
    })
    for (const family of FAMILIES) {
      await podHost.listen(LAB.server[family], POD_PORT)
      await podHost.listen(LOOPBACK[family], POD_PORT)
      await elsewhereHost.listen(LAB.client[family], ELSEWHERE_PORT)
    }
    for (const family of FAMILIES) {
      await t.test(`${family} into the pod goes through the agent, the source is kept`, async (t) => {
        const { received, end } = await elsewhereHost.exchange(LAB.server[family], POD_PORT, 'hello')
        t.equal(received, `${LAB.server[family]} ${POD_PORT} from ${LAB.client[family]}: hello`)
        t.equal(end, 'fin')
        const asked = socketText(LAB.server[family], POD_PORT)
        t.match(await agent.logOf((line) => line['dst.original'] === asked), { listener: 'inbound', family })
      })

      await t.test(`${family} out of the pod goes through the agent`, async (t) => {
        const { received, end } = await podHost.exchange(LAB.client[family], ELSEWHERE_PORT, 'hello')
        t.equal(received, `${LAB.client[family]} ${ELSEWHERE_PORT} from ${LAB.server[family]}: hello`)
        t.equal(end, 'fin')
        const asked = socketText(LAB.client[family], ELSEWHERE_PORT)
        t.match(await agent.logOf((line) => line['dst.original'] === asked), { listener: 'outbound', family })
      })

      await t.test(`${family} from the node is captured as from anywhere`, async (t) => {
        const { received } = await nodeHost.exchange(LAB.server[family], POD_PORT, 'hello')
        t.equal(received, `${LAB.server[family]} ${POD_PORT} from ${LAB.nodeAtServer[family]}: hello`)
        const source = LAB.nodeAtServer[family]
        t.match(await agent.logOf((line) => String(line['src.addr']).includes(source)), {
          listener: 'inbound',
        })
      })

      await t.test(`${family} to localhost and to the pod's own address passes by`, async (t) => {
        await assertPassesBy(t, agent, podHost, [LOOPBACK[family], POD_PORT], LOOPBACK[family])
        await assertPassesBy(t, agent, podHost, [LAB.server[family], POD_PORT], LAB.server[family])
      })
    }

    await t.test('from the addresses of probes both families pass by', async (t) => {
      probeFrom(node, PROBE)
      for (const family of FAMILIES)
        await assertPassesBy(t, agent, nodeHost, [LAB.server[family], POD_PORT], PROBE[family])
    })

    await t.test('after the removal nothing is captured', async (t) => {
      removeRules(pod, backend)
      for (const family of FAMILIES) {
        await assertPassesBy(t, agent, podHost, [LAB.client[family], ELSEWHERE_PORT], LAB.server[family])
        await assertPassesBy(t, agent, elsewhereHost, [LAB.server[family], POD_PORT], LAB.client[family])
      }
    })
  })

  forEachBackend(t, 'probes come from the addresses that were given', async (t, backend) => {
    const { node, server: pod } = createLab(t)
    const given = { ipv4: '192.0.2.7', ipv6: 'fd00:7::7' } as const
    applyRules(pod, backend, `--probe-ipv4 ${given.ipv4} --probe-ipv6 ${given.ipv6}`)
    const [nodeHost, podHost] = await Promise.all([NamespaceHost.start(t, node), NamespaceHost.start(t, pod)])
    // Nobody listens where connections are redirected to: what is captured is refused.
    for (const family of FAMILIES) await podHost.listen(LAB.server[family], POD_PORT)
    for (const [source, isCaptured] of [
      [PROBE, true],
      [given, false],
    ] as const) {
      probeFrom(node, source)
      for (const family of FAMILIES) {
        const { received } = await nodeHost.exchange(LAB.server[family], POD_PORT, 'hello')
        t.equal(received, isCaptured ? '' : `${LAB.server[family]} ${POD_PORT} from ${source[family]}: hello`)
      }
    }
  })
}

/** Makes an address of each family the one from which a node calls its pod, as the node's own rules do for the kubelet. */
function probeFrom(node: Namespace, { ipv4, ipv6 }: Readonly<Record<Family, string>>): void {
  node.ip(
    `addr replace ${ipv4}/32 dev lo`,
    `addr replace ${ipv6}/128 dev lo nodad`,
    `route replace ${LAB.server.ipv4} dev to-server src ${ipv4}`,
    `route replace ${LAB.server.ipv6} dev to-server src ${ipv6}`,
  )
}
