/** Where HTTP goes whose routes are not read: by its destination, and never weaker than the mesh asks for. */
import t from 'tap'

import { formatSocketAddress, parseSocketAddress } from '../../src/core/address.ts'
import { EnvoyRouter } from '../../src/mesh/envoy-router.ts'
import { MeshStore } from '../../src/mesh/store.ts'
import { chain, cluster, endpoint, host, listener, staticCluster } from './envoy-fixtures.ts'

import type { EndpointTemplate } from '../../src/mesh/cluster.ts'
import type { FilterChain, Listener } from '../../src/mesh/listener.ts'
import type { MeshUpdate } from '../../src/mesh/store.ts'

const PASSTHROUGH = cluster('PassthroughCluster', { kind: 'original-destination' })
const WEB = 'outbound|80||web.shop'
const API = 'outbound|80||api.shop'
const TRANSPORT = { matches: [{ criteria: { tlsMode: 'istio' }, isEncrypted: true }], isEncrypted: false }
const PLAIN = endpoint('10.1.0.1:8080', '[fd01::1]:8080')
const MTLS: EndpointTemplate = { ...endpoint('10.1.0.2:8080'), transportLabels: { tlsMode: 'istio' } }

const http: FilterChain = { ...chain('PassthroughCluster'), hasUnreadRoutes: true }
/** As istiod has it on a sidecar: found by a look into the connection, with a chain for the rest behind it. */
const inspectedHttp: FilterChain = {
  ...http,
  match: { ...http.match, transportProtocol: 'raw_buffer', applicationProtocols: ['http/1.1', 'h2c'] },
}
const rest = chain('PassthroughCluster')
const plainRest: FilterChain = { ...rest, match: { ...rest.match, transportProtocol: 'raw_buffer' } }

function httpListener(filterChains: readonly FilterChain[], defaultFilterChain?: FilterChain): Listener {
  return listener('0.0.0.0_80', ['0.0.0.0:80', '[::]:80'], {
    filterChains,
    ...(defaultFilterChain && { defaultFilterChain }),
  })
}

/** The service `web.shop` at 10.96.0.1 and fd96::1, with the endpoints. */
function webOf(...endpoints: readonly EndpointTemplate[]): readonly MeshUpdate[] {
  return [
    { kind: 'cluster', upsert: PASSTHROUGH },
    { kind: 'name', upsert: host('web.shop', '10.96.0.1', 'fd96::1') },
    serviceCluster(WEB, ...endpoints),
  ]
}

function serviceCluster(name: string, ...endpoints: readonly EndpointTemplate[]): MeshUpdate {
  return { kind: 'cluster', upsert: { ...staticCluster(name, ...endpoints), transport: TRANSPORT } }
}

function start(
  listening: Listener,
  updates: readonly MeshUpdate[],
  plaintextPermitted: readonly string[] = [],
) {
  const store = new MeshStore()
  store.apply([{ kind: 'listener', upsert: listening }, ...updates])
  const router = new EnvoyRouter({ store }, { ownAddresses: [], plaintextPermitted })
  /** `cluster: address address`, or the reason of a rejection and what was missing. */
  const outcome = (destination: string): string => {
    const facts = { listener: listening, client: parseSocketAddress('192.0.2.9:4000') }
    const { choices } = router.plan({ ...facts, destination: parseSocketAddress(destination) })
    return choices
      .map(({ route }) => {
        if (route.kind === 'reject') return `${route.reason}: ${route.detail}`
        const addresses = route.upstream.endpoints.flatMap((each) => each.addresses.map(formatSocketAddress))
        return `${route.upstream.name}: ${addresses.join(' ')}`
      })
      .join()
  }
  return { store, outcome }
}

const listeners: readonly (readonly [string, Listener])[] = [
  ['the only chain', httpListener([http])],
  ['the default chain', httpListener([chain('tls', { port: 443 })], http)],
  ['a chain that a look would find', httpListener([inspectedHttp], rest)],
  ['a chain that a look would find beside one for the rest', httpListener([plainRest, inspectedHttp])],
]

