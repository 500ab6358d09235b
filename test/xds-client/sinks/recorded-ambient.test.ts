/** Where connections go by what a real istiod sends to a node: recorded bytes in, routes out. */
import t from 'tap'

import { formatSocketAddress, parseSocketAddress } from '../../../src/core/address.ts'
import { AmbientRouter } from '../../../src/mesh/ambient-router.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { ambientDecoders } from '../../../src/xds-client/sinks/wire-decoders.ts'
import { ambientSink } from '../../fixtures/ambient-updates.ts'
import { aListener } from '../../fixtures/mesh-builder.ts'
import { replay } from '../../fixtures/recorded-mesh.ts'
import { update } from '../../fixtures/updates.ts'

const SLEEP = '10.244.1.2:4000'
const OUTBOUND = aListener('outbound', [['0.0.0.0', 15001]], '', { capture: 'redirect', filterChains: [] })
const ECHO_0 = '10.244.2.2:9000 [fd00:10:244:2::2]:9000'
const ECHO_1 = '10.244.2.6:9000 [fd00:10:244:2::6]:9000'

async function start(plaintextPermitted: readonly string[] = ['*']) {
  const store = new MeshStore()
  const sink = ambientSink(store, { decoders: ambientDecoders() })
  const rejections = await replay('wds-dual-stack.delta', sink)
  const router = new AmbientRouter({ store }, { network: '', plaintextPermitted })
  /** Addresses of the endpoints, one per line and in order, or the reason of a rejection. */
  const outcome = (destination: string): readonly string[] => {
    const facts = {
      listener: OUTBOUND,
      client: parseSocketAddress(SLEEP),
      destination: parseSocketAddress(destination),
    }
    return router
      .plan(facts)
      .choices.flatMap(({ route }) =>
        route.kind === 'reject'
          ? [route.reason]
          : route.upstream.endpoints
              .map(({ addresses }) => addresses.map(formatSocketAddress).join(' '))
              .sort(),
      )
  }
  return { store, sink, rejections, outcome }
}

t.test('takes everything that istiod sends to a node', async (t) => {
  const { store, rejections } = await start()
  t.strictSame(rejections, [])
  t.equal(store.snapshot.workload.size, 7)
  t.equal(store.snapshot.service.size, 6)
})

t.test('reaches services by either address, over the families that they have', async (t) => {
  const { outcome } = await start()
  t.strictSame(outcome('10.96.106.11:9000'), [ECHO_0, ECHO_1])
  t.strictSame(outcome('[fd00:10:96::f9fc]:9000'), [ECHO_0, ECHO_1])
  t.strictSame(outcome('10.96.106.12:9000'), ['10.244.2.3:9000'], 'the pod has both, its service one')
  t.strictSame(outcome('[fd00:10:96::f9fd]:9000'), ['[fd00:10:244:2::4]:9000'])
  t.strictSame(outcome('10.96.106.11:9002'), ['no_route'], 'a port that the service does not have')
  t.strictSame(outcome('10.96.0.1:443'), ['192.0.2.2:26443'], 'a target port of its own')
})

t.test('reaches a pod by its own address, its twin behind it, and a stranger by itself', async (t) => {
  const { outcome } = await start()
  t.strictSame(outcome('10.244.2.2:9000'), [ECHO_0])
  t.strictSame(outcome('[fd00:10:244:2::6]:9000'), ['[fd00:10:244:2::6]:9000 10.244.2.6:9000'])
  t.strictSame(outcome('203.0.113.9:443'), ['203.0.113.9:443'])
})

t.test('rule 15: what is in the mesh is refused without permission, what is not is reached', async (t) => {
  const { outcome } = await start([])
  for (const destination of ['10.96.106.11:9000', '[fd00:10:96::f9fd]:9000', '10.244.2.2:9000'])
    t.strictSame(outcome(destination), ['mtls_required'])
  t.strictSame(outcome('10.96.0.1:443'), ['192.0.2.2:26443'])
})

t.test('removes by the names that istiod gives', async (t) => {
  const { sink, outcome } = await start()
  const remove = (...removed: readonly string[]) => sink.apply(update(TYPE_URLS.address, {}, { removed }))
  await remove('Kubernetes//Pod/dual-stack/tcp-echo-1')
  t.strictSame(outcome('10.96.106.11:9000'), [ECHO_0])
  t.strictSame(outcome('10.244.2.6:9000'), ['10.244.2.6:9000'])
  await remove('dual-stack/tcp-echo.dual-stack.svc.cluster.local')
  t.strictSame(outcome('10.96.106.11:9000'), ['10.96.106.11:9000'])
})
