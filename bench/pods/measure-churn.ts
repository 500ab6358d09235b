/** What is left of pods that have come and gone. */
import { inLanes } from './lanes.ts'

import type { BareNode } from './bare-node.ts'
import type { Reading } from './reading.ts'
import type { Scope } from './scope.ts'

export interface ChurnSize {
  /** Pods that come, each with a uid of its own, in the namespaces of `places` in turn. */
  readonly comings: number
  readonly places: number
}

/** Pods that come and go at the same time. */
const LANES = 4
/** Pods before the first reading: what an agent makes once is there then. */
const WARM_UP = 50

export async function measureChurn(
  scope: Scope,
  node: BareNode,
  { comings, places }: ChurnSize,
): Promise<readonly Reading[]> {
  const server = await node.startServer(scope, [])
  const agent = await node.startAgent(scope, server)
  await agent.ready()
  const comeAndGo = async (name: string, count: number): Promise<void> => {
    await inLanes(LANES, count, async (index) => {
      const place = index % places
      const { pod, netns } = node.pods.pod(place, `uid-${name}-${index}`)
      const added = await server.add(pod, netns)
      if (added.error !== '') throw new Error(`${pod.uid} comes: ${added.error}`)
      await node.traffic.ask(`exchange ${place}`)
      const deleted = await server.delete(pod.uid)
      if (deleted.error !== '') throw new Error(`${pod.uid} goes: ${deleted.error}`)
    })
  }
  await comeAndGo('warm', Math.min(WARM_UP, comings))
  const before = await agent.holdings()
  const startedAt = performance.now()
  await comeAndGo('measured', comings)
  const ms = performance.now() - startedAt
  const after = await agent.holdingsAfter(before)
  const title = (what: string): string => `${comings.toLocaleString('en')} pods have come and gone: ${what}`
  return [
    {
      title: title('descriptors left'),
      unit: '',
      max: 0,
      value: after.descriptors - before.descriptors,
    },
    { title: title('threads left'), unit: '', max: 0, value: after.threads - before.threads },
    { title: title('RSS more'), unit: 'MB', value: (after.residentBytes - before.residentBytes) / 1e6 },
    { title: title('time for each'), unit: 'ms', value: ms / comings },
  ]
}
