/** What `twinstack rules` can be asked for. */
import type { Family } from '../../core/family.ts'
import type { PerFamily } from './rule.ts'

/** What both modes need. */
export interface CommonRulesOptions {
  /** Not empty. */
  readonly families: readonly Family[]
  readonly outboundPort: number
  readonly inboundPort: number
  /** Within the bits of MARK_MASK, not 0. */
  readonly packetMark: number
}

/** For the network namespace of a pod. */
export interface InpodRulesOptions extends CommonRulesOptions {
  readonly mode: 'inpod'
  /** Where the kubelet's probes come from. */
  readonly probes: PerFamily<string>
  readonly capturesDns: boolean
  readonly bypassesInbound: boolean
  readonly virtualInterfaces: readonly string[]
}

/** For the network namespace of the host. */
export interface NodeRulesOptions extends CommonRulesOptions {
  readonly mode: 'node'
  readonly podCidrs: PerFamily<readonly string[]>
  /** Captured although they may be addresses of the node. */
  readonly serviceCidrs: PerFamily<readonly string[]>
  readonly excludedCidrs: PerFamily<readonly string[]>
  readonly excludedPorts: readonly number[]
  /** Where captured connections are sent; absent: to the interface that they came in by. */
  readonly nodeIps?: PerFamily<string | undefined>
}

export type RulesOptions = InpodRulesOptions | NodeRulesOptions

export type Backend = 'nft' | 'iptables'

/** `pause`: no new connection is redirected, what is open goes on. */
export type RulesAction = 'install' | 'pause' | 'remove'

/** What the command line asks for. */
export interface RulesRequest {
  readonly options: RulesOptions
  /** Absent: the command chooses. */
  readonly backend?: Backend
  readonly output: 'rules' | 'routes'
  readonly action: RulesAction
}
