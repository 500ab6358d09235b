/** Settings that ask more of the engine than any engine can do everywhere: refused by name where it cannot. */
import { AMBIENT_MARK } from './settings/settings-schema.ts'

import type { Capability, TransportCapabilities } from '../proxy/transport.ts'
import type { Settings } from './settings/settings.ts'

/** What the engine cannot do although the settings ask for it, a message each. */
export function unmetDemands(settings: Settings, capabilities: TransportCapabilities): readonly string[] {
  const { packetMark, preservesSource, keepalive, podCapture } = settings
  const demands: readonly (readonly [variable: string, isAsked: boolean, Capability, remedy: string])[] = [
    [
      'USER_TIMEOUT_ENABLED=true',
      keepalive.userTimeoutMs !== undefined,
      capabilities.userTimeout,
      'remove it or write false',
    ],
    [
      `PACKET_MARK=${String(packetMark)}`,
      packetMark !== undefined && packetMark !== 0,
      capabilities.packetMark,
      'grant it, or write 0',
    ],
    [
      'ENABLE_ORIG_SRC=true',
      preservesSource === true,
      capabilities.transparentSource,
      'grant it, or remove the variable',
    ],
    [
      'INPOD_ENABLED=true',
      podCapture !== undefined,
      unavailableOf(capabilities.networkNamespaces, capabilities.packetMark),
      'grant it, or write false',
    ],
  ]
  return demands.flatMap(([variable, isAsked, capability, remedy]) =>
    isAsked && !capability.isAvailable
      ? [`invalid env var ${variable} (${capability.reason}; ${remedy})`]
      : [],
  )
}

/** The first of several that is not there, else the last. */
function unavailableOf(first: Capability, second: Capability): Capability {
  return first.isAvailable ? second : first
}

/**
 * The mark of upstream packets: as set, else ztunnel's in the ambient dialect where the agent may set one. Absent: no
 * mark.
 */
export function packetMarkOf(
  { packetMark }: Pick<Settings, 'packetMark'>,
  dialect: 'envoy' | 'ambient',
  capabilities: TransportCapabilities,
): number | undefined {
  if (packetMark !== undefined) return packetMark === 0 ? undefined : packetMark
  return dialect === 'ambient' && capabilities.packetMark.isAvailable ? AMBIENT_MARK : undefined
}
