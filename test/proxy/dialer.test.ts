import t from 'tap'

import { parseIp, parseSocketAddress } from '../../src/core/address.ts'
import { Dial } from '../../src/proxy/dialer.ts'
import { LoopGuard } from '../../src/proxy/loop-guard.ts'
import { UpstreamEnds } from '../../src/proxy/upstream-ends.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'
import { fakeTransport } from '../fixtures/fake-transport.ts'
import { anEndpoint } from '../fixtures/mesh-builder.ts'

import type { ConnectionEnds } from '../../src/proxy/upstream-ends.ts'
import type { Endpoint } from '../../src/mesh/endpoint.ts'
import type { DialPlan } from '../../src/proxy/dialer.ts'
import type { AttemptTarget } from '../../src/proxy/endpoint-selection.ts'

const DUAL = anEndpoint(['10.0.0.1:80', '[fd00::1]:80'])

function targetsOf(endpoint: Endpoint): readonly AttemptTarget[] {
  return endpoint.addresses.map((address) => ({ endpoint, address, family: address.ip.family }))
}

/** A dial with everything that it reported. */
function startDial(plan: Partial<DialPlan> = {}) {
  const clock = new FakeClock()
  const { transport, attempts } = fakeTransport()
  const loops = new LoopGuard(UpstreamEnds.allocate(0))
  const results: string[] = []
  const outcome: string[] = []
  const dial = new Dial(
    { transport, clock, loops },
    {
      targets: targetsOf(DUAL),
      attemptDelayMs: 250,
      connectTimeoutMs: 5_000,
      source: { preserved: [], configured: [] },
      keepalive: {},
      ...plan,
    },
    {
      attemptEnded: ({ address, result, durationMs }) => {
        results.push(`${address.ip.family} ${result} ${durationMs}`)
      },
      won: ({ family }) => outcome.push(`won ${family}`),
      lost: () => outcome.push('lost'),
    },
  )
  dial.begin()
  return { clock, attempts, results, outcome, dial, loops }
}

t.test('rule 6: tries the next address after the delay and keeps the first one', async (t) => {
  const { clock, attempts, outcome, results } = startDial()
  clock.advance(249)
  t.equal(attempts.length, 1)
  clock.advance(1)
  t.equal(attempts.length, 2)
  t.equal(attempts[0]?.isAborted, false)
  clock.advance(100)
  attempts[0]?.connect()
  t.strictSame(outcome, ['won ipv4'])
  t.strictSame(results, ['ipv6 lost_race 100', 'ipv4 connected 350'])
  t.equal(attempts[1]?.isAborted, true)
  t.equal(clock.pendingTimers, 0, 'no timer is left')
})

t.test('rule 6: tries the next address at once when one refuses', async (t) => {
  const { clock, attempts, outcome, results } = startDial()
  clock.advance(3)
  attempts[0]?.fail('refused')
  t.equal(attempts.length, 2)
  attempts[1]?.connect()
  t.strictSame(results, ['ipv4 refused 3', 'ipv6 connected 0'])
  t.strictSame(outcome, ['won ipv6'])
  t.equal(clock.pendingTimers, 0)
})

t.test('rule 6: the connect timeout bounds the whole race', async (t) => {
  const { clock, attempts, outcome, results } = startDial({ connectTimeoutMs: 1_000 })
  clock.advance(1_000)
  t.strictSame(results, ['ipv4 timeout 1000', 'ipv6 timeout 750'])
  t.strictSame(outcome, ['lost'])
  t.ok(attempts.every(({ isAborted }) => isAborted))
  t.equal(clock.pendingTimers, 0)
})

t.test('rule 9: each attempt has the source address of its own family, or none', async (t) => {
  const { clock, attempts } = startDial({
    source: { preserved: [], configured: [{ ip: parseIp('::6'), port: 0 }] },
  })
  clock.advance(250)
  t.strictSame(
    attempts.map(({ to, from }) => [to, from]),
    [
      ['10.0.0.1:80', undefined],
      ['[fd00::1]:80', '::6'],
    ],
  )
})

t.test('rule 9: a source address that cannot be used fails the attempt by name', async (t) => {
  const { attempts, results } = startDial()
  attempts[0]?.fail('address_unavailable')
  t.strictSame(results, ['ipv4 source_unavailable 0'])
})

t.test('a cancelled dial aborts what runs, reports it, and says nothing more', async (t) => {
  const { clock, attempts, outcome, results, dial } = startDial()
  dial.cancel()
  dial.cancel()
  t.strictSame(results, ['ipv4 cancelled 0'])
  t.strictSame(outcome, [])
  t.equal(attempts[0]?.isAborted, true)
  t.equal(clock.pendingTimers, 0)
})

t.test('rule 4: the ends of attempts are known while they are under way', async (t) => {
  const failing = startDial()
  const ends = endsOfFirst(failing)
  failing.attempts[0]?.start()
  t.equal(failing.loops.isOwn(ends), true)
  failing.attempts[0]?.fail('refused')
  t.equal(failing.loops.isOwn(ends), false)

  const winning = startDial()
  winning.attempts[0]?.start()
  winning.attempts[0]?.connect()
  t.equal(winning.loops.isOwn(ends), false, 'the connection has an entry of its own')

  const cancelled = startDial()
  cancelled.attempts[0]?.start()
  cancelled.dial.cancel()
  t.equal(cancelled.loops.isOwn(ends), true, 'the kernel may have connected it')
})

/** The ends of the first attempt: fake attempts start from this address. */
function endsOfFirst({ attempts }: ReturnType<typeof startDial>): ConnectionEnds {
  return { from: parseSocketAddress('10.0.0.254:40000'), to: parseSocketAddress(attempts[0]?.to ?? '') }
}

t.test('tries no other address when the peer accepts and cuts the connection', async (t) => {
  const { attempts, outcome, results } = startDial()
  attempts[0]?.fail('reset')
  t.equal(attempts.length, 1)
  t.strictSame(outcome, ['lost'])
  t.strictSame(results, ['ipv4 reset 0'])
})
