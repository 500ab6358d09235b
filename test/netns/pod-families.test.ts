/** Pods that have one family only, or applications that listen on one only: captured, and reached all the same. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { eventually } from '../fixtures/eventually.ts'
import { arrayOf, parseJson, recordOf } from '../fixtures/json.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { AccessLogLine } from '../fixtures/namespace-agent.ts'
import type { LabPod } from '../fixtures/pod-lab.ts'

const PORT = 9_000
const ADMIN_PORT = 15_000
const WILDCARDS: Readonly<Record<Family, string>> = { ipv4: '0.0.0.0', ipv6: '::' }
const LISTENERS = ['outbound', 'inbound', 'hbone'] as const
/** Of the one family that a pod is given later. */
const LATE = 'fd00:10:244::beef'

let lastPort = 20_000

/** A pod that calls. */
interface Caller {
  readonly pod: LabPod
  readonly host: NamespaceHost
}

async function callerIn(t: Test, pod: LabPod): Promise<Caller> {
  return { pod, host: await NamespaceHost.start(t, pod.network) }
}

/** Calls, and gives the answer with what the proxy of the caller logged. */
async function call(
  lab: CapturedLab,
  { pod, host }: Caller,
  to: { readonly address: string; readonly family: Family; readonly port?: number },
): Promise<{ readonly received: string; readonly end: string; readonly outbound: AccessLogLine }> {
  const { address, family, port = PORT } = to
  const localPort = ++lastPort
  const { received, end } = await host.exchange(address, port, 'hello', localPort)
  const outbound = await lab.logged('outbound', socketText(pod.address(family), localPort))
  return { received, end, outbound }
}

/** What the proxy of the server logged of a connection that left the client's. */
function inboundOf(lab: CapturedLab, outbound: AccessLogLine): Promise<AccessLogLine> {
  return lab.logged('inbound', String(outbound['source']))
}

/** `describe` of the fixtures. */
function described(pod: LabPod, family: Family, peer: string, port = PORT): string {
  return `${pod.address(family)} ${port} from ${peer}: hello`
}

