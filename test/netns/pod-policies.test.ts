/** Policies of captured pods: decided where connections come in, by the addresses that clients really use, of both families. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { ANY_ADDRESS } from '../fixtures/loopback.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { APP_PORT } from '../fixtures/pod-lab.ts'
import { PolicyLab, cidrOf } from '../fixtures/policy-lab.ts'

const NOT_ALLOWED = 'no ALLOW policy of workload Kubernetes//Pod/shop/server matches'

if (requireNamespaces(t)) {
  t.test('policies of a captured pod', async (t) => {
    const lab = await PolicyLab.start(t)
    const { server, friend, stranger, outside, captured } = lab
    const clients = [friend, stranger, outside]
    const strangers = [stranger, outside]

    for (const family of FAMILIES) {
      const other = otherFamily(family)
      await t.test(`a client is denied over ${family}, where its address of it is named`, async (t) => {
        const deny = lab.policy('Deny', { sourceIps: strangers.map((each) => cidrOf(each, family)) })
        await lab.enforce([deny])
        await lab.areDenied(t, strangers, [family], { by: deny.name })
        await lab.areAllowed(t, clients, [other])
        await lab.areAllowed(t, [friend], [family])
      })

      await t.test(`what is allowed to an address of ${family} is allowed to no other`, async (t) => {
        await lab.enforce([lab.policy('Allow', { sourceIps: [cidrOf(stranger, family)] })])
        await lab.areAllowed(t, [stranger], [family])
        await lab.areDenied(t, [stranger], [other], { by: NOT_ALLOWED })
        await lab.areDenied(t, [outside], FAMILIES, { by: NOT_ALLOWED })
      })

      await t.test(`rule 10: who comes over ${family} is judged by that, whichever is tried`, async (t) => {
        const port = APP_PORT + 2 + FAMILIES.indexOf(family)
        await lab.host(server).listen(ANY_ADDRESS[other], port)
        const deny = lab.policy('Deny', { destinationIps: [cidrOf(server, other)] })
        await lab.enforce([deny])
        for (const from of clients) {
          const { text, line } = await lab.call(from, family, { port })
          t.equal(text, `${server.address(other)} ${port} from ${server.address(other)}: hello`)
          t.match(line, { family, upstream_family: other, fallback: new RegExp(`^${family} to ${other}: `) })
        }
        await lab.areDenied(t, strangers, [other], { by: deny.name, port })
      })
    }

    await t.test('ports are those of the application, in both families', async (t) => {
      const port = APP_PORT + 1
      const deny = lab.policy('Deny', { destinationPorts: [port] })
      await lab.enforce([deny])
      await lab.areAllowed(t, clients, FAMILIES)
      await lab.areDenied(t, strangers, FAMILIES, { by: deny.name, port })
    })

    await t.test('rule 8: a captured client that is denied over both families gets RST', async (t) => {
      await lab.enforce([lab.policy('Deny', { sourceIps: FAMILIES.map((each) => cidrOf(friend, each)) })])
      const { agent } = captured.only
      for (const family of FAMILIES) {
        const { received, end } = await lab.host(friend).exchange(server.address(family), APP_PORT, 'hello')
        t.strictSame({ received, end }, { received: '', end: 'rst' })
        const line = await agent.logOf(
          (each) => each['close_reason'] === 'policy_denied' && each['src.namespace'] === 'shop',
          1 + FAMILIES.indexOf(family),
        )
        t.match(line, { direction: 'inbound', 'src.workload': 'client' })
      }
    })

    await t.test('the namespace of a client is that of its pod, and a host outside is in none', async (t) => {
      await lab.enforce([lab.policy('Allow', { namespaces: [{ Exact: 'shop' }] })])
      await lab.areAllowed(t, [friend], FAMILIES)
      await lab.areDenied(t, strangers, FAMILIES, { by: NOT_ALLOWED })
    })
  })
}
