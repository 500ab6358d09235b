/** The rules for a host at work: an agent in the namespace of a node, pods behind it, and a host elsewhere. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { writeFile } from '../fixtures/envoy-files.ts'
import { startNamespaceAgent } from '../fixtures/namespace-agent.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { LAB, createLab, requireNamespaces } from '../fixtures/namespaces.ts'
import { applyRules, assertPassesBy, forEachBackend, removeRules } from '../fixtures/rules-lab.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { Test } from 'tap'
import type { NamespaceAgent } from '../fixtures/namespace-agent.ts'
import type { Namespace, NamespaceLab } from '../fixtures/namespaces.ts'
import type { Backend } from '../../src/agent/rules/rules-options.ts'

const APP_PORT = 9_000
/** Excluded by their port, and by the address of their server. */
const EXCLUDED_PORT = 9_001
const EXCLUDED = { ipv4: '10.244.1.9', ipv6: 'fd00:10:244:1::9' } as const
/** Of a service that the node translates as kube-proxy does. */
const VIP = { ipv4: '10.96.0.1', ipv6: 'fd00:96::1' } as const
const VIP_PORT = 80

const PODS = '--mode node --pod-cidrs 10.244.2.0/24,fd00:10:244:2::/64'
const EXCLUSIONS = `--exclude-ports ${EXCLUDED_PORT} --exclude-cidrs ${EXCLUDED.ipv4},${EXCLUDED.ipv6}`

if (requireNamespaces(t)) {
  forEachBackend(t, 'on a node', async (t, backend) => {
    // The lab's server is a pod of the node, its client is elsewhere.
    const lab = createLab(t)
    const { client: elsewhere, node } = lab
    // Deprecated, so that it is no source of connections.
    elsewhere.ip(
      `addr add ${EXCLUDED.ipv4}/24 dev eth0`,
      `addr add ${EXCLUDED.ipv6}/64 dev eth0 nodad preferred_lft 0`,
    )
    translateVip(node, backend)
    applyRules(node, backend, `${PODS} ${EXCLUSIONS}`)
    const { agent, elsewhereHost, nodeHost, podHost } = await start(t, lab)
    for (const family of FAMILIES) {
      await podHost.listen(LAB.server[family], APP_PORT)
      await nodeHost.listen(LAB.nodeAtServer[family], APP_PORT)
      for (const [host, port] of [
        [LAB.client[family], APP_PORT],
        [LAB.client[family], EXCLUDED_PORT],
        [EXCLUDED[family], APP_PORT],
      ] as const)
        await elsewhereHost.listen(host, port)
    }
    for (const family of FAMILIES) {
      const [podIp, clientIp, nodeIp] = [LAB.server[family], LAB.client[family], LAB.nodeAtServer[family]]

      await t.test(`${family} out of a pod goes through the agent, the source is kept`, async (t) => {
        const { received, end } = await podHost.exchange(clientIp, APP_PORT, 'hello')
        t.strictSame(
          { received, end },
          { received: `${clientIp} ${APP_PORT} from ${podIp}: hello`, end: 'fin' },
        )
        const asked = socketText(clientIp, APP_PORT)
        t.match(await agent.logOf((line) => line['dst.original'] === asked), { listener: 'outbound', family })
      })

      await t.test(`${family} into a pod goes through the agent, the source is kept`, async (t) => {
        const { received, end } = await elsewhereHost.exchange(podIp, APP_PORT, 'hello')
        t.strictSame(
          { received, end },
          { received: `${podIp} ${APP_PORT} from ${clientIp}: hello`, end: 'fin' },
        )
        const asked = socketText(podIp, APP_PORT)
        t.match(await agent.logOf((line) => line['dst.original'] === asked), { listener: 'inbound', family })
      })

      await t.test(
        `${family} to a service arrives with its address, before the node translates it`,
        async (t) => {
          await podHost.exchange(VIP[family], VIP_PORT, 'hello')
          const asked = socketText(VIP[family], VIP_PORT)
          t.match(await agent.logOf((line) => line['dst.original'] === asked), {
            listener: 'outbound',
            family,
          })
        },
      )

      await t.test(`${family} from the node to its pod and back passes by`, async (t) => {
        await assertPassesBy(t, agent, nodeHost, [podIp, APP_PORT], nodeIp)
        await assertPassesBy(t, agent, podHost, [nodeIp, APP_PORT], podIp)
      })

      await t.test(`${family} to what was excluded passes by`, async (t) => {
        await assertPassesBy(t, agent, podHost, [clientIp, EXCLUDED_PORT], podIp)
        await assertPassesBy(t, agent, podHost, [EXCLUDED[family], APP_PORT], podIp)
      })

      await t.test(`${family} to the agent's own ports is refused, by whoever is asked`, async (t) => {
        for (const port of [15_001, 15_006]) {
          const { end } = await podHost.exchange(clientIp, port, 'hello')
          t.equal(end, 'refused')
          t.equal((await podHost.exchange(nodeIp, port, 'hello')).end, 'rst')
        }
      })
    }

    await t.test('after the removal nothing is captured', async (t) => {
      removeRules(node, backend, '--mode node')
      for (const family of FAMILIES) {
        await assertPassesBy(t, agent, podHost, [LAB.client[family], APP_PORT], LAB.server[family])
        await assertPassesBy(t, agent, elsewhereHost, [LAB.server[family], APP_PORT], LAB.client[family])
      }
    })
  })

  forEachBackend(
    t,
    "services whose addresses are the node's own, as with IPVS, are captured where their ranges are given",
    async (t, backend) => {
      const lab = createLab(t)
      const { node } = lab
      node.ip(`addr add ${VIP.ipv4}/32 dev lo`, `addr add ${VIP.ipv6}/128 dev lo nodad`)
      applyRules(node, backend, PODS)
      const { agent, nodeHost, podHost } = await start(t, lab)
      for (const family of FAMILIES) {
        await nodeHost.listen(VIP[family], VIP_PORT)
        await assertPassesBy(t, agent, podHost, [VIP[family], VIP_PORT], LAB.server[family])
      }
      applyRules(node, backend, `${PODS} --service-cidrs 10.96.0.0/12,fd00:96::/108`)
      for (const family of FAMILIES) {
        await podHost.exchange(VIP[family], VIP_PORT, 'hello')
        const asked = socketText(VIP[family], VIP_PORT)
        t.match(await agent.logOf((line) => line['dst.original'] === asked), { listener: 'outbound', family })
      }
    },
  )

  forEachBackend(
    t,
    'interfaces of pods need no address where the node has been given',
    async (t, backend) => {
      const lab = createLab(t)
      const { node, server: pod } = lab
      takeAddresses(node, pod)
      applyRules(node, backend, `${PODS} --node-ips ${LAB.node.ipv4},${LAB.node.ipv6}`)
      const { agent, elsewhereHost, podHost } = await start(t, lab)
      for (const family of FAMILIES) {
        await elsewhereHost.listen(LAB.client[family], APP_PORT)
        const { received } = await podHost.exchange(LAB.client[family], APP_PORT, 'hello')
        t.equal(received, `${LAB.client[family]} ${APP_PORT} from ${LAB.server[family]}: hello`)
        const asked = socketText(LAB.client[family], APP_PORT)
        t.match(await agent.logOf((line) => line['dst.original'] === asked), { listener: 'outbound', family })
      }
    },
  )
}

