import t from 'tap'

import { resolveDualStack } from '../../../src/agent/settings/dual-stack.ts'
import { parseIp } from '../../../src/core/address.ts'

import type { DualStackPlaces } from '../../../src/agent/settings/dual-stack.ts'

function resolve(places: Partial<DualStackPlaces>): ReturnType<typeof resolveDualStack> {
  return resolveDualStack({ env: {}, proxyMetadata: {}, meshMetadata: {}, instanceIps: [], ...places })
}

const NEW = 'ISTIO_DUAL_STACK'
const OLD = 'ISTIO_AGENT_DUAL_STACK'

const ORDER = [
  { places: {}, mode: 'auto', source: 'default' },
  { places: { env: { [NEW]: '' } }, mode: 'auto', source: 'default' },
  {
    places: { env: { [NEW]: 'true', [OLD]: 'false' }, proxyMetadata: { [NEW]: 'false' } },
    mode: 'on',
    source: 'environment variable ISTIO_DUAL_STACK',
  },
  {
    places: { env: { [OLD]: 'true' }, proxyMetadata: { [NEW]: 'false' } },
    mode: 'on',
    source: 'environment variable ISTIO_AGENT_DUAL_STACK',
  },
  {
    places: { proxyMetadata: { [OLD]: 'true' }, meshMetadata: { [NEW]: 'false' } },
    mode: 'on',
    source: 'ISTIO_AGENT_DUAL_STACK in proxyMetadata of PROXY_CONFIG',
  },
  {
    places: { meshMetadata: { [NEW]: 'true' } },
    mode: 'on',
    source: 'ISTIO_DUAL_STACK in defaultConfig.proxyMetadata of the mesh file',
  },
]
for (const { places, mode, source } of ORDER) {
  t.test(`takes ${mode} from ${source} for ${JSON.stringify(places)}`, async (t) => {
    t.match(resolve(places), { ok: true, value: { mode, source, families: ['ipv4', 'ipv6'] } })
  })
}

t.test('leaves the family of the first instance address when the flag is off', async (t) => {
  const env = { [NEW]: 'false' }
  const families = (...ips: readonly string[]): unknown => {
    const result = resolve({ env, instanceIps: ips.map(parseIp) })
    return result.ok && result.value.families
  }
  t.strictSame(families(), ['ipv4'])
  t.strictSame(families('10.0.0.1', 'fd00::1'), ['ipv4'])
  t.strictSame(families('fd00::1', '10.0.0.1'), ['ipv6'])
  t.strictSame(families('::ffff:10.0.0.1'), ['ipv4'], 'a mapped address is an IPv4 address')
})

t.test('reports a bad value wherever it stands, even behind a good one', async (t) => {
  const result = resolve({ env: { [NEW]: 'true' }, meshMetadata: { [NEW]: 'TRUE' } })
  t.match(result, {
    ok: false,
    problems: [
      {
        message:
          'invalid ISTIO_DUAL_STACK=TRUE in defaultConfig.proxyMetadata of the mesh file (write true or false)',
      },
    ],
  })
})
