import t from 'tap'

import { seededRandom } from '../../../src/core/random.ts'
import { SOURCE_PORT_COUNT, SourcePorts } from '../../../src/proxy/linux/source-ports.ts'

/** The ports of one round of a thread. */
function roundOf(worker: number, workers: number, seed = 1): readonly number[] {
  const ports = new SourcePorts({ random: seededRandom(seed) }, { worker, workers })
  return Array.from({ length: Math.floor(SOURCE_PORT_COUNT / workers) }, () => ports.next())
}

t.test('gives odd ports below those that Linux has for clients, each once in a round', async (t) => {
  const ports = roundOf(0, 1)
  t.equal(new Set(ports).size, ports.length)
  t.equal(Math.min(...ports), 1_025)
  t.equal(Math.max(...ports), 32_767)
  t.ok(ports.every((port) => port % 2 === 1))
})

t.test('gives threads ports of their own', async (t) => {
  for (const workers of [2, 3, 16, 253]) {
    const all = Array.from({ length: workers }, (_, worker) => roundOf(worker, workers, worker)).flat()
    t.equal(new Set(all).size, all.length, `${workers} threads`)
    t.ok(all.every((port) => port >= 1_025 && port < 32_768))
  }
})

t.test('begins somewhere else each time', async (t) => {
  t.not(roundOf(0, 1, 1)[0], roundOf(0, 1, 2)[0])
})
