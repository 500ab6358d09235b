/** What istio's NameTable becomes. */
import t from 'tap'

import { decodeNameTableResource } from '../../../src/xds-client/resources/name-table.ts'
import { recordedResources } from '../../fixtures/recorded-xds.ts'

t.test('a recorded name has the addresses of both families, as istiod orders them', (t) => {
  const [table] = recordedResources('sidecar-sleep-dual-stack.sotw', 'NameTable')
  const decoded = decodeNameTableResource(table?.value ?? new Uint8Array())
  const names = decoded.ok ? decoded.value : new Map<string, unknown>()
  t.equal(names.size, 6)
  t.strictSame(names.get('tcp-echo.dual-stack.svc.cluster.local'), {
    ips: ['fd00:10:96::f9fc', '10.96.106.11'],
    registry: 'Kubernetes',
    shortname: 'tcp-echo',
    namespace: 'dual-stack',
  })
  t.end()
})

t.test('an empty table has no names', (t) => {
  t.strictSame(decodeNameTableResource(new Uint8Array()), { ok: true, value: new Map() })
  t.end()
})
