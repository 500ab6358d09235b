/** What istio's NameTable becomes. */
import t from 'tap'

import { decodeNameTableResource, readNameEntry } from '../../../src/xds-client/resources/name-table.ts'
import { recordedResources } from '../../fixtures/recorded-xds.ts'

t.test('a recorded name has the addresses of both families, as istiod orders them', (t) => {
  const [table] = recordedResources('sidecar-sleep-dual-stack.sotw', 'NameTable')
  const decoded = decodeNameTableResource(table?.value ?? new Uint8Array())
  const names = decoded.ok ? decoded.value : new Map<string, readonly string[]>()
  t.equal(names.size, 6)
  t.strictSame(names.get('tcp-echo.dual-stack.svc.cluster.local'), ['fd00:10:96::f9fc', '10.96.106.11'])
  t.end()
})

t.test('an empty table has no names', (t) => {
  t.strictSame(decodeNameTableResource(new Uint8Array()), { ok: true, value: new Map() })
  t.end()
})

t.test('a name has canonical addresses, and a text that is none is listed, once', (t) => {
  const ips = ['10.96.0.0/16', '::ffff:10.96.0.1', 'FD00::1', '10.96.0.0/16']
  const { value, ignoredFields } = readNameEntry('a.shop', ips)
  t.equal(value.hostname, 'a.shop')
  t.strictSame(
    value.addresses.map(({ text }) => text),
    ['10.96.0.1', 'fd00::1'],
  )
  t.strictSame(ignoredFields, ['NameInfo.ips(10.96.0.0/16)'])
  t.end()
})
