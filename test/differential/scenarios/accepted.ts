/** Fields that are accepted and have no effect: the files are taken, and connections go where they go without them. */
import { answerAndSourceOf, call } from '../clients.ts'
import { text } from '../observation.ts'

import type { Case, Scenario } from '../scenario.ts'

function answerAt(port: number): Case {
  return async () => ({ client: text(answerAndSourceOf(await call({ host: '127.0.0.1', port }))) })
}

export const ACCEPTED: Scenario = {
  file: 'accepted',
  otherFiles: ['accepted-eds'],
  cases: { connections: answerAt(18_001) },
}

export const ACCEPTED_TOO: Scenario = {
  file: 'accepted-too',
  otherFiles: ['accepted-too-eds'],
  cases: { connections: answerAt(18_002) },
}
