/** How pods are captured, and which other settings istio-cni's redirection in pods leaves no choice about. */
import type { SettingsReader } from './settings-reader.ts'

/** How pods are captured in their own network namespaces. */
export interface PodCapture {
  /** The unix socket of istio-cni. */
  readonly socketPath: string
  /** Another agent may listen in the pods beside this one. */
  readonly reusePort: boolean
}

/** What the rules are made for; nothing tells istio-cni otherwise (cni/pkg/config/config.go of Istio). */
const REDIRECTION = { mark: 0x539, markMask: 0xfff, outboundPort: 15_001, inboundPort: 15_006 } as const

/** `undefined` where no pods are captured. What does not go with it is reported to `reader`. */
export function readPodCapture(
  reader: SettingsReader,
  facts: {
    readonly isBootstrap: boolean
    readonly packetMark: number | undefined
    readonly ports: Readonly<Record<'outbound' | 'inbound', number>>
  },
): PodCapture | undefined {
  const podCapture = { socketPath: reader.text('INPOD_UDS'), reusePort: reader.boolean('INPOD_PORT_REUSE') }
  if (!reader.boolean('INPOD_ENABLED')) return undefined
  const { isBootstrap, packetMark = REDIRECTION.mark, ports } = facts
  if (isBootstrap)
    reader.refuse(
      'INPOD_ENABLED',
      'an Envoy bootstrap says nothing of pods; start without -c, or write false',
    )
  if ((packetMark & REDIRECTION.markMask) !== REDIRECTION.mark)
    reader.refuse(
      'PACKET_MARK',
      "istio-cni's redirection in pods lets mark 1337 pass and would catch what the agent sends; write 1337",
    )
  refuseOtherPort(reader, 'TWINSTACK_OUTBOUND_PORT', ports.outbound, REDIRECTION.outboundPort)
  refuseOtherPort(reader, 'TWINSTACK_INBOUND_PORT', ports.inbound, REDIRECTION.inboundPort)
  return podCapture
}

function refuseOtherPort(
  reader: SettingsReader,
  name: 'TWINSTACK_OUTBOUND_PORT' | 'TWINSTACK_INBOUND_PORT',
  port: number,
  redirectedTo: number,
): void {
  if (port === redirectedTo) return
  reader.refuse(name, `istio-cni redirects to ${redirectedTo} in every pod; remove it`)
}