interface NodeLab {
  readonly agent: NamespaceAgent
  readonly elsewhereHost: NamespaceHost
  readonly nodeHost: NamespaceHost
  readonly podHost: NamespaceHost
}

/** Everything that runs: an agent on the node that keeps sources, and a host in each namespace. */
async function start(t: Test, { client, node, server }: NamespaceLab): Promise<NodeLab> {
  const [agent, elsewhereHost, nodeHost, podHost] = await Promise.all([
    startNamespaceAgent(t, node, [], {
      env: {
        LOCAL_XDS_PATH: writeFile(t.testdir(), 'mesh.yaml', 'workloads: []\n'),
        TWINSTACK_ENGINE: 'linux',
        TWINSTACK_WORKERS: '1',
        ENABLE_ORIG_SRC: 'true',
      },
    }),
    NamespaceHost.start(t, client),
    NamespaceHost.start(t, node),
    NamespaceHost.start(t, server),
  ])
  return { agent, elsewhereHost, nodeHost, podHost }
}

/** As kube-proxy: at the usual priority of nft, or at the head of the chain of iptables. */
function translateVip(node: Namespace, backend: Backend): void {
  if (backend === 'nft') {
    node.nft(`table inet kube-proxy {
      chain prerouting {
        type nat hook prerouting priority dstnat;
        ip daddr ${VIP.ipv4} tcp dport ${VIP_PORT} dnat ip to ${LAB.client.ipv4}:${APP_PORT}
        ip6 daddr ${VIP.ipv6} tcp dport ${VIP_PORT} dnat ip6 to [${LAB.client.ipv6}]:${APP_PORT}
      }
    }`)
    return
  }
  const rule = `-t nat -I PREROUTING -p tcp --dport ${VIP_PORT} -j DNAT --to-destination`
  node.run('iptables', ...`${rule} ${LAB.client.ipv4}:${APP_PORT} -d ${VIP.ipv4}`.split(' '))
  node.run('ip6tables', ...`${rule} [${LAB.client.ipv6}]:${APP_PORT} -d ${VIP.ipv6}`.split(' '))
}

/** Leaves the node's interface to the pod without an address, as Calico has it. */
function takeAddresses(node: Namespace, pod: Namespace): void {
  const { ipv4, ipv6 } = LAB.nodeAtServer
  const mac = node.run('cat', '/sys/class/net/to-server/address').trim()
  node.ip(
    `addr del ${ipv4}/24 dev to-server`,
    `addr del ${ipv6}/64 dev to-server`,
    `route add ${LAB.server.ipv4} dev to-server`,
    `route add ${LAB.server.ipv6} dev to-server`,
  )
  // Nobody answers for the gateway now; a CNI has proxy ARP or such an entry.
  for (const gateway of [ipv4, ipv6]) pod.ip(`neigh replace ${gateway} lladdr ${mac} dev eth0`)
}
