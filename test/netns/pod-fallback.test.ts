/** Applications and ways that have one family only: reached over the other one, by the proxy of either end or of both. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { ANY_ADDRESS } from '../fixtures/loopback.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { call, callerIn, described, inboundOf } from '../fixtures/pod-calls.ts'
import { APP_PORT } from '../fixtures/pod-lab.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'

if (requireNamespaces(t)) {
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
  for (const { host } of [app, bare]) await host.listen(ANY_ADDRESS[other], APP_PORT)
  await way.host.listen(ANY_ADDRESS[other], APP_PORT)
  await cut.host.listen(ANY_ADDRESS[family], APP_PORT)
  // On the way, not in the pod: what is sent to them over one family comes back refused.
  const ip = family === 'ipv4' ? 'ip' : 'ip6'
  lab.pod('shop/way').node.network.nft(`
    table inet trouble {
      chain forward {
        type filter hook forward priority filter; policy accept;
        ${ip} daddr { ${way.pod.address(family)}, ${cut.pod.address(family)} } tcp dport ${APP_PORT} reject with tcp reset
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
      const to = { address: pod.address(family), family, port: APP_PORT + 9 }
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
