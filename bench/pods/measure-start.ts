/** What it takes until an agent serves the pods of a full node, and what it then holds for each. */
import { servedSnapshot } from './served-snapshot.ts'

import type { BareNode } from './bare-node.ts'
import type { Holdings } from './captured-agent.ts'
import type { Reading } from './reading.ts'
import type { Scope } from './scope.ts'

interface Start extends Holdings {
  readonly readyMs: number
}

/** An agent for no pod at first, then one for `count`. */
export async function measureStart(scope: Scope, node: BareNode, count: number): Promise<readonly Reading[]> {
  const empty = await scope.within((each) => start(each, node, 0))
  const full = await scope.within((each) => start(each, node, count))
  const title = (what: string): string => `${count} pods: ${what}`
  return [
    { title: title('start of the agent to ready'), unit: 'ms', value: full.readyMs },
    { title: 'no pod: start of the agent to ready', unit: 'ms', value: empty.readyMs },
    {
      title: title('descriptors for each'),
      unit: '',
      value: (full.descriptors - empty.descriptors) / count,
    },
    { title: title('descriptors in all'), unit: '', value: full.descriptors },
    {
      title: title('RSS for each'),
      unit: 'kB',
      value: (full.residentBytes - empty.residentBytes) / count / 1_000,
    },
    { title: title('RSS in all'), unit: 'MB', value: full.residentBytes / 1e6 },
    { title: title('threads more than for none'), unit: '', max: 0, value: full.threads - empty.threads },
  ]
}

async function start(scope: Scope, node: BareNode, count: number): Promise<Start> {
  const server = await node.startServer(scope, node.pods.slice(count))
  const agent = await node.startAgent(scope, server)
  const readyAtMs = await agent.ready()
  const { openedAtMs = NaN } = await servedSnapshot(server)
  return {
    readyMs: Math.max(readyAtMs, openedAtMs) - agent.startedAtMs,
    ...(await agent.holdings()),
  }
}
