/** Loaded into the proxy's process before the agent, so that it can say what the process uses. Touches nothing else. */
import { sampleProcess } from '../lib/process-sample.ts'
import { serveRole } from '../lib/role-calls.ts'

import type { ProcessSample } from '../lib/process-sample.ts'

/** What the proxy's process answers. */
export interface ProbeMethods {
  readonly sample: { readonly params: { readonly collect: boolean }; readonly result: ProcessSample }
}

serveRole<ProbeMethods>({ sample: sampleProcess }, { isRole: false })
