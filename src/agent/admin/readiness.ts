/**
 * Whether the agent is ready to be given traffic, and what it waits for if not: tasks of the start that end once, and
 * checks that are made each time somebody asks.
 */
import { formatSocketAddress } from '../../core/address.ts'
import { FAMILIES } from '../../core/family.ts'

import type { Family } from '../../core/family.ts'
import type { DescriptorUse } from '../../proxy/descriptor-budget.ts'
import type { ListenerState } from '../../proxy/listener-ledger.ts'
import type { ListenerAddressStatus } from '../../proxy/listener-set.ts'
import type { PodStatus } from '../../proxy/pods/pod-entry.ts'
import type { ZdsStatus } from '../../zds-client/zds-status.ts'

/** Something that keeps the agent from being ready. */
export interface ReadinessReason {
  /** Short and stable, for the list that probes show. */
  readonly name: string
  /** What exactly, for people. */
  readonly detail: string
}

/** Gives the reasons that hold now; none when all is well. */
export type ReadinessCheck = () => readonly ReadinessReason[]

/** Ready when every task has ended and no check has a reason. */
export class Readiness {
  readonly #tasks = new Set<string>()
  readonly #checks: readonly ReadinessCheck[]

  constructor(checks: readonly ReadinessCheck[] = []) {
    this.#checks = checks
  }

  /** Begins a task; the agent is not ready until the returned function is called. */
  begin(task: string): () => void {
    this.#tasks.add(task)
    return () => {
      this.#tasks.delete(task)
    }
  }

  /** What keeps the agent from being ready, by name; empty when it is ready. */
  get reasons(): readonly ReadinessReason[] {
    const tasks = [...this.#tasks].map((name) => ({ name, detail: `${name} has not finished` }))
    return [...tasks, ...this.#checks.flatMap((check) => check())].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  get isReady(): boolean {
    return this.reasons.length === 0
  }
}

/** Not ready while the proxy refuses connections because it runs out of descriptors (rule 14). */
export function connectionLimitCheck(use: () => DescriptorUse): ReadinessCheck {
  return () => {
    const { open, limit, isExhausted } = use()
    if (!isExhausted) return []
    return [
      {
        name: 'connection limit',
        detail: `${open} of ${limit} descriptors are open; connections are refused`,
      },
    ]
  }
}

/** Not ready while a family that the operator requires is not bound on a listener, or has no listener at all. */
export function requiredFamiliesCheck(
  required: readonly Family[],
  listeners: () => readonly ListenerAddressStatus[],
): ReadinessCheck {
  return () =>
    required.flatMap((family) => {
      const own = listeners().filter((status) => status.family === family)
      const missing = own.filter(({ state }) => state !== 'bound')
      if (own.length > 0 && missing.length === 0) return []
      const detail = missing.map(describeListener).join('; ') || `no listener has an ${family} address`
      return [{ name: `family ${family}`, detail }]
    })
}

/** Not ready while istio-cni is not connected or has not named every pod: no pod of the node could be started. */
export function podsCheck(status: () => ZdsStatus | undefined): ReadinessCheck {
  return () => {
    const zds = status()
    if (zds === undefined || (zds.isConnected && zds.hasSnapshot)) return []
    const { text = 'not tried yet' } = zds.lastError ?? {}
    const detail = zds.isConnected
      ? `istio-cni at ${zds.path} has not named all pods of the node yet`
      : `istio-cni is not connected at ${zds.path}: ${text}`
    // As ztunnel calls it.
    return [{ name: 'workload proxy manager', detail }]
  }
}

/**
 * A line of how many pods are captured, one for each family and state that their listeners have instead of bound, and one
 * for each pod that is not captured, with the reason.
 */
export function describePods(pods: readonly PodStatus[]): readonly string[] {
  const pending = pods.filter(({ state }) => state === 'pending')
  return [
    `${pods.length - pending.length} up, ${pending.length} pending`,
    ...FAMILIES.flatMap((family) => [
      ...describeFamily(pods, family, 'absent'),
      ...describeFamily(pods, family, 'failed'),
    ]),
    ...pending.map(({ pod: { namespace, name }, problem }) => `${namespace}/${name}: ${problem}`),
  ]
}

/** `ipv6 absent in 3 pods`; none when it is so in no pod. */
function describeFamily(pods: readonly PodStatus[], family: Family, state: ListenerState): readonly string[] {
  const { length } = pods.filter(({ listeners }) =>
    listeners.some((listener) => listener.family === family && listener.state === state),
  )
  return length === 0 ? [] : [`${family} ${state} in ${length} ${length === 1 ? 'pod' : 'pods'}`]
}

/** One line: `web ipv6 [::]:80 absent: cannot listen on [::]:80: EAFNOSUPPORT`. */
export function describeListener({
  listener,
  family,
  address,
  state,
  reason,
}: ListenerAddressStatus): string {
  const head = `${listener} ${family} ${formatSocketAddress(address)} ${state}`
  return reason === '' ? head : `${head}: ${reason}`
}
