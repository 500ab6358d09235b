/** What a scenario of the suite is: one Envoy file, and what to look at while a proxy runs it. */
import type { Observation } from './observation.ts'
import type { RunningProxy } from './proxies.ts'
import type { Servers } from './servers.ts'

/** What a case has to look with. */
export interface Lab {
  readonly proxy: RunningProxy
  readonly servers: Servers
}

/** What one case saw, by detail. */
export type Details = Readonly<Record<string, Observation>>

/** Looks at one thing. It knows which proxy it looks at only to find it, never to expect something else of it. */
export type Case = (lab: Lab) => Promise<Details>

export interface Scenario {
  /** Without the ending: `listeners` is files/listeners.yaml. */
  readonly file: string
  /** Files that the file refers to, in the same folder. */
  readonly otherFiles?: readonly string[]
  /** True: the cases wait more than they work, and run side by side. */
  readonly isParallel?: boolean
  readonly cases: Readonly<Record<string, Case>>
}
