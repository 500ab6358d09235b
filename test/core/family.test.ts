/** The order in which a connection may use the families. */
import t from 'tap'

import { FAMILIES, FAMILY_POLICIES, familyOrder, otherFamily } from '../../src/core/family.ts'

import type { Family, FamilyPolicy } from '../../src/core/family.ts'

const orders: readonly (readonly [FamilyPolicy, Family, readonly Family[]])[] = [
  ['native-first', 'ipv4', ['ipv4', 'ipv6']],
  ['native-first', 'ipv6', ['ipv6', 'ipv4']],
  ['native-only', 'ipv4', ['ipv4']],
  ['native-only', 'ipv6', ['ipv6']],
  ['ipv4-first', 'ipv4', ['ipv4', 'ipv6']],
  ['ipv4-first', 'ipv6', ['ipv4', 'ipv6']],
  ['ipv6-first', 'ipv4', ['ipv6', 'ipv4']],
  ['ipv6-first', 'ipv6', ['ipv6', 'ipv4']],
]
for (const [policy, native, expected] of orders) {
  t.test(`rule 5: ${policy} orders ${expected.join(', ')} for a client in ${native}`, (t) => {
    t.strictSame(familyOrder(policy, native, FAMILIES), expected)
    t.end()
  })
}

t.test('rule 5: is native-first by default and covers each policy above', (t) => {
  t.equal(FAMILY_POLICIES[0], 'native-first')
  t.strictSame(new Set(orders.map(([policy]) => policy)), new Set(FAMILY_POLICIES))
  t.end()
})

t.test('leaves out families that are switched off, and can leave none', (t) => {
  t.strictSame(familyOrder('native-first', 'ipv6', ['ipv4']), ['ipv4'])
  t.strictSame(familyOrder('ipv6-first', 'ipv4', ['ipv4']), ['ipv4'])
  t.strictSame(familyOrder('native-only', 'ipv6', ['ipv4']), [])
  t.end()
})

t.test('knows the twin of each family', (t) => {
  t.equal(otherFamily('ipv4'), 'ipv6')
  t.equal(otherFamily('ipv6'), 'ipv4')
  t.end()
})
