/** What istio.security.Authorization becomes, and that what is not known of it denies. */
import t from 'tap'

import { parseSocketAddress } from '../../../src/core/address.ts'
import { formatCidr } from '../../../src/core/cidr.ts'
import { evaluatePolicies } from '../../../src/mesh/policy.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { decodeAddressResource } from '../../../src/xds-client/resources/wire-address.ts'
import { decodeAuthorizationResource } from '../../../src/xds-client/resources/wire-authorization.ts'
import { AmbientPools } from '../../../src/xds-client/resources/wire-values.ts'
import { wireBytes } from '../../fixtures/wire-bytes.ts'

import type { AuthorizationPolicy, PolicyMatch, Workload } from '../../../src/mesh/workload.ts'
import type { WireValue } from '../../fixtures/wire-bytes.ts'

type Fields = Readonly<Record<number, WireValue>>

const ANY_PORT_80 = wireBytes({ 9: 80 })
/** What istiod 1.27.0 made of an AuthorizationPolicy that denies the sources 10.244.0.10 and fd00:10:244::10. */
const FROM_ISTIOD = Buffer.from(
  '0a0a64656e792d736c656570120a6475616c2d737461636b180220012a250a2312212a080a040af4000a1020' +
    '2a150a10fd000010024400000000000000000010108001',
  'hex',
)
const ALLOW = 0
const DENY = 1

function decode(fields: Fields): AuthorizationPolicy {
  const decoded = decodeAuthorizationResource(wireBytes({ 1: 'p', 2: 'shop', 3: 1, ...fields }))
  if (!decoded.ok) throw new Error(decoded.problems.map(({ message }) => message).join())
  return decoded.value
}

/** A policy of one rule with one clause with one match. */
function ruleOf(match: Uint8Array): Uint8Array {
  return wireBytes({ 1: wireBytes({ 2: match }) })
}

function match(fields: Fields): PolicyMatch | undefined {
  return decode({ 5: ruleOf(wireBytes(fields)) }).rules[0]?.[0]?.[0]
}

/** Whether a connection from 10.0.0.9 to 10.0.0.1:80 of namespace shop gets through the policy. */
function isAllowed(policy: AuthorizationPolicy): boolean {
  const workload = wireBytes({ 1: wireBytes({ 20: 'uid', 2: 'shop', 3: Uint8Array.of(10, 0, 0, 1) }) })
  const destination = decodeAddressResource(workload, new AmbientPools())
  if (!destination.ok) throw new Error('no workload')
  const store = new MeshStore()
  store.apply([{ kind: 'policy', upsert: policy }])
  return evaluatePolicies({
    policies: store.snapshot.policyIndex,
    destination: destination.value.upsert as Workload,
    connection: {
      client: parseSocketAddress('10.0.0.9:1').ip,
      destination: parseSocketAddress('10.0.0.1:80'),
    },
  }).isAllowed
}

t.test('reads scope, action, dry run and the nesting of rules', (t) => {
  const policy = decode({
    3: 2,
    4: DENY,
    5: [wireBytes({ 1: [wireBytes({ 2: [ANY_PORT_80, ANY_PORT_80] }), wireBytes({})] }), wireBytes({})],
    6: true,
  })
  t.match(policy, {
    name: 'p',
    namespace: 'shop',
    scope: 'workload-selector',
    action: 'deny',
    isDryRun: true,
  })
  t.strictSame(
    policy.rules.map((rule) => rule.map((clause) => clause.length)),
    [[2, 0], []],
  )
  t.end()
})

t.test('reads a policy as istiod sends it', (t) => {
  const decoded = decodeAuthorizationResource(FROM_ISTIOD)
  if (!decoded.ok) throw new Error('it is one')
  const { name, namespace, scope, action, rules } = decoded.value
  t.strictSame([name, namespace, scope, action], ['deny-sleep', 'dual-stack', 'workload-selector', 'deny'])
  t.strictSame(
    rules.map((rule) =>
      rule.map((clause) =>
        clause.map(({ sourceIps, isUnknown }) => ({ sourceIps: sourceIps.map(formatCidr), isUnknown })),
      ),
    ),
    [[[{ sourceIps: ['10.244.0.10/32', 'fd00:10:244::10/128'], isUnknown: false }]]],
  )
  t.end()
})

