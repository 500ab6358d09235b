/** How long istio-cni waits for the answer to a new pod on a node that has many, also while others fail. */
import { percentile } from '../report/statistics.ts'

import type { ZdsServer } from '../../test/fixtures/zds-server.ts'
import type { PodInNamespace } from '../../test/fixtures/zds-server-worker.ts'
import type { BareNode } from './bare-node.ts'
import type { Reading } from './reading.ts'
import type { Scope } from './scope.ts'

export interface AddsSize {
  /** Pods that are served already. */
  readonly present: number
  /** Pods that come, twice: with and without others that fail. */
  readonly added: number
  /** Pods in which another program has the ports; they are tried again and again. */
  readonly failing: number
}

/** istio-cni must not be held up: a pod does not start before. */
const MAX_ACK_MS = 100

/** The pods that fail are the last ones of the node; something must be listening there already. */
export async function measureAdds(
  scope: Scope,
  node: BareNode,
  { present, added, failing }: AddsSize,
): Promise<readonly Reading[]> {
  const server = await node.startServer(scope, node.pods.slice(present))
  const agent = await node.startAgent(scope, server)
  await agent.ready()
  const others = node.pods.slice(added, present)
  const failed = node.pods.slice(failing, node.pods.count - failing)
  const alone = await addAll(server, others)
  for (const { pod } of others) await server.delete(pod.uid)
  for (const { pod, netns } of failed) {
    const { error } = await server.add(pod, netns)
    if (error === '') throw new Error(`${pod.name} is served though its ports are taken`)
  }
  const beside = await addAll(server, others)
  const readings = (title: string, tookMs: readonly number[]): readonly Reading[] => [
    { title: `${title}, p50`, unit: 'ms', value: percentile(tookMs, 0.5) },
    { title: `${title}, p99`, unit: 'ms', max: MAX_ACK_MS, value: percentile(tookMs, 0.99) },
  ]
  return [
    ...readings(`${present} pods: add to ACK`, alone),
    ...readings(`${present} pods and ${failing} that fail: add to ACK`, beside),
  ]
}

async function addAll(server: ZdsServer, pods: readonly PodInNamespace[]): Promise<readonly number[]> {
  const tookMs: number[] = []
  for (const { pod, netns } of pods) {
    const answer = await server.add(pod, netns)
    if (answer.error !== '') throw new Error(`${pod.name}: ${answer.error}`)
    tookMs.push(answer.tookMs)
  }
  return tookMs
}
