import t from 'tap'

import { parseSocketAddress } from '../../src/core/address.ts'
import { sourceOf } from '../../src/proxy/source-address.ts'

const configured = ['127.0.0.6:0', '[::6]:0'].map(parseSocketAddress)
const preserved = parseSocketAddress('10.1.0.2:40000')

t.test(
  'rule 9: the configured address is that of the upstream family, none where there is none',
  async (t) => {
    t.equal(sourceOf({ configured }, 'ipv4').from?.ip.text, '127.0.0.6')
    t.equal(sourceOf({ configured }, 'ipv6').from?.ip.text, '::6')
    t.strictSame(sourceOf({ configured: configured.slice(0, 1) }, 'ipv6'), {})
    t.equal(sourceOf({ configured }, 'ipv4').isTransparent, undefined)
  },
)

t.test('rule 9: a preserved client goes before what is configured, with a port of its own', async (t) => {
  t.strictSame(sourceOf({ preserved, configured }, 'ipv4'), {
    from: { ip: preserved.ip, port: 0 },
    isTransparent: true,
  })
})

t.test('rule 9: after a fallback the address of that family takes the place of the client', async (t) => {
  t.equal(sourceOf({ preserved, configured }, 'ipv6').from?.ip.text, '::6')
  t.strictSame(sourceOf({ preserved, configured: [] }, 'ipv6'), {})
})