t.test('reads every kind of a match', (t) => {
  const text = (kind: number): Uint8Array => wireBytes({ [kind]: kind === 4 ? new Uint8Array() : 'x' })
  const cidr = (length: number): Uint8Array => wireBytes({ 1: Uint8Array.of(10, 1, 0, 0), 2: length })
  const account = wireBytes({ 1: 'ns', 2: 'sa' })
  const found = match({
    1: text(1),
    2: text(2),
    3: text(3),
    4: text(4),
    5: cidr(16),
    6: cidr(17),
    7: cidr(18),
    8: cidr(19),
    9: Uint8Array.of(80, 81),
    10: [443, 444],
    11: account,
    12: account,
  })
  const {
    sourceIps = [],
    notSourceIps = [],
    destinationIps = [],
    notDestinationIps = [],
    ...rest
  } = found ?? {}
  t.strictSame(
    [sourceIps, notSourceIps, destinationIps, notDestinationIps].map((cidrs) => cidrs.map(formatCidr).join()),
    ['10.1.0.0/16', '10.1.0.0/17', '10.1.0.0/18', '10.1.0.0/19'],
  )
  t.strictSame(rest, {
    namespaces: [{ kind: 'exact', value: 'x' }],
    notNamespaces: [{ kind: 'prefix', value: 'x' }],
    principals: [{ kind: 'suffix', value: 'x' }],
    notPrincipals: [{ kind: 'presence' }],
    serviceAccounts: [{ namespace: 'ns', serviceAccount: 'sa' }],
    notServiceAccounts: [{ namespace: 'ns', serviceAccount: 'sa' }],
    destinationPorts: [80, 81],
    notDestinationPorts: [443, 444],
    isUnknown: false,
  })
  t.end()
})

const unknowns: readonly (readonly [string, Fields])[] = [
  ['a kind of match', { 5: ruleOf(wireBytes({ 9: 80, 13: 'x' })) }],
  ['a kind of text match', { 5: ruleOf(wireBytes({ 9: 80, 1: wireBytes({ 5: 'regex' }) })) }],
  ['a text match without a kind', { 5: ruleOf(wireBytes({ 9: 80, 1: new Uint8Array() })) }],
  ['an address of five bytes', { 5: ruleOf(wireBytes({ 9: 80, 5: wireBytes({ 1: new Uint8Array(5) }) })) }],
  ['a part of a service account', { 5: ruleOf(wireBytes({ 9: 80, 11: wireBytes({ 3: 'x' }) })) }],
  ['a field of a clause', { 5: wireBytes({ 1: wireBytes({ 1: 'x', 2: ANY_PORT_80 }) }) }],
  ['a field of a rule', { 5: wireBytes({ 1: wireBytes({ 2: ANY_PORT_80 }), 2: 'x' }) }],
  ['a scope', { 3: 9, 5: ruleOf(ANY_PORT_80) }],
]

for (const [what, fields] of unknowns) {
  t.test(`rule 15: a policy with ${what} that is not known denies, whatever its action`, (t) => {
    t.equal(isAllowed(decode({ ...fields, 4: ALLOW })), false)
    t.equal(isAllowed(decode({ ...fields, 4: DENY })), false)
    t.end()
  })
}

t.test('rule 15: a policy of an unknown action denies what it matches', (t) => {
  t.equal(isAllowed(decode({ 4: 7, 5: ruleOf(ANY_PORT_80) })), false)
  t.equal(isAllowed(decode({ 4: 7, 5: ruleOf(wireBytes({ 9: 81 })) })), true)
  t.end()
})

t.test('the same policies without anything unknown allow and deny as they say', (t) => {
  t.equal(isAllowed(decode({ 4: ALLOW, 5: ruleOf(ANY_PORT_80) })), true)
  t.equal(isAllowed(decode({ 4: DENY, 5: ruleOf(ANY_PORT_80) })), false)
  t.equal(isAllowed(decode({ 4: DENY, 5: ruleOf(wireBytes({ 9: 81 })) })), true)
  t.equal(isAllowed(decode({ 4: ALLOW, 7: 'extension', 5: ruleOf(ANY_PORT_80) })), true)
  t.end()
})

t.test('refuses a policy without a name, which nothing could be said about', (t) => {
  t.match(decodeAuthorizationResource(wireBytes({ 2: 'shop' })), {
    ok: false,
    problems: [{ path: ['name'], message: 'an Authorization needs a name that is not empty' }],
  })
  t.end()
})
