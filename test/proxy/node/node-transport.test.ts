import t from 'tap'

import { systemClock } from '../../../src/core/clock.ts'
import { NodeTransport } from '../../../src/proxy/node/node-transport.ts'
import { runTransportConformance } from '../transport-conformance.ts'

t.test('the node engine is a Transport', async (t) => {
  await runTransportConformance(
    t,
    () =>
      new NodeTransport({
        clock: systemClock,
        originalDestination: { isAvailable: false, reason: 'not part of this test' },
      }),
  )
})