if (requireNamespaces(t)) {
  t.test('pods of one family on a node that has both', async (t) => {
    const lab = await CapturedLab.start(t, {
      pods: [
        { namespace: 'dual-stack', name: 'both' },
        { namespace: 'ipv4', name: 'only', families: ['ipv4'] },
        { namespace: 'ipv6', name: 'only', families: ['ipv6'] },
      ],
      env: { TWINSTACK_ADMIN_PORT: String(ADMIN_PORT) },
    })
    const { agent, node } = lab.only
    const both = await callerIn(t, lab.pod('dual-stack/both'))
    const admin = await NamespaceHost.start(t, node.network)
    const stateOf = async ({ pod }: LabPod): Promise<ReturnType<typeof parseJson>> =>
      recordOf(recordOf(parseJson(await admin.get(ADMIN_PORT, '/config_dump')), 'workloadState'), pod.uid)
    const socketsOf = async (pod: LabPod, family: Family): Promise<readonly unknown[]> =>
      arrayOf(await stateOf(pod), 'listeners')
        .filter((each) => each['family'] === family)
        .map(({ listener, state }) => `${String(listener)} ${String(state)}`)
    const countOf = (listener: string, family: Family, state: string): Promise<number> =>
      agent.metric(`twinstack_pod_listeners{listener="${listener}",family="${family}",state="${state}"}`)

    for (const family of FAMILIES) {
      const only = await callerIn(t, lab.pod(`${family}/only`))
      await only.host.listen(WILDCARDS[family], PORT)
      await both.host.listen(WILDCARDS[family], PORT)
      await t.test(`rule 2: one that has ${family} only is a client and a server`, async (t) => {
        for (const [from, to] of [
          [only, both],
          [both, only],
        ] as const) {
          const { received, outbound } = await call(lab, from, { address: to.pod.address(family), family })
          t.equal(received, described(to.pod, family, from.pod.address(family)))
          t.match(outbound, { family, upstream_family: family })
          t.match(await inboundOf(lab, outbound), { upstream_family: family, source_preserved: 'true' })
        }
      })

      await t.test(
        `rule 2: what one with ${family} only lacks is absent, and costs nobody else anything`,
        async (t) => {
          const missing = otherFamily(family)
          t.match(await stateOf(only.pod), { state: 'Up', addresses: [only.pod.address(family)] })
          t.strictSame(
            await socketsOf(only.pod, missing),
            LISTENERS.map((listener) => `${listener} absent`),
          )
          for (const [pod, own] of [
            [only.pod, family],
            [both.pod, 'ipv4'],
            [both.pod, 'ipv6'],
          ] as const)
            t.strictSame(
              await socketsOf(pod, own),
              LISTENERS.map((listener) => `${listener} bound`),
            )
          for (const listener of LISTENERS) {
            t.equal(await countOf(listener, missing, 'absent'), 1)
            t.equal(await countOf(listener, missing, 'bound'), 2)
            t.equal(await countOf(listener, missing, 'failed'), 0)
          }
          t.equal(await agent.metric('twinstack_pods_pending'), 0)
          t.match(await agent.readyz(), /^ready/)
          t.notMatch(agent.program.stderr, /"level":"(warn|error)".*ipv\d\/only/)
        },
      )
    }

    await t.test('rule 2: a family that a pod gets later is captured from then on', async (t) => {
      const late = lab.pod('ipv4/only')
      late.addAddress('ipv6', LATE)
      await eventually(
        'its listeners are bound',
        async () => (await countOf('inbound', 'ipv6', 'bound')) === 3,
        20_000,
      )
      t.match(await stateOf(late), { addresses: [late.address('ipv4'), LATE] })
      lab.setMesh({})
      const caller = await callerIn(t, late)
      await caller.host.listen(WILDCARDS.ipv6, PORT + 1)
      await eventually('the mesh has the address', async () => {
        const { outbound } = await call(lab, both, { address: LATE, family: 'ipv6', port: PORT + 1 })
        return outbound['dst.workload'] === 'only'
      })
      const into = await call(lab, both, { address: LATE, family: 'ipv6', port: PORT + 1 })
      t.equal(into.received, described(late, 'ipv6', both.pod.address('ipv6'), PORT + 1))
      t.match(await inboundOf(lab, into.outbound), { upstream_family: 'ipv6', source_preserved: 'true' })
      const outOf = await call(lab, caller, { address: both.pod.address('ipv6'), family: 'ipv6' })
      t.equal(outOf.received, described(both.pod, 'ipv6', LATE))
      t.match(outOf.outbound, { 'src.workload': 'only', 'src.namespace': 'ipv4' })
    })
  })

  for (const family of FAMILIES) await t.test(`what fails over ${family}`, (t) => checkFallbacks(t, family))
}

