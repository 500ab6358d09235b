/** The other family, when the native one refuses, is silent or loses packets on a real link. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { bootstrapText, clusterOf, listenerOn } from '../fixtures/envoy-files.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import { startNamespaceProxy } from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { AccessLogLine } from '../fixtures/namespace-agent.ts'
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
  // And the second: it follows after a second, which a machine that stalls may need until the other family is connected.
  'loses the first packet': 'numgen inc mod 1000 < 2 drop',
}

/** What a test may take beside the time that the rule gives: the machine may stall. */
const SLACK_MS = 2_500
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

/** How many connections may have to be looked at for one during which the machine does not stall. */
const MAX_CONNECTIONS = 4

interface Expected {
  readonly reason: string
  readonly attempts: RegExp
  readonly leastMs: number
}

const CONNECTED = String.raw`connected \d+ms$`

/** What the first connection of a case meets. */
function expectedFirst(each: Case): Expected {
  if (each.trouble === 'refuses')
    return {
      reason: 'refused',
      attempts: new RegExp(String.raw`^\S+ refused \d+ms, \S+ ${CONNECTED}`),
      leastMs: 0,
    }
  return {
    reason: 'slow',
    attempts: new RegExp(String.raw`^\S+ lost_race \d{3,4}ms, \S+ ${CONNECTED}`),
    leastMs: ATTEMPT_DELAY_MS,
  }
}

if (requireNamespaces(t)) {
  forEachEngine(t, 'when the native family', async (t, engine) => {
    const lab = await startNamespaceProxy(t, engine, { config: CONFIG })
    await startServers(lab)
    for (const each of CASES) {
      await t.test(`rules 5, 6, 7: ${each.native} ${each.trouble}`, async (t) => {
        await checkFirst(t, lab, each)
        await checkNext(t, lab, each)
      })
    }
  })
}

/** Connects through the listener of a case for the `nth` time. */
async function connect(
  t: Test,
  { agent, clientHost }: NamespaceProxy,
  each: Case,
  nth: number,
): Promise<{ readonly tookMs: number; readonly line: AccessLogLine }> {
  const other: Family = otherFamily(each.native)
  const port = portOf(each)
  const { received, end, tookMs } = await clientHost.exchange(LAB.node[each.native], port, 'hello')
  t.equal(received, `${LAB.server[other]} ${port} from ${LAB.nodeAtServer[other]}: hello`)
  t.equal(end, 'fin')
  return { tookMs, line: await agent.logOf((record) => record['listener'] === `at-${port}`, nth) }
}

function fallbacks({ agent }: NamespaceProxy, { native }: Case, reason: string): Promise<number> {
  const to = otherFamily(native)
  return agent.metric(`twinstack_family_fallbacks_total{from="${native}",to="${to}",reason="${reason}"}`)
}

function fallbackText({ native }: Case, reason: string): string {
  return `${native} to ${otherFamily(native)}: ${reason}`
}

async function checkFirst(t: Test, lab: NamespaceProxy, each: Case): Promise<void> {
  const { reason, attempts, leastMs } = expectedFirst(each)
  const before = await fallbacks(lab, each, reason)
  const { tookMs, line } = await connect(t, lab, each, 1)
  t.ok(tookMs >= leastMs - 1 && tookMs < leastMs + SLACK_MS, `took ${Math.round(tookMs)} ms`)
  t.equal((await fallbacks(lab, each, reason)) - before, 1)
  t.match(line, { attempts, fallback: fallbackText(each, reason), close_reason: 'finished' })
}

/**
 * The next connection goes to the other family at once. A stall as long as the attempt delay has the native one tried
 * beside it, and looks like a slow one; the connection after that shows it again.
 */
async function checkNext(t: Test, lab: NamespaceProxy, each: Case): Promise<void> {
  const before = await fallbacks(lab, each, 'unhealthy')
  const fallback = fallbackText(each, 'unhealthy')
  let line: AccessLogLine
  let nth = 1
  do {
    nth++
    ;({ line } = await connect(t, lab, each, nth))
  } while (line['fallback'] !== fallback && nth < MAX_CONNECTIONS)
  t.match(line, { attempts: new RegExp(String.raw`^\S+ ${CONNECTED}`), fallback, close_reason: 'finished' })
  t.equal((await fallbacks(lab, each, 'unhealthy')) - before, 1)
}
