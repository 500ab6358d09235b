import t from 'tap'

import { seededRandom } from '../../../src/core/random.ts'
import { SOURCE_PORT_COUNT, SourcePorts } from '../../../src/proxy/linux/source-ports.ts'

const RANGES = { inbound: [1_025, 32_767], outbound: [32_769, 64_511] } as const
const DIRECTIONS = ['inbound', 'outbound'] as const
type Direction = (typeof DIRECTIONS)[number]

/** The ports of one round of a thread. */
function roundOf(direction: Direction, worker: number, workers: number, seed = 1): readonly number[] {
  const ports = new SourcePorts({ random: seededRandom(seed) }, { worker, workers })
  return Array.from({ length: Math.floor(SOURCE_PORT_COUNT / workers) }, () => ports.next(direction))
}

for (const direction of DIRECTIONS) {
  const [first, last] = RANGES[direction]

  t.test(`gives ${direction} connections odd ports, each once in a round`, async (t) => {
    const ports = roundOf(direction, 0, 1)
    t.equal(new Set(ports).size, ports.length)
    t.equal(Math.min(...ports), first)
    t.equal(Math.max(...ports), last)
    t.ok(ports.every((port) => port % 2 === 1))
  })

  t.test(`gives threads ${direction} ports of their own`, async (t) => {
    for (const workers of [2, 3, 16, 253]) {
      const all = Array.from({ length: workers }, (_, worker) =>
        roundOf(direction, worker, workers, worker),
      ).flat()
      t.equal(new Set(all).size, all.length, `${workers} threads`)
      t.ok(all.every((port) => port >= first && port <= last))
    }
  })
}

t.test('begins somewhere else each time', async (t) => {
  t.not(roundOf('inbound', 0, 1, 1)[0], roundOf('inbound', 0, 1, 2)[0])
})