/** Four servers of both families, each with an application or a way to it that has the other family only. */
async function checkFallbacks(t: Test, family: Family): Promise<void> {
  const other = otherFamily(family)
  const names = ['app', 'bare', 'cut', 'way'] as const
  const lab = await CapturedLab.start(t, {
    nodes: 2,
    pods: [
      { namespace: 'shop', name: 'client' },
      ...names.map((name) => ({ namespace: 'shop', name, node: 1 })),
    ],
    uncaptured: ['shop/bare'],
  })
  const client = await callerIn(t, lab.pod('shop/client'))
  const [app, bare, cut, way] = await Promise.all(
    [...names].map((name) => callerIn(t, lab.pod(`shop/${name}`))),
  )
  if (!app || !bare || !cut || !way) throw new TypeError('four servers were named')
  for (const { host } of [app, bare]) await host.listen(WILDCARDS[other], PORT)
  await way.host.listen(WILDCARDS[other], PORT)
  await cut.host.listen(WILDCARDS[family], PORT)
  // On the way, not in the pod: what is sent to them over one family comes back refused.
  const ip = family === 'ipv4' ? 'ip' : 'ip6'
  lab.pod('shop/way').node.network.nft(`
    table inet trouble {
      chain forward {
        type filter hook forward priority filter; policy accept;
        ${ip} daddr { ${way.pod.address(family)}, ${cut.pod.address(family)} } tcp dport ${PORT} reject with tcp reset
      }
    }`)
  const asked = { address: app.pod.address(family), family }
  const fellBack = (reason: string): string => `${family} to ${other}: ${reason}`
  const [client1, server1] = lab.nodes
  if (!client1 || !server1) throw new TypeError('the lab has two nodes')

  await t.test('rule 10: an application that has the other family only is reached in its pod', async (t) => {
    const { received, outbound } = await call(lab, client, asked)
    // The client cannot be preserved in the other family: the pod's own address takes its place.
    t.equal(received, described(app.pod, other, app.pod.address(other)))
    t.match(outbound, { family, upstream_family: family, close_reason: 'finished' })
    t.notOk('fallback' in outbound, 'the way to the pod is good')
    const inbound = await inboundOf(lab, outbound)
    t.match(inbound, {
      family,
      upstream_family: other,
      fallback: fellBack('refused'),
      source_preserved: 'false',
    })
    t.match(inbound['attempts'], /refused \d+ms, \S+ connected/)
  })

  await t.test('rule 7: the next connection goes to the other family at once', async (t) => {
    const { agent } = server1
    t.equal(await agent.metric(`twinstack_endpoint_family_unhealthy{family="${family}"}`), 1)
    t.equal(await agent.metric(`twinstack_endpoint_family_unhealthy{family="${other}"}`), 0)
    t.equal(await client1.agent.metric(`twinstack_endpoint_family_unhealthy{family="${family}"}`), 0)
    const { received, outbound } = await call(lab, client, asked)
    t.equal(received, described(app.pod, other, app.pod.address(other)))
    const inbound = await inboundOf(lab, outbound)
    t.match(inbound, { fallback: fellBack('unhealthy'), attempts: /^\S+ connected \d+ms$/ })
  })

  await t.test('rule 6: a pod that is not captured is reached over the other family', async (t) => {
    const { received, outbound } = await call(lab, client, { address: bare.pod.address(family), family })
    t.equal(received, described(bare.pod, other, client.pod.address(other)))
    t.match(outbound, { family, upstream_family: other, fallback: fellBack('refused') })
  })

  await t.test('rule 6: a way that refuses one family is left for the other', async (t) => {
    const { received, outbound } = await call(lab, client, { address: way.pod.address(family), family })
    t.equal(received, described(way.pod, other, client.pod.address(other)))
    t.match(outbound, { family, upstream_family: other, fallback: fellBack('refused') })
    const inbound = await inboundOf(lab, outbound)
    t.match(inbound, { family: other, upstream_family: other, source_preserved: 'true' })
    t.notOk('fallback' in inbound)
  })

  await t.test('rule 10: both ends fall back, each for itself', async (t) => {
    const { received, outbound } = await call(lab, client, { address: cut.pod.address(family), family })
    t.equal(received, described(cut.pod, family, cut.pod.address(family)))
    t.match(outbound, { family, upstream_family: other, fallback: fellBack('refused') })
    const inbound = await inboundOf(lab, outbound)
    t.match(inbound, { family: other, upstream_family: family, fallback: `${other} to ${family}: refused` })
  })

  await t.test('rule 8: what neither family has is refused with RST', async (t) => {
    for (const { pod } of [app, bare]) {
      const to = { address: pod.address(family), family, port: PORT + 9 }
      const { received, end, outbound } = await call(lab, client, to)
      t.strictSame({ received, end }, { received: '', end: 'rst' })
      if (pod === bare.pod) {
        t.match(outbound, { close_reason: 'upstream_refused', attempts: /refused \d+ms, \S+ refused/ })
      } else {
        // Refused so fast that the client's proxy may take it for a failed attempt, and ask the other family.
        t.match(outbound['close_reason'], /^upstream_(reset|failed)$/)
        const inbound = await server1.agent.logOf(
          (line) => line['dst.original'] === socketText(to.address, to.port),
        )
        t.match(inbound, { close_reason: 'upstream_refused', attempts: /refused \d+ms, \S+ refused/ })
      }
    }
  })
}
