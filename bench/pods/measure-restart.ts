/** How long pods are without an agent that was killed and comes again. */
import type { BareNode } from './bare-node.ts'
import type { Reading } from './reading.ts'
import type { Scope } from './scope.ts'

/** From the start of the next agent. */
const MAX_SERVED_MS = 2_000

export async function measureRestart(
  scope: Scope,
  node: BareNode,
  count: number,
): Promise<readonly Reading[]> {
  const server = await node.startServer(scope, node.pods.slice(count))
  const killed = await node.startAgent(scope, server)
  await killed.ready()
  await node.traffic.ask(`untilServed ${count}`)
  await killed.kill()
  const next = await node.startAgent(scope, server)
  const { atMs } = readTime(await node.traffic.ask(`untilServed ${count}`))
  return [
    {
      title: `${count} pods after kill -9: start of the next agent to all served`,
      unit: 'ms',
      max: MAX_SERVED_MS,
      value: atMs - next.startedAtMs,
    },
  ]
}

/** pod-traffic.ts and this file are one: what it prints has this form. */
function readTime(value: unknown): { readonly atMs: number } {
  return value as { readonly atMs: number }
}
