import t from 'tap'

import { DescriptorBudget } from '../../src/proxy/descriptor-budget.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'

t.test(
  'connections that come or go while descriptors are counted are not taken for something else',
  async (t) => {
    for (const change of [200, -200]) {
      let connections = 1_000
      const budget = new DescriptorBudget(
        {
          clock: new FakeClock(),
          countOpen: () => {
            const open = 50 + 2 * Math.max(connections, connections + change)
            connections += change
            return open
          },
        },
        { limit: 20_000 },
      )
      t.equal(
        budget.sample(() => connections),
        50,
      )
    }
  },
)

t.test('rule 14: is exhausted at 90 % of the limit and recovers', async (t) => {
  const budget = new DescriptorBudget({ clock: new FakeClock(), countOpen: () => undefined }, { limit: 100 })
  t.equal(budget.use(() => 44).isExhausted, false)
  t.equal(budget.use(() => 45).isExhausted, true)
  t.equal(budget.use(() => 44).isExhausted, false)
})
