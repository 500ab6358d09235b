/** The rules of a connection hold in worker threads as they do in one thread. */
import t from 'tap'

import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { skipUnlessDualStack } from '../../fixtures/loopback.ts'
import { startPool } from '../../fixtures/pool-lab.ts'
import { testConnectionRules } from '../connection-rules.ts'

const skip = (await skipUnlessDualStack()) || ((await whyNoLinuxEngine()) ?? false)

t.test('in two workers', async (t) => {
  testConnectionRules(t, { start: startPool, skip })
})
