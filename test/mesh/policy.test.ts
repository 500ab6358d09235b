import t from 'tap'

import { parseIp } from '../../src/core/address.ts'
import { evaluatePolicies } from '../../src/mesh/policy.ts'
import { MeshStore } from '../../src/mesh/store.ts'
import { ambientStore } from '../fixtures/ambient-mesh.ts'

import type { PolicyDecision } from '../../src/mesh/policy.ts'
import type { AuthorizationPolicy } from '../../src/mesh/workload.ts'

interface PolicyText {
  readonly name?: string
  readonly namespace?: string
  readonly scope?: string
  readonly action?: string
  readonly rules: unknown
  readonly dryRun?: boolean
}

interface Ends {
  readonly client?: string
  readonly destination?: string
  readonly port?: number
}

const SERVER_UID = 'Kubernetes//Pod/shop/server'

/** Decides a connection of a web pod (10.0.0.1, fd00::1) to the shop's server (10.0.0.2, fd00::2). */
function decide(
  texts: readonly PolicyText[],
  ends: Ends = {},
  references: readonly string[] = [],
  change: (policy: AuthorizationPolicy) => AuthorizationPolicy = (policy) => policy,
): PolicyDecision {
  const { snapshot } = ambientStore({
    workloads: [
      { name: 'client', namespace: 'web', workloadIps: ['10.0.0.1', 'fd00::1'] },
      {
        name: 'server',
        namespace: 'shop',
        workloadIps: ['10.0.0.2', 'fd00::2'],
        authorizationPolicies: references,
      },
    ],
    policies: texts.map((text, index) => ({
      name: `p${index}`,
      namespace: 'shop',
      scope: 'Namespace',
      action: 'Allow',
      ...text,
    })),
  })
  const destination = snapshot.workload.get(SERVER_UID)
  if (destination === undefined) throw new Error('the server is missing')
  const client = parseIp(ends.client ?? '10.0.0.1')
  const source = [...snapshot.workload.values()].find(({ addresses }) =>
    addresses.some(({ text }) => text === client.text),
  )
  const changed = new MeshStore()
  changed.apply(
    Array.from(snapshot.policy.values(), (policy) => ({ kind: 'policy', upsert: change(policy) })),
  )
  return evaluatePolicies({
    policies: changed.snapshot.policyIndex,
    destination,
    connection: {
      client,
      destination: { ip: parseIp(ends.destination ?? '10.0.0.2'), port: ends.port ?? 8080 },
      ...(source !== undefined && { source }),
    },
  })
}

/** True when one ALLOW policy of that one match lets the connection through. */
function matches(match: object, ends?: Ends): boolean {
  return decide([{ rules: [[[match]]] }], ends).isAllowed
}

t.test('without policies everything is allowed', async (t) => {
  t.strictSame(decide([]), { isAllowed: true, dryRunDenials: [] })
})

t.test('each kind of match holds for what it names and not for the rest', async (t) => {
  const other = { client: '10.0.0.9', destination: '10.0.1.2', port: 9090 }
  const cases: readonly (readonly [object, boolean, boolean])[] = [
    [{ sourceIps: ['10.0.0.1'] }, true, false],
    [{ notSourceIps: ['10.0.0.1'] }, false, true],
    [{ destinationIps: ['10.0.0.2/32'] }, true, false],
    [{ notDestinationIps: ['10.0.0.2/32'] }, false, true],
    [{ destinationIps: ['10.0.0.0/16'] }, true, true],
    [{ destinationPorts: [80, 8080] }, true, false],
    [{ notDestinationPorts: [80, 8080] }, false, true],
    [{ namespaces: [{ Exact: 'web' }] }, true, false],
    [{ notNamespaces: [{ Exact: 'web' }] }, false, true],
    [{ namespaces: [{ Prefix: 'we' }] }, true, false],
    [{ namespaces: [{ Suffix: 'eb' }] }, true, false],
    [{ namespaces: [{ Exact: 'we' }] }, false, false],
    [{ namespaces: [{ Prefix: 'eb' }] }, false, false],
    [{ namespaces: [{ Suffix: 'we' }] }, false, false],
    [{ namespaces: [{ Presence: [] }] }, true, false],
    [{ sourceIps: ['10.0.0.1'], destinationPorts: [1] }, false, false],
    [{ sourceIps: ['10.0.0.1'], notDestinationPorts: [1] }, true, false],
    [{ sourceIps: ['10.0.0.0/24'], notSourceIps: ['10.0.0.1'] }, false, true],
  ]
  for (const [match, isMatched, isOtherMatched] of cases) {
    t.equal(matches(match), isMatched, JSON.stringify(match))
    t.equal(matches(match, other), isOtherMatched, `${JSON.stringify(match)} from elsewhere`)
  }
})

t.test('plain TCP has no identity: what asks for one does not match, what excludes one does', async (t) => {
  const account = { namespace: 'web', serviceAccount: 'default' }
  t.notOk(matches({ principals: [{ Exact: 'cluster.local/ns/web/sa/default' }] }))
  t.notOk(matches({ principals: [{ Presence: [] }] }))
  t.notOk(matches({ principals: [{ Prefix: '' }] }))
  t.ok(matches({ notPrincipals: [{ Presence: [] }] }))
  t.notOk(matches({ serviceAccounts: [account] }))
  t.ok(matches({ notServiceAccounts: [account] }))
  const strict = { action: 'Deny', rules: [[[{ notPrincipals: [{ Presence: [] }] }]]] }
  t.match(
    decide([strict]),
    { isAllowed: false, policy: 'shop/p0', detail: 'denied by policy shop/p0' },
    "Istio's policy for strict mTLS denies plain text",
  )
})

