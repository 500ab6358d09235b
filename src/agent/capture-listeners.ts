/** What the ambient dialect listens on: redirected connections out of and into pods, and what is reserved beside them. */
import { parseIp } from '../core/address.ts'
import { HBONE_PORT } from '../mesh/workload.ts'

import type { ListenerAddress, Listener } from '../mesh/listener.ts'
import type { TransportCapabilities } from '../proxy/transport.ts'
import type { Settings } from './settings/settings.ts'

/**
 * The listeners of the agent's own network namespace, or with `podCapture` those of every captured pod, which are not bound
 * here. Into a pod the client's address is kept where the agent may (ztunnel's default): its redirection has the routes that
 * bring the answers back. Out of a pod the kernel chooses among the addresses of the pod anyway.
 */
export function captureListeners(
  { ports, preservesSource, podCapture }: Pick<Settings, 'ports' | 'preservesSource' | 'podCapture'>,
  { transparentSource }: Pick<TransportCapabilities, 'transparentSource'>,
): readonly Listener[] {
  const isInPods = podCapture !== undefined
  const common = { bindToPort: !isInPods, filterChains: [], accessLogs: [] }
  const keptInbound = isInPods ? (preservesSource ?? transparentSource.isAvailable) : preservesSource === true
  const keptOutbound = !isInPods && preservesSource === true
  const listeners: Listener[] = [
    {
      ...common,
      name: 'outbound',
      addresses: anyAddress(ports.outbound),
      capture: 'redirect',
      direction: 'outbound',
      ...(keptOutbound && { preservesSource: true }),
    },
    {
      ...common,
      name: 'inbound',
      addresses: anyAddress(ports.inbound),
      capture: 'redirect',
      direction: 'inbound',
      ...(keptInbound && { preservesSource: true }),
    },
  ]
  return isInPods ? [...listeners, { ...common, ...HBONE }] : listeners
}

/** Refused as fast and as clearly as can be: other nodes send HBONE to every pod that istio-cni has given to an agent. */
const HBONE: Omit<Listener, 'bindToPort' | 'filterChains' | 'accessLogs'> = {
  name: 'hbone',
  addresses: anyAddress(HBONE_PORT),
  capture: 'none',
  direction: 'inbound',
  defaultFilterChain: {
    name: 'hbone',
    match: { destinationPrefixes: [], sourcePrefixes: [] },
    refusal: {
      reason: 'mtls_required',
      detail: 'HBONE (mTLS) is not spoken here; the port is reserved for it',
    },
  },
}

function anyAddress(port: number): readonly ListenerAddress[] {
  return ['0.0.0.0', '::'].map((host) => ({ address: { ip: parseIp(host), port }, socketOptions: [] }))
}
