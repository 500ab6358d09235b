import t from 'tap'

import { parseSocketAddress } from '../../src/core/address.ts'
import { LoopGuard } from '../../src/proxy/loop-guard.ts'

const OWN = parseSocketAddress('[fd00::1]:40000')

t.test('rule 4: refuses a captured connection that comes from an upstream socket of the proxy', async (t) => {
  const guard = new LoopGuard()
  guard.connected(OWN)
  t.equal(
    guard.accepted(OWN, () => undefined),
    false,
  )
  t.equal(
    guard.accepted(parseSocketAddress('[fd00::1]:40001'), () => undefined),
    true,
  )
})

t.test('rule 4: tells of a loop whose upstream end is reported after its downstream end', async (t) => {
  const guard = new LoopGuard()
  let loops = 0
  t.equal(
    guard.accepted(OWN, () => loops++),
    true,
  )
  guard.connected(OWN)
  t.equal(loops, 1)
})

t.test('forgets the ends of a connection that is gone, so that ports can be used again', async (t) => {
  const guard = new LoopGuard()
  guard.connected(OWN)
  guard.ended({ client: parseSocketAddress('10.0.0.1:1'), upstreamLocal: OWN })
  let loops = 0
  t.equal(
    guard.accepted(OWN, () => loops++),
    true,
  )
  guard.ended({ client: OWN, upstreamLocal: undefined })
  guard.connected(OWN)
  t.equal(loops, 0)
})
