/** What istio's NameTable becomes. */
import t from 'tap'

import { decodeNameTableResource } from '../../../src/xds-client/resources/name-table.ts'
import { valueOf } from '../../fixtures/envoy-wire.ts'
import { recordedResources } from '../../fixtures/recorded-xds.ts'
import { wireBytes } from '../../fixtures/wire-bytes.ts'

/** A table of names and their addresses as text. */
function tableBytes(names: Readonly<Record<string, readonly string[]>>): Uint8Array {
  const entries = Object.entries(names).map(([hostname, ips]) =>
    wireBytes({ 1: hostname, 2: infoBytes(ips) }),
  )
  return wireBytes({ 1: entries })
}

function infoBytes(ips: readonly string[]): Uint8Array {
  return wireBytes({ 1: ips, 2: 'Kubernetes' })
}

function namesIn(value: Uint8Array): ReadonlyMap<string, readonly string[]> {
  const { value: entries } = valueOf(decodeNameTableResource(value))
  return new Map(entries.map(({ hostname, addresses }) => [hostname, addresses.map(({ text }) => text)]))
}

t.test('a recorded name has the addresses of both families, as istiod orders them', (t) => {
  const [table] = recordedResources('sidecar-sleep-dual-stack.sotw', 'NameTable')
  const names = namesIn(table?.value ?? new Uint8Array())
  t.equal(names.size, 6)
  t.strictSame(names.get('tcp-echo.dual-stack.svc.cluster.local'), ['fd00:10:96::f9fc', '10.96.106.11'])
  t.end()
})

t.test('an empty table has no names', (t) => {
  t.strictSame(valueOf(decodeNameTableResource(new Uint8Array())), { value: [], ignoredFields: [] })
  t.end()
})

t.test('addresses are canonical, and a text that is none is listed and takes nothing else with it', (t) => {
  const bytes = tableBytes({
    'a.shop': ['10.96.0.0/16', '::ffff:10.96.0.1', 'FD00::1'],
    'b.shop': ['nonsense'],
  })
  t.strictSame(
    [...namesIn(bytes)],
    [
      ['a.shop', ['10.96.0.1', 'fd00::1']],
      ['b.shop', []],
    ],
  )
  t.strictSame(valueOf(decodeNameTableResource(bytes)).ignoredFields, [
    'NameInfo.ips(10.96.0.0/16 of a.shop)',
    'NameInfo.ips(nonsense of b.shop)',
  ])
  t.end()
})
