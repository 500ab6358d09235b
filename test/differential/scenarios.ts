/** Every scenario of the suite, in the order in which they run. */
import { ACCEPTED, ACCEPTED_TOO } from './scenarios/accepted.ts'
import { CAPTURE } from './scenarios/capture.ts'
import { CLUSTERS } from './scenarios/clusters.ts'
import { CONNECTIONS } from './scenarios/connections.ts'
import { LISTENERS } from './scenarios/listeners.ts'
import { LOGS } from './scenarios/logs.ts'
import { NAMES } from './scenarios/names.ts'
import { SOCKETS } from './scenarios/sockets.ts'
import { SOURCES } from './scenarios/sources.ts'
import { TIMEOUTS } from './scenarios/timeouts.ts'

import { UPDATES } from './scenarios/updates.ts'
import { VERDICTS } from './scenarios/verdicts.ts'

import type { Scenario } from './scenario.ts'

export const SCENARIOS: readonly Scenario[] = [
  LISTENERS,
  CLUSTERS,
  CONNECTIONS,
  TIMEOUTS,
  SOURCES,
  CAPTURE,
  NAMES,
  LOGS,
  SOCKETS,
  ACCEPTED,
  ACCEPTED_TOO,
  UPDATES,
  VERDICTS,
]
