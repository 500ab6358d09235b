/**
 * What it costs to be captured in the pod: new connections out of the pod through its own namespace, against the same
 * agent that captures on the node, and against no proxy. Windows go round.
 */
import { FAMILIES } from '../../src/core/family.ts'
import { Lab } from '../lab/lab.ts'
import { measureWindow } from '../lab/window.ts'
import { RunningProxy } from '../proxies/running-proxy.ts'
import { CLIENT_MESH, CLIENT_NODE, CapturedClient } from './captured-client.ts'
import { nodeCaptureProgram } from './node-capture.ts'

import type { Family } from '../../src/core/family.ts'
import type { MeasuredProxy, WindowPlan, WindowResult } from '../lab/window.ts'
import type { Reading } from './reading.ts'
import type { Scope } from './scope.ts'

/** As in the bench of proxies. */
const CONNECTIONS_AT_A_TIME = 32
const WORKERS = 1

/** Rounds of it, of which each is a list of readings. */
export async function measureEntering(
  scope: Scope,
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
): Promise<readonly (readonly Reading[])[]> {
  const lab = await Lab.start()
  scope.teardown(() => lab.close())
  const onNode = await RunningProxy.start(lab, nodeCaptureProgram(CLIENT_MESH, CLIENT_NODE), {
    workers: WORKERS,
    isObserved: false,
    staticServices: [],
  })
  scope.teardown(() => onNode.close())
  const inPod = await CapturedClient.start(scope, lab, { workers: WORKERS })
  const window = (family: Family, proxy: MeasuredProxy | undefined): Promise<WindowResult> => {
    const plan: WindowPlan = {
      load: 'connections',
      service: 'echo',
      family,
      count: CONNECTIONS_AT_A_TIME,
      proxy,
      seconds,
    }
    return measureWindow(lab, plan)
  }
  const results: (readonly Reading[])[] = []
  for (let round = 0; round < rounds; round++) {
    const readings: Reading[] = []
    for (const family of FAMILIES) {
      const none = await window(family, undefined)
      const node = await window(family, onNode)
      const pod = await inPod.whileCaptured(() => window(family, inPod))
      if (pod.cpuSeconds === 0) throw new Error('connections out of the pod have not met the agent')
      readings.push(...compare(family, { none, node, pod }))
    }
    results.push(readings)
  }
  return results
}

function compare(
  family: Family,
  { none, node, pod }: Readonly<Record<'none' | 'node' | 'pod', WindowResult>>,
): readonly Reading[] {
  const rate = (what: string, value: number, unit = '1/s'): Reading => ({
    title: `new connections, ${family}: ${what}`,
    unit,
    value,
  })
  const cpuUs = ({ cpuSeconds, completed }: WindowResult): number => (cpuSeconds * 1e6) / completed
  return [
    rate('no proxy', none.completedPerSecond),
    rate('captured on the node', node.completedPerSecond),
    rate('captured in the pod', pod.completedPerSecond),
    rate('in the pod ÷ on the node', pod.completedPerSecond / node.completedPerSecond, ''),
    rate('in the pod ÷ no proxy', pod.completedPerSecond / none.completedPerSecond, ''),
    rate('processor time for each, on the node', cpuUs(node), 'µs'),
    rate('processor time for each, in the pod', cpuUs(pod), 'µs'),
    rate('processor time, in the pod ÷ on the node', cpuUs(pod) / cpuUs(node), ''),
  ]
}
