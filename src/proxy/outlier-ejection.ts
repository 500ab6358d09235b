/**
 * Takes endpoints that keep failing to connect out of the choice for a while: the part of Envoy's outlier detection
 * that applies to TCP. One failure is one connection that found no way to the endpoint on either family.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier
 */
import type { OutlierDetection } from '../mesh/upstream.ts'

/** Envoy's default `interval`: an endpoint in service takes back one of its ejections in each. */
const RECOVERY_INTERVAL_MS = 10_000

interface Suspect {
  /** Since the last success or ejection. */
  failures: number
  /** What the next ejection is multiplied by, less one; falls with time in service. */
  ejections: number
  untilMs: number
}

/**
 * The ejections of one upstream. Memory grows with the endpoints that have failed; `retain` drops those that are gone.
 * An endpoint comes back at its exact time, where Envoy waits for the next tick of its interval.
 */
export class OutlierEjection {
  readonly #suspects = new Map<string, Suspect>()
  #generation = 0

  /** Changes whenever an endpoint went out or was forgotten, but not when one comes back with time. */
  get generation(): number {
    return this.#generation
  }

  /**
   * Counts a connection that found no way to an endpoint; ejects it when that is one too many and the share of
   * endpoints that are out allows it. Endpoints that are out already are left as they are.
   *
   * @returns true when this failure ejected it
   */
  failed(
    endpointId: string,
    {
      settings,
      endpointCount,
      nowMs,
    }: { readonly settings: OutlierDetection; readonly endpointCount: number; readonly nowMs: number },
  ): boolean {
    const suspect = this.#suspects.get(endpointId) ?? { failures: 0, ejections: 0, untilMs: nowMs }
    this.#suspects.set(endpointId, suspect)
    if (nowMs < suspect.untilMs) return false
    suspect.failures++
    if (suspect.failures < settings.consecutiveConnectFailures) return false
    const out = this.ejectedCount(nowMs)
    const isWithinShare = (100 * (out + 1)) / endpointCount <= settings.maxEjectionPercent
    if (!isWithinShare && !(settings.canAlwaysEjectOne && out === 0)) return false
    const recovered = Math.floor((nowMs - suspect.untilMs) / RECOVERY_INTERVAL_MS)
    suspect.ejections = Math.max(0, suspect.ejections - recovered) + 1
    const maxMs = Math.max(settings.maxEjectionMs, settings.baseEjectionMs)
    suspect.untilMs = nowMs + Math.min(suspect.ejections * settings.baseEjectionMs, maxMs)
    suspect.failures = 0
    this.#generation++
    return true
  }

  /** A connection to the endpoint: its failures count from 0 again. An ejection that runs goes on. */
  succeeded(endpointId: string): void {
    const suspect = this.#suspects.get(endpointId)
    if (suspect === undefined) return
    suspect.failures = 0
    if (suspect.ejections === 0) this.#suspects.delete(endpointId)
  }

  isEjected(endpointId: string, nowMs: number): boolean {
    return nowMs < this.ejectedUntilMs(endpointId)
  }

  /** When the endpoint comes back; in the past, or `-Infinity`, for one that is not out. */
  ejectedUntilMs(endpointId: string): number {
    return this.#suspects.get(endpointId)?.untilMs ?? -Infinity
  }

  /** The endpoints that are out. Costs a walk over those that have failed. */
  ejectedIds(nowMs: number): readonly string[] {
    return [...this.#suspects].flatMap(([endpointId, { untilMs }]) => (nowMs < untilMs ? [endpointId] : []))
  }

  /** How many endpoints are out. Costs a walk over those that have failed. */
  ejectedCount(nowMs: number): number {
    let count = 0
    for (const { untilMs } of this.#suspects.values()) if (nowMs < untilMs) count++
    return count
  }

  /** Forgets every endpoint that is not in `endpointIds`, so that those that are gone do not use up the share. */
  retain(endpointIds: ReadonlySet<string>): void {
    for (const endpointId of this.#suspects.keys()) {
      if (!endpointIds.has(endpointId) && this.#suspects.delete(endpointId)) this.#generation++
    }
  }
}