for (const [what, listening] of listeners) {
  t.test(`HTTP by ${what} goes to the service that its destination means, else where it wanted`, (t) => {
    const { outcome } = start(listening, webOf(PLAIN))
    const expected = `${WEB}: 10.1.0.1:8080 [fd01::1]:8080`
    t.equal(outcome('10.96.0.1:80'), expected)
    t.equal(outcome('[fd96::1]:80'), expected)
    for (const other of ['10.96.0.2:80', '[fd96::2]:80', '10.96.0.1:8080'])
      t.equal(outcome(other), `PassthroughCluster: ${other}`)
    t.end()
  })

  t.test(`rule 15: HTTP by ${what} is not sent in plain text to what asks for mTLS`, (t) => {
    const refusal = new RegExp(`^mtls_required: cluster ${WEB.replaceAll('|', '\\|')} asks for mTLS`)
    for (const destination of ['10.96.0.1:80', '[fd96::1]:80'])
      t.match(start(listening, webOf(MTLS)).outcome(destination), refusal)
    t.equal(
      start(listening, webOf(MTLS, PLAIN)).outcome('10.96.0.1:80'),
      `${WEB}: 10.1.0.1:8080 [fd01::1]:8080`,
    )
    t.equal(start(listening, webOf(MTLS), [WEB]).outcome('10.96.0.1:80'), `${WEB}: 10.1.0.2:8080`)
    t.end()
  })
}

t.test('a chain that routes are read of, or that is not for HTTP, leads where it says', (t) => {
  const updates = [...webOf(MTLS), serviceCluster('a', PLAIN)]
  t.match(start(httpListener([chain('a')]), updates).outcome('10.96.0.1:80'), /^a: /)
  const tls = { ...inspectedHttp, match: { ...inspectedHttp.match, transportProtocol: 'tls' } }
  t.match(start(httpListener([chain('a'), tls]), updates).outcome('10.96.0.1:80'), /^a: /)
  t.end()
})

t.test('what the chain for the rest refuses is refused, whatever service is meant', (t) => {
  const { name, match } = chain('rest')
  const refusing = { name, match, refusal: { reason: 'policy_denied', detail: 'a policy' } } as const
  t.equal(
    start(httpListener([inspectedHttp], refusing), webOf(PLAIN)).outcome('10.96.0.1:80'),
    'policy_denied: a policy',
  )
  t.end()
})

t.test('an address of several services leads where the client wanted, unless one asks for mTLS', (t) => {
  const shared: MeshUpdate = { kind: 'name', upsert: host('api.shop', '10.96.0.1') }
  const outcomeOf = (api: EndpointTemplate, permitted: readonly string[] = []): string =>
    start(
      httpListener([http]),
      [...webOf(PLAIN), shared, serviceCluster(API, PLAIN, api)],
      permitted,
    ).outcome('10.96.0.1:80')
  t.equal(outcomeOf(PLAIN), 'PassthroughCluster: 10.96.0.1:80')
  t.match(outcomeOf(MTLS), /^mtls_required: cluster outbound\|80\|\|api\.shop asks/)
  t.equal(outcomeOf(MTLS, ['*']), 'PassthroughCluster: 10.96.0.1:80')
  t.end()
})

t.test('a pod of a headless service is reached by its own address', (t) => {
  const upsert = { ...cluster(WEB, { kind: 'original-destination' }), transport: TRANSPORT }
  const updates: readonly MeshUpdate[] = [
    { kind: 'name', upsert: host('web.shop', '10.1.0.1', '10.1.0.2') },
    { kind: 'cluster', upsert },
  ]
  t.equal(start(httpListener([http]), updates).outcome('10.1.0.2:80'), `${WEB}: 10.1.0.2:80`)
  t.end()
})

t.test('follows names and clusters as they come and go', (t) => {
  const { store, outcome } = start(httpListener([http]), [{ kind: 'cluster', upsert: PASSTHROUGH }])
  const asWanted = 'PassthroughCluster: 10.96.0.1:80'
  t.equal(outcome('10.96.0.1:80'), asWanted)
  store.apply(webOf(MTLS))
  t.match(outcome('10.96.0.1:80'), /^mtls_required/)
  store.apply([{ kind: 'name', remove: 'web.shop' }])
  t.equal(outcome('10.96.0.1:80'), asWanted)
  store.apply(webOf(MTLS))
  store.apply([{ kind: 'cluster', remove: WEB }])
  t.equal(outcome('10.96.0.1:80'), asWanted)
  t.end()
})

t.test('rule 15: a policy on HTTP that cannot be evaluated denies what may be HTTP', (t) => {
  const refusing = (reason: 'policy_denied' | 'mtls_required'): FilterChain => ({
    name: 'http',
    match: inspectedHttp.match,
    refusal: { reason, detail: 'jwt_authn' },
  })
  const denied = start(httpListener([plainRest, refusing('policy_denied')]), webOf(PLAIN))
  t.equal(denied.outcome('192.0.2.7:80'), 'policy_denied: jwt_authn')
  const other = start(httpListener([plainRest, refusing('mtls_required')]), webOf(PLAIN))
  t.equal(other.outcome('192.0.2.7:80'), 'PassthroughCluster: 192.0.2.7:80', 'only of policies')
  t.end()
})