t.test('a prefix holds addresses of its own family only', async (t) => {
  const overIpv6 = { client: 'fd00::1', destination: 'fd00::2' }
  t.ok(matches({ sourceIps: ['fd00::/8'] }, overIpv6))
  t.notOk(matches({ sourceIps: ['10.0.0.0/8'] }, overIpv6))
  t.notOk(matches({ sourceIps: ['0.0.0.0/0'] }, overIpv6))
  t.notOk(matches({ sourceIps: ['::/0'] }))
  t.ok(matches({ namespaces: [{ Exact: 'web' }] }, overIpv6), 'a workload is known by either address')
})

t.test('rules are alternatives, clauses must all hold, matches of a clause are alternatives', async (t) => {
  const yes = { destinationPorts: [8080] }
  const no = { destinationPorts: [1] }
  const cases: readonly (readonly [unknown, boolean])[] = [
    [[], false],
    [[[]], true],
    [[[[]]], true],
    [[[[{}]]], false],
    [[[[{}, yes]]], true],
    [[[[no, yes]]], true],
    [[[[yes], [no]]], false],
    [[[[yes], [yes]]], true],
    [[[[no]], [[yes]]], true],
    [[[[no]], [[no]]], false],
  ]
  for (const [rules, isAllowed] of cases) {
    t.equal(decide([{ rules }]).isAllowed, isAllowed, `ALLOW ${JSON.stringify(rules)}`)
    t.equal(decide([{ rules, action: 'Deny' }]).isAllowed, !isAllowed, `DENY ${JSON.stringify(rules)}`)
  }
})

t.test('a DENY that matches wins over an ALLOW that matches', async (t) => {
  const all = [[]]
  t.match(decide([{ rules: all }, { action: 'Deny', rules: all }]), { isAllowed: false, policy: 'shop/p1' })
  t.ok(decide([{ rules: all }, { rules: [] }]).isAllowed, 'one ALLOW of several is enough')
  t.match(decide([{ rules: [] }]), {
    isAllowed: false,
    policy: '',
    detail: `no ALLOW policy of workload ${SERVER_UID} matches`,
  })
})

t.test('a policy applies by its scope', async (t) => {
  const deny = { action: 'Deny', rules: [[]], name: 'deny' }
  t.notOk(decide([deny]).isAllowed, 'the namespace of the destination')
  t.ok(decide([{ ...deny, namespace: 'web' }]).isAllowed, 'not the namespace of the client')
  t.notOk(decide([{ ...deny, namespace: 'istio-system', scope: 'Global' }]).isAllowed)
  t.ok(decide([{ ...deny, scope: 'WorkloadSelector' }]).isAllowed)
  t.notOk(decide([{ ...deny, scope: 'WorkloadSelector' }], {}, ['shop/deny']).isAllowed)
  t.notOk(
    decide([{ ...deny, namespace: 'root', scope: 'WorkloadSelector' }], {}, ['root/deny']).isAllowed,
    'a workload may name a policy of another namespace',
  )
})

t.test('rule 15: a policy that the workload names and nobody has sent denies', async (t) => {
  const missing = ['shop/not-here']
  t.match(decide([], {}, missing), {
    isAllowed: false,
    policy: 'shop/not-here',
    detail: `policy shop/not-here of workload ${SERVER_UID} is not known yet`,
  })
  t.notOk(decide([{ rules: [[]] }], {}, missing).isAllowed, 'even where an ALLOW matches')
})

t.test('rule 15: a match that cannot be evaluated denies', async (t) => {
  const unknown = (policy: AuthorizationPolicy): AuthorizationPolicy => ({
    ...policy,
    rules: policy.rules.map((clauses) =>
      clauses.map((items) => items.map((match) => ({ ...match, isUnknown: true }))),
    ),
  })
  for (const match of [{}, { destinationPorts: [8080] }, { destinationPorts: [1] }]) {
    const text = JSON.stringify(match)
    const rules = [[[match]]]
    t.notOk(decide([{ rules }], {}, [], unknown).isAllowed, `ALLOW ${text} does not allow`)
    t.notOk(decide([{ rules, action: 'Deny' }], {}, [], unknown).isAllowed, `DENY ${text} denies`)
  }
})

t.test('a dry-run policy only tells what it would deny', async (t) => {
  const all = [[]]
  const dry = (text: PolicyText): PolicyText => ({ ...text, dryRun: true })
  t.strictSame(decide([dry({ action: 'Deny', rules: all })]), { isAllowed: true, dryRunDenials: ['shop/p0'] })
  t.strictSame(decide([dry({ action: 'Deny', rules: [] })]), { isAllowed: true, dryRunDenials: [] })
  t.strictSame(decide([dry({ rules: [] })]), { isAllowed: true, dryRunDenials: ['shop/p0'] })
  t.strictSame(decide([dry({ rules: all })]), { isAllowed: true, dryRunDenials: [] })
  t.strictSame(decide([dry({ rules: [] }), { rules: all }]), { isAllowed: true, dryRunDenials: [] })
  t.notOk(decide([dry({ rules: all }), { rules: [] }]).isAllowed, 'it does not allow either')
})
