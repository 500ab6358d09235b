/** The other family, when the native one refuses, is silent or loses packets on a real link. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { bootstrapText, clusterOf, listenerOn } from '../fixtures/envoy-files.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import { startNamespaceProxy } from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { NamespaceProxy } from '../fixtures/namespace-proxy.ts'

/** What is wrong with the native family. Each has an endpoint of its own, because health is remembered per endpoint. */
const TROUBLES = ['refuses', 'is silent', 'loses the first packet'] as const
type Trouble = (typeof TROUBLES)[number]

const CASES = FAMILIES.flatMap((native) => TROUBLES.map((trouble) => ({ native, trouble })))
type Case = (typeof CASES)[number]

/** Where the application of a case listens, and the proxy for it. */
function portOf({ native, trouble }: Case): number {
  return 8_000 + 10 * FAMILIES.indexOf(native) + TROUBLES.indexOf(trouble)
}

const CONFIG = {
  dialect: 'envoy',
  text: bootstrapText(
    CASES.map((each) =>
      listenerOn(`at-${portOf(each)}`, [[LAB.node[each.native], portOf(each)]], `of-${portOf(each)}`),
    ),
    CASES.map((each) =>
      clusterOf(
        `of-${portOf(each)}`,
        FAMILIES.map((family) => [LAB.server[family], portOf(each)] as const),
      ),
    ),
  ),
} as const

/** How a packet to the native address of a case is spoiled, in the language of nft. */
const SPOILED: Readonly<Record<Trouble, string | undefined>> = {
  refuses: undefined,
  'is silent': 'drop',
  'loses the first packet': 'numgen inc mod 1000 0 drop',
}

/** What a test may take beside the time that the rule gives: the machine has other work. */
const SLACK_MS = 140
const ATTEMPT_DELAY_MS = 250

async function startServers({ server, serverHost }: NamespaceProxy): Promise<void> {
  const rules: string[] = []
  for (const each of CASES) {
    const spoiled = SPOILED[each.trouble]
    const listening = spoiled === undefined ? [otherFamily(each.native)] : FAMILIES
    for (const family of listening) await serverHost.listen(LAB.server[family], portOf(each))
    if (spoiled !== undefined)
      rules.push(`meta nfproto ${each.native} tcp dport ${portOf(each)} tcp flags syn ${spoiled}`)
  }
  server.nft(`
    table inet trouble {
      chain input {
        type filter hook input priority filter; policy accept;
        ${rules.join('\n')}
      }
    }`)
}

interface Expected {
  readonly reason: string
  readonly attempts: RegExp
  readonly leastMs: number
}

const CONNECTED = String.raw`connected \d+ms$`

/** What the first connection of a case meets; the second one goes to the other family at once. */
function expectedFirst(each: Case): Expected {
  if (each.trouble === 'refuses')
    return {
      reason: 'refused',
      attempts: new RegExp(String.raw`^\S+ refused \d?\dms, \S+ ${CONNECTED}`),
      leastMs: 0,
    }
  return {
    reason: 'slow',
    attempts: new RegExp(String.raw`^\S+ lost_race (2[5-9]|3\d)\dms, \S+ ${CONNECTED}`),
    leastMs: ATTEMPT_DELAY_MS,
  }
}

const SECOND: Expected = {
  reason: 'unhealthy',
  attempts: new RegExp(String.raw`^\S+ ${CONNECTED}`),
  leastMs: 0,
}

if (requireNamespaces(t)) {
  forEachEngine(t, 'when the native family', async (t, engine) => {
    const lab = await startNamespaceProxy(t, engine, { config: CONFIG })
    await startServers(lab)
    for (const each of CASES) {
      await t.test(`rules 5, 6, 7: ${each.native} ${each.trouble}`, async (t) => {
        await check(t, lab, each, expectedFirst(each), 1)
        await check(t, lab, each, SECOND, 2)
      })
    }
  })
}

async function check(
  t: Test,
  { agent, clientHost }: NamespaceProxy,
  each: Case,
  { reason, attempts, leastMs }: Expected,
  nth: number,
): Promise<void> {
  const { native } = each
  const other: Family = otherFamily(native)
  const port = portOf(each)
  const series = `twinstack_family_fallbacks_total{from="${native}",to="${other}",reason="${reason}"}`
  const before = await agent.metric(series)
  const { received, end, tookMs } = await clientHost.exchange(LAB.node[native], port, 'hello')
  t.equal(received, `${LAB.server[other]} ${port} from ${LAB.nodeAtServer[other]}: hello`)
  t.equal(end, 'fin')
  t.ok(tookMs >= leastMs - 1 && tookMs < leastMs + SLACK_MS, `took ${Math.round(tookMs)} ms`)
  t.equal((await agent.metric(series)) - before, 1)
  const line = await agent.logOf((record) => record['listener'] === `at-${port}`, nth)
  t.match(line, { attempts, fallback: `${native} to ${other}: ${reason}`, close_reason: 'finished' })
}
