/** The ambient dialect as it runs on a node: connections that nft redirects out of and into pods. */
import { writeFileSync } from 'node:fs'

import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import { startNamespaceProxy } from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { Family } from '../../src/core/family.ts'
import type { NamespaceLab } from '../fixtures/namespaces.ts'

/** Where the agent runs. */
const NODE = 'node-a'
const OTHER_NODE = 'node-b'
/** Pods are dual-stack; their applications listen on what `listens` says. */
const PODS = [
  { name: 'dual', host: 10, listens: FAMILIES, node: OTHER_NODE },
  { name: 'binds-ipv4', host: 11, listens: ['ipv4'], node: OTHER_NODE },
  { name: 'binds-ipv6', host: 12, listens: ['ipv6'], node: OTHER_NODE },
  { name: 'on-node', host: 13, listens: FAMILIES, node: NODE },
] as const
type Pod = (typeof PODS)[number]

const APP_PORT = 9_000
/** The same application behind the other capture port. */
const INBOUND_APP_PORT = 9_100
const SERVICE_PORT = 80

const RULES = `
table inet capture {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "to-client" tcp dport ${INBOUND_APP_PORT} redirect to :15006
    iifname "to-client" tcp dport != { 15001, 15006 } redirect to :15001
  }
}`

const ALLOW = 'Allow'
const DENY = 'Deny'

function podAddress({ host }: Pod): Readonly<Record<Family, string>> {
  return { ipv4: `10.244.2.${host}`, ipv6: `fd00:10:244:2::${host}` }
}

function vip({ host }: Pod): Readonly<Record<Family, string>> {
  return { ipv4: `10.96.0.${host}`, ipv6: `fd00:96::${host}` }
}

/** ztunnel's local file; `action` is what the policy of every pod does with the client's addresses. */
function meshText(action: typeof ALLOW | typeof DENY): string {
  const workload = (name: string, ips: Readonly<Record<Family, string>>, rest = {}): object => ({
    uid: `Kubernetes//Pod/shop/${name}`,
    name,
    namespace: 'shop',
    workloadIps: FAMILIES.map((family) => ips[family]),
    protocol: 'TCP',
    network: '',
    status: 'Healthy',
    ...rest,
  })
  return JSON.stringify({
    workloads: [
      workload('client', LAB.client),
      ...PODS.map((pod) =>
        workload(pod.name, podAddress(pod), {
          node: pod.node,
          authorizationPolicies: ['shop/clients'],
          services: { [`shop/${pod.name}.shop`]: { [SERVICE_PORT]: APP_PORT } },
        }),
      ),
      workload('secret', { ipv4: '10.244.2.90', ipv6: 'fd00:10:244:2::90' }, { protocol: 'HBONE' }),
    ],
    services: PODS.map((pod) => ({
      name: pod.name,
      namespace: 'shop',
      hostname: `${pod.name}.shop`,
      vips: FAMILIES.map((family) => `/${vip(pod)[family]}`),
      ports: { [SERVICE_PORT]: APP_PORT },
      ipFamilies: 'Dual',
    })),
    policies: [
      {
        name: 'clients',
        namespace: 'shop',
        scope: 'WorkloadSelector',
        action,
        rules: [[[{ sourceIps: FAMILIES.map((family) => LAB.client[family]) }]]],
      },
    ],
  })
}

function addPods({ server }: NamespaceLab): void {
  server.ip(
    ...PODS.map((pod) => `addr add ${podAddress(pod).ipv4}/24 dev eth0`),
    ...PODS.map((pod) => `addr add ${podAddress(pod).ipv6}/64 dev eth0 nodad`),
  )
}

/** The family that answers a client of `family`. */
function servedBy({ listens }: Pod, family: Family): Family {
  return listens.some((each) => each === family) ? family : otherFamily(family)
}

