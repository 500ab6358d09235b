import fc from 'fast-check'
import t from 'tap'

import { choosePriority, priorityLoads } from '../../src/proxy/priority-load.ts'

import type { PriorityCounts, PriorityLoads } from '../../src/proxy/priority-load.ts'

/** `healthy/total`, or `healthy+degraded/total`, per priority. */
function counts(text: string): readonly PriorityCounts[] {
  return text.split(' ').map((part) => {
    const [, healthy, degraded = '0', total] = /^(\d+)(?:\+(\d+))?\/(\d+)$/.exec(part) ?? []
    return { healthy: Number(healthy), degraded: Number(degraded), total: Number(total) }
  })
}

function loadsOf(text: string, panicThresholdPercent = 50, overprovisioningFactor = 140): PriorityLoads {
  return priorityLoads(counts(text), { panicThresholdPercent, overprovisioningFactor })
}

const CALM = [
  ['100/100 100/100', [100, 0]],
  ['72/100 100/100', [100, 0]],
  ['71/100 100/100', [99, 1]],
  ['50/100 100/100', [70, 30]],
  ['25/100 100/100', [35, 65]],
  ['0/100 100/100', [0, 100]],
  ['25/100 25/100 100/100', [35, 35, 30]],
  // What the divisions cut off goes to the first priority that has anything.
  ['20/100 20/100 20/100', [34, 33, 33], 0],
  ['0/100 20/100 20/100', [0, 50, 50], 0],
  ['5/5', [100]],
] as const

t.test('a priority spills over as Envoy has it', async (t) => {
  for (const [text, healthy, threshold] of CALM) {
    const loads = loadsOf(text, threshold)
    t.strictSame(loads.healthy, healthy, text)
    t.ok(
      loads.degraded.every((load) => load === 0),
      text,
    )
    t.notOk(loads.isInPanic.some(Boolean), `${text} is not in panic`)
  }
})

t.test('degraded endpoints come after the healthy ones of every priority', async (t) => {
  // 70 % healthy in each: the first takes 70, the second the rest, nothing is left for degraded ones.
  const enough = loadsOf('50+50/100 50+50/100')
  t.strictSame(
    [enough.healthy, enough.degraded],
    [
      [70, 30],
      [0, 0],
    ],
  )
  const scarce = loadsOf('25+75/100 25+75/100')
  t.strictSame(
    [scarce.healthy, scarce.degraded],
    [
      [35, 35],
      [30, 0],
    ],
  )
  const none = loadsOf('0+50/100', 0)
  t.strictSame([none.healthy, none.degraded], [[0], [100]])
})

t.test('a scaled sum with degraded endpoints is as in the comment of the Envoy source', async (t) => {
  // 10 / 20 / 10 % healthy and 20 / 10 / 0 % degraded; the factor is 1 so that the percentages are the text's.
  const loads = loadsOf('10+20/100 20+10/100 10+0/100', 0, 100)
  t.strictSame(loads.healthy, [16, 28, 14])
  t.strictSame(loads.degraded, [28, 14, 0])
})

t.test('a priority is in panic below the threshold when the others cannot make up for it', async (t) => {
  t.strictSame(loadsOf('20/100 20/100').isInPanic, [true, true])
  t.strictSame(loadsOf('49/100').isInPanic, [true])
  t.strictSame(loadsOf('50/100').isInPanic, [false])
  t.strictSame(loadsOf('60/100 5/100').isInPanic, [false, true])
  t.strictSame(
    loadsOf('1/100 100/100').isInPanic,
    [false, false],
    'the second priority makes up for the first',
  )
  t.strictSame(loadsOf('20+40/100').isInPanic, [false], 'degraded endpoints count as available')
  t.strictSame(loadsOf('0/100 10/100', 0).isInPanic, [false, false], '0 turns panic off')
})

t.test('when every priority is in panic the number of endpoints decides', async (t) => {
  t.strictSame(loadsOf('0/10 0/30').healthy, [25, 75])
  t.strictSame(loadsOf('0/1 0/2').healthy, [34, 66], 'the remainder goes to the first')
  t.strictSame(loadsOf('0/0 0/3').healthy, [0, 100])
  t.strictSame(loadsOf('0/0').healthy, [100])
})

t.test('the first priority gets everything when nothing is available and panic is off', async (t) => {
  t.strictSame(loadsOf('0/10 0/30', 0), { healthy: [100, 0], degraded: [0, 0], isInPanic: [false, false] })
})

t.test('a number picks healthy shares first, then degraded ones', async (t) => {
  const loads = loadsOf('25+75/100 25+75/100')
  const picks = [0, 0.349, 0.35, 0.699, 0.7, 0.999].map((random) => choosePriority(loads, random))
  t.strictSame(picks, [
    { priority: 0, from: 'healthy' },
    { priority: 0, from: 'healthy' },
    { priority: 1, from: 'healthy' },
    { priority: 1, from: 'healthy' },
    { priority: 0, from: 'degraded' },
    { priority: 0, from: 'degraded' },
  ])
})

t.test('a priority in panic is picked with all of its endpoints', async (t) => {
  t.strictSame(choosePriority(loadsOf('20/100'), 0.5), { priority: 0, from: 'all' })
})

t.test('the shares are whole, not negative, and make 100', async () => {
  const priority = fc
    .tuple(fc.nat({ max: 40 }), fc.nat({ max: 40 }), fc.nat({ max: 40 }))
    .map(([healthy, degraded, rest]) => ({ healthy, degraded, total: healthy + degraded + rest }))
  fc.assert(
    fc.property(
      fc.array(priority, { minLength: 1, maxLength: 5 }),
      fc.nat({ max: 100 }),
      fc.integer({ min: 1, max: 400 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (priorities, panicThresholdPercent, overprovisioningFactor, random) => {
        const loads = priorityLoads(priorities, { panicThresholdPercent, overprovisioningFactor })
        const all = [...loads.healthy, ...loads.degraded]
        if (!all.every((load) => Number.isInteger(load) && load >= 0)) return false
        if (all.reduce((sum, load) => sum + load, 0) !== 100) return false
        return choosePriority(loads, random).priority < priorities.length
      },
    ),
  )
})
