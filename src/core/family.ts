/** The two address families and the order in which a connection may use them. */

/** An address family, as it is spelt in settings, logs and metric labels. */
export type Family = 'ipv4' | 'ipv6'

/** Both families, in the order in which tables and metrics list them. */
export const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']

/**
 * How a connection orders the families of its upstream addresses:
 * - `native-first`: the family that the client used, then the other one
 * - `native-only`: the family that the client used, and nothing else
 * - `ipv4-first`, `ipv6-first`: a fixed first family, whatever the client used
 */
export type FamilyPolicy = 'native-first' | 'native-only' | 'ipv4-first' | 'ipv6-first'

/** Every {@link FamilyPolicy}, default first. */
export const FAMILY_POLICIES: readonly FamilyPolicy[] = [
  'native-first',
  'native-only',
  'ipv4-first',
  'ipv6-first',
]

/** The twin of a family. */
export function otherFamily(family: Family): Family {
  return family === 'ipv4' ? 'ipv6' : 'ipv4'
}

/**
 * The families that a connection of a client in `native` may use upstream, best first. `enabled` leaves out families
 * that are switched off; it can make the result empty (native-only with the client's family off).
 */
export function familyOrder(
  policy: FamilyPolicy,
  native: Family,
  enabled: readonly Family[],
): readonly Family[] {
  const order = wanted(policy, native)
  return enabled.length === FAMILIES.length ? order : order.filter((family) => enabled.includes(family))
}

function wanted(policy: FamilyPolicy, native: Family): readonly Family[] {
  switch (policy) {
    case 'native-first':
      return [native, otherFamily(native)]
    case 'native-only':
      return [native]
    case 'ipv4-first':
      return ['ipv4', 'ipv6']
    case 'ipv6-first':
      return ['ipv6', 'ipv4']
  }
}
