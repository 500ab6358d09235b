import t from 'tap'

import { parseSocketAddress } from '../../src/core/address.ts'
import { LOOP_RECHECK_MS, checkForLoop } from '../../src/proxy/loop-check.ts'
import { LoopGuard } from '../../src/proxy/loop-guard.ts'
import { UpstreamEnds } from '../../src/proxy/upstream-ends.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'

const ENDS = {
  from: parseSocketAddress('10.244.0.10:40000'),
  to: parseSocketAddress('10.244.0.11:9000'),
  namespaceId: 7,
}

function start() {
  const clock = new FakeClock()
  const loops = new LoopGuard(UpstreamEnds.allocate(1_024))
  const said: boolean[] = []
  const check = () => checkForLoop({ loops, clock }, ENDS, (isLoop) => said.push(isLoop))
  return { clock, loops, said, check }
}

t.test('rule 4: lets a connection go on at once whose ends are nobody else’s', async (t) => {
  const { loops, said, check } = start()
  t.equal(check(), undefined)
  t.strictSame(said, [false])
  loops.connected(ENDS)
  t.strictSame(said, [false, true], 'and says so when they turn out to be the proxy’s own')
})

t.test('rule 4: refuses a connection whose ends stay those of an upstream connection', async (t) => {
  const { clock, loops, said, check } = start()
  loops.connected(ENDS)
  check()
  t.strictSame(said, [])
  clock.advance(LOOP_RECHECK_MS)
  t.strictSame(said, [true])
})

t.test('lets a connection go on whose port was an upstream connection’s until a moment ago', async (t) => {
  const { clock, loops, said, check } = start()
  loops.connected(ENDS)
  check()
  loops.ended({ ...ENDS, namespaceId: 8 }, ENDS)
  clock.advance(LOOP_RECHECK_MS)
  t.strictSame(said, [false])
})

t.test('says nothing of a connection that has ended meanwhile', async (t) => {
  const { clock, loops, said, check } = start()
  loops.connected(ENDS)
  check()?.cancel()
  clock.advance(LOOP_RECHECK_MS)
  t.strictSame(said, [])
})
