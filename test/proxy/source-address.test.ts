import t from 'tap'

import { parseSocketAddress } from '../../src/core/address.ts'
import { sourceOf } from '../../src/proxy/source-address.ts'

import type { SocketAddress } from '../../src/core/address.ts'
import type { AttemptTarget } from '../../src/proxy/endpoint-selection.ts'

const configured = ['127.0.0.6:0', '[::6]:0'].map(parseSocketAddress)
const CLIENT = parseSocketAddress('10.1.0.2:40000')
const TWIN = parseSocketAddress('[fd00::2]:0')
const NOBODY: readonly SocketAddress[] = []

/** A target of an endpoint elsewhere, or of one beside the client. */
function target(text: string, isBesideClient = false): AttemptTarget {
  const address = parseSocketAddress(text)
  const endpoint = {
    id: text,
    addresses: [address],
    weight: 1,
    priority: 0,
    health: 'healthy',
    protocol: 'tcp',
    ...(isBesideClient && { isBesideClient }),
  } as const
  return { endpoint, address, family: address.ip.family }
}

const [OVER_IPV4, OVER_IPV6] = [target('10.2.0.1:80'), target('[fd00:2::1]:80')]

t.test(
  'rule 9: the configured address is that of the upstream family, none where there is none',
  async (t) => {
    const plan = { preserved: NOBODY, configured }
    t.equal(sourceOf(plan, OVER_IPV4).from?.ip.text, '127.0.0.6')
    t.equal(sourceOf(plan, OVER_IPV6).from?.ip.text, '::6')
    t.strictSame(sourceOf({ ...plan, configured: configured.slice(0, 1) }, OVER_IPV6), {})
    t.equal(sourceOf(plan, OVER_IPV4).isTransparent, undefined)
  },
)

t.test('rule 9: a preserved client goes before what is configured, with a port of its own', async (t) => {
  t.strictSame(sourceOf({ preserved: [CLIENT], configured }, OVER_IPV4), {
    from: { ip: CLIENT.ip, port: 0 },
    isTransparent: true,
  })
})

t.test("rule 9: after a fallback the client's own address of that family takes its place", async (t) => {
  t.strictSame(sourceOf({ preserved: [CLIENT, TWIN], configured }, OVER_IPV6), {
    from: { ip: TWIN.ip, port: 0 },
    isTransparent: true,
  })
})

t.test('rule 9: one that is not known gives way to what is configured for the family', async (t) => {
  t.equal(sourceOf({ preserved: [CLIENT], configured }, OVER_IPV6).from?.ip.text, '::6')
  t.strictSame(sourceOf({ preserved: [CLIENT], configured: [] }, OVER_IPV6), {})
})

t.test('a client is not preserved towards an endpoint beside it', async (t) => {
  const beside = target('10.1.0.3:80', true)
  t.strictSame(sourceOf({ preserved: [CLIENT, TWIN], configured: [] }, beside), {})
})
