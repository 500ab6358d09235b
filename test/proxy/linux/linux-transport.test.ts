import t from 'tap'

import { startLinuxEngine, whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { runTransportConformance } from '../transport-conformance.ts'

const reason = await whyNoLinuxEngine()

t.test('the Linux engine is a Transport', { skip: reason ?? false }, async (t) => {
  const { transport } = await startLinuxEngine(t)
  await runTransportConformance(t, () => transport)
})
