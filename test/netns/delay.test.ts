/** A native family that is there and slow: the other one is used when it is faster by more than the attempt delay. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { bootstrapText, clusterOf, listenerOn } from '../fixtures/envoy-files.ts'
import { SLOW, createDelayLine, skipUnlessTun } from '../fixtures/delay-line.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import { SERVER_PORT, startNamespaceProxy } from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'

const PORTS = { ipv4: 8_004, ipv6: 8_006 } as const

/** The endpoint of a listener has the family of its clients on the slow link, the other one on the fast one. */
const CONFIG = {
  dialect: 'envoy',
  text: bootstrapText(
    FAMILIES.map((family) => listenerOn(family, [[LAB.node[family], PORTS[family]]], family)),
    FAMILIES.map((family) =>
      clusterOf(
        family,
        [
          [SLOW.server[family], SERVER_PORT],
          [LAB.server[otherFamily(family)], SERVER_PORT],
        ],
        { connect_timeout: '30s' },
      ),
    ),
  ),
} as const

/** Far from both round trips, because the machine may stall. It is the longest that can be set. */
const ATTEMPT_DELAY_MS = 2_000
const PATIENT_ROUND_TRIP_MS = 160
const SLOW_ROUND_TRIP_MS = 8_000

if (requireNamespaces(t)) {
  const skip = skipUnlessTun()
  if (skip !== false) t.plan(0, skip)
  else {
    forEachEngine(t, 'when the native family is slow', async (t, engine) => {
      const lab = await startNamespaceProxy(t, engine, {
        config: CONFIG,
        env: { TWINSTACK_ATTEMPT_DELAY_MS: String(ATTEMPT_DELAY_MS) },
      })
      const { agent, clientHost, serverHost } = lab
      const line = await createDelayLine(t, lab)
      for (const family of FAMILIES) {
        await serverHost.listen(LAB.server[family], SERVER_PORT)
        await serverHost.listen(SLOW.server[family], SERVER_PORT)
      }

      for (const family of FAMILIES) {
        const other = otherFamily(family)
        const ask = (): Promise<{ readonly received: string; readonly tookMs: number }> =>
          clientHost.exchange(LAB.node[family], PORTS[family], 'hello')
        const fast = `${LAB.server[other]} ${SERVER_PORT} from ${LAB.nodeAtServer[other]}: hello`

        await t.test(`rule 5: ${family} is waited for within the attempt delay`, async (t) => {
          await line.setDelay(PATIENT_ROUND_TRIP_MS / 2)
          const { received, tookMs } = await ask()
          t.equal(received, `${SLOW.server[family]} ${SERVER_PORT} from ${SLOW.node[family]}: hello`)
          t.ok(tookMs >= 2 * PATIENT_ROUND_TRIP_MS - 5, `connect and answer took ${Math.round(tookMs)} ms`)
        })

        await t.test(`rules 6, 7: ${family} is overtaken, and not waited for again`, async (t) => {
          await line.setDelay(SLOW_ROUND_TRIP_MS / 2)
          t.equal((await ask()).received, fast)
          t.match(await agent.logOf((each) => each['listener'] === family, 2), {
            fallback: `${family} to ${other}: slow`,
          })
          // Two, because the machine may stall for as long as the attempt delay during one of them.
          const next: unknown[] = []
          for (const nth of [3, 4]) {
            t.equal((await ask()).received, fast)
            const { fallback } = await agent.logOf((each) => each['listener'] === family, nth)
            next.push(fallback)
          }
          t.ok(next.includes(`${family} to ${other}: unhealthy`), next.join())
        })
      }
    })
  }
}