if (requireNamespaces(t)) {
  forEachEngine(t, 'on a node of the mesh', async (t, engine) => {
    const { agent, clientHost, serverHost, file } = await startNamespaceProxy(t, engine, {
      config: { dialect: 'ambient', text: meshText(ALLOW) },
      env: { NODE_NAME: NODE },
      rules: RULES,
      prepare: addPods,
    })
    for (const pod of PODS) {
      for (const family of pod.listens) {
        await serverHost.listen(podAddress(pod)[family], APP_PORT)
        await serverHost.listen(podAddress(pod)[family], INBOUND_APP_PORT)
      }
    }
    for (const family of FAMILIES) await serverHost.listen(LAB.server[family], APP_PORT)

    const viewOf = (host: string, port: number, family: Family): string =>
      `${host} ${port} from ${LAB.nodeAtServer[family]}: hello`

    for (const family of FAMILIES) {
      for (const pod of PODS) {
        const served = servedBy(pod, family)
        const isFallback = served !== family

        await t.test(`rules 5, 6: ${family} to the service ${pod.name}`, async (t) => {
          const { received, end } = await clientHost.exchange(vip(pod)[family], SERVICE_PORT, 'hello')
          t.equal(received, viewOf(podAddress(pod)[served], APP_PORT, served))
          t.equal(end, 'fin')
          const asked = socketText(vip(pod)[family], SERVICE_PORT)
          t.match(await agent.logOf((line) => line['dst.original'] === asked), {
            listener: 'outbound',
            family,
            upstream_family: served,
            'src.workload': 'client',
            'dst.workload': pod.name,
            'dst.service': `${pod.name}.shop`,
            ...(isFallback && { fallback: `${family} to ${served}: refused` }),
          })
        })

        await t.test(
          `rule 6: ${family} to the address of pod ${pod.name} has its twin behind it`,
          async (t) => {
            const { received } = await clientHost.exchange(podAddress(pod)[family], APP_PORT, 'hello')
            t.equal(received, viewOf(podAddress(pod)[served], APP_PORT, served))
          },
        )

        await t.test(`rule 10: ${family} into pod ${pod.name}`, async (t) => {
          const { received } = await clientHost.exchange(podAddress(pod)[family], INBOUND_APP_PORT, 'hello')
          t.equal(received, viewOf(podAddress(pod)[served], INBOUND_APP_PORT, served))
          const asked = socketText(podAddress(pod)[family], INBOUND_APP_PORT)
          t.match(await agent.logOf((line) => line['dst.original'] === asked), {
            listener: 'inbound',
            upstream_family: served,
          })
        })
      }

      await t.test(`rule 4: ${family} to a destination outside the mesh passes through`, async (t) => {
        const { received } = await clientHost.exchange(LAB.server[family], APP_PORT, 'hello')
        t.equal(received, viewOf(LAB.server[family], APP_PORT, family))
        const { end } = await clientHost.exchange(LAB.server[family], APP_PORT + 1, 'hello')
        t.equal(end, 'rst')
      })

      await t.test(`rule 8: ${family} to a port that the service has not gets RST`, async (t) => {
        const outcome = await clientHost.exchange(vip(PODS[0])[family], SERVICE_PORT + 1, 'hello')
        t.match(outcome, { received: '', end: 'rst' })
        const asked = socketText(vip(PODS[0])[family], SERVICE_PORT + 1)
        t.match(await agent.logOf((line) => line['dst.original'] === asked), { close_reason: 'no_route' })
      })

      await t.test(`rule 15: ${family} to a pod on mTLS gets RST`, async (t) => {
        const host = family === 'ipv4' ? '10.244.2.90' : 'fd00:10:244:2::90'
        t.match(await clientHost.exchange(host, APP_PORT, 'hello'), { received: '', end: 'rst' })
        const asked = socketText(host, APP_PORT)
        t.match(await agent.logOf((line) => line['dst.original'] === asked), {
          close_reason: 'mtls_required',
        })
      })
    }

    await t.test(
      'rule 12: a policy that now denies ends live connections and turns away new ones',
      async (t) => {
        const [pod, , , localPod] = PODS
        const open = await Promise.all(
          FAMILIES.map(async (family) => {
            const host = podAddress(pod)[family]
            const outbound = await clientHost.open(host, APP_PORT)
            const inbound = await clientHost.open(host, INBOUND_APP_PORT)
            t.match(await inbound.ask('before'), /: before$/)
            t.match(await outbound.ask('before'), /: before$/)
            const local = await clientHost.open(vip(localPod)[family], SERVICE_PORT)
            t.match(await local.ask('before'), /: before$/)
            return { family, host, inbound, outbound, local }
          }),
        )
        writeFileSync(file, meshText(DENY))
        for (const { family, host, inbound, outbound, local } of open) {
          t.equal(await inbound.ended, 'rst')
          const line = await agent.logOf(
            (each) =>
              each['dst.original'] === socketText(host, INBOUND_APP_PORT) &&
              each['close_reason'] === 'policy_changed',
          )
          t.match(line, { bytes_recv: 6, response_flags: 'RBAC' })
          const denied = await clientHost.exchange(host, INBOUND_APP_PORT, 'hello')
          t.match(denied, { received: '', end: 'rst' })
          await agent.logOf((each) => each['close_reason'] === 'policy_denied')
          t.match(await outbound.ask('after'), /: after$/, 'the agent of the other node asks its policies')

          t.equal(await local.ended, 'rst', 'for a pod of this node nobody asks them but this agent')
          const asked = socketText(vip(localPod)[family], SERVICE_PORT)
          const logged = (reason: string): Promise<unknown> =>
            agent.logOf((each) => each['dst.original'] === asked && each['close_reason'] === reason)
          await logged('policy_changed')
          t.match(await clientHost.exchange(vip(localPod)[family], SERVICE_PORT, 'hello'), { end: 'rst' })
          await logged('policy_denied')
        }
        t.equal(await agent.metric('twinstack_connections_closed_total{reason="policy_denied"}'), 4)
      },
    )
  })
}
