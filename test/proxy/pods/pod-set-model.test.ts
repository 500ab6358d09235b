/** Any history of pods, namespaces that break, and workers that die: against a model, with a ledger of descriptors. */
import { setImmediate as settled } from 'node:timers/promises'

import fc from 'fast-check'
import t from 'tap'

import { PodSetLab } from '../../fixtures/pod-set-lab.ts'

import type { FakeNamespace } from '../../fixtures/fake-pod-sockets.ts'

const UIDS = ['a', 'b', 'c', 'd'] as const
const NAMESPACES = 6
const WORKERS = 3
/** So long that everything which is tried again has been. */
const LONG_MS = 3_600_000

const uid = fc.constantFrom(...UIDS)
const place = fc.nat(NAMESPACES - 1)
const worker = fc.nat(WORKERS - 1)
const condition = fc.constantFrom('sound', 'v4 only', 'empty', 'failing', 'closed', 'held')

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('add'), uid, place }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('remove'), uid }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('retain'), uids: fc.subarray([...UIDS]) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('become'), place, condition }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('turn') }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('pass'), ms: fc.nat(40_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('kill'), worker }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('hang'), worker }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('start'), worker }) },
)
type Step =
  | { readonly kind: 'add'; readonly uid: string; readonly place: number }
  | { readonly kind: 'remove'; readonly uid: string }
  | { readonly kind: 'retain'; readonly uids: readonly string[] }
  | { readonly kind: 'become'; readonly place: number; readonly condition: string }
  | { readonly kind: 'turn' }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'kill' | 'hang' | 'start'; readonly worker: number }

/** What the set has to be like, beside what it gives up. */
class Model {
  readonly lab = new PodSetLab({ workers: WORKERS })
  readonly #namespaces = Array.from({ length: NAMESPACES }, () => this.lab.opener.namespace())
  /** The place of its namespace, by uid. */
  readonly #served = new Map<string, number>()
  readonly #underWay: Promise<unknown>[] = []
  #linesSeen = 0

  async run(steps: readonly Step[]): Promise<void> {
    for (const each of steps) {
      await this.#do(each)
      this.#forgetGivenUp()
      this.#compare()
    }
    for (let at = 0; at < NAMESPACES; at++) this.#become(at, 'sound')
    for (const index of this.lab.workers) this.lab.killWorker(index)
    for (let index = 0; index < WORKERS; index++) this.lab.startWorker(index)
    await this.lab.pass(LONG_MS)
    await Promise.all(this.#underWay)
    this.#compare()
    const { up, pending, started, stopped } = this.lab.set.counts
    if (pending > 0 || up !== this.#served.size || started - stopped !== up)
      throw new Error(`${up} up, ${pending} pending, ${started} started, ${stopped} stopped`)
    for (let index = 0; index < WORKERS; index++)
      same(`worker ${index}`, this.lab.held(index).map(withoutNumber), [...this.#served.keys()].map(served))
    await this.lab.end()
  }

  async #do(each: Step): Promise<void> {
    const { lab } = this
    switch (each.kind) {
      case 'add':
        this.#underWay.push(lab.add(each.uid, this.#at(each.place)))
        this.#served.set(each.uid, each.place)
        break
      case 'remove':
        this.#underWay.push(lab.set.remove(each.uid))
        this.#served.delete(each.uid)
        break
      case 'retain':
        lab.set.retain(new Set(each.uids))
        for (const name of UIDS) if (!each.uids.includes(name)) this.#served.delete(name)
        break
      case 'become':
        this.#become(each.place, each.condition)
        break
      case 'turn':
        await settled()
        break
      case 'pass':
        await lab.pass(each.ms)
        break
      case 'kill':
        lab.killWorker(each.worker)
        break
      case 'hang':
        lab.hang(each.worker)
        break
      case 'start':
        lab.startWorker(each.worker)
        break
    }
  }

  #become(at: number, how: string): void {
    const namespace = this.#at(at)
    namespace.addresses = { empty: [], 'v4 only': ['10.244.0.9'] }[how] ?? ['10.244.0.9', 'fd00::9']
    namespace.failing = how === 'failing' ? ['ipv6'] : []
    namespace.problem = how === 'closed' ? 'setns EPERM' : undefined
    if (how === 'held') namespace.isHeld = true
    else this.lab.opener.letGo(namespace)
  }

  #at(at: number): FakeNamespace {
    const namespace = this.#namespaces[at]
    if (namespace === undefined) throw new TypeError(`there is no namespace ${at}`)
    return namespace
  }

  /** A pod that is given up is served no more, and the log says which. */
  #forgetGivenUp(): void {
    for (const line of this.lab.log.slice(this.#linesSeen)) {
      const [, name] = /pod shop\/(\w) is given up/.exec(line) ?? []
      // It may have been added again since, as a pod of its own.
      if (name !== undefined && !this.lab.set.has(name)) this.#served.delete(name)
    }
    this.#linesSeen = this.lab.log.length
  }

  #compare(): void {
    same(
      'the set',
      this.lab.set.statuses.map(({ pod }) => pod.uid),
      [...this.#served.keys()],
    )
  }
}

function served(name: string): string {
  return `${name}:4`
}

function withoutNumber(held: string): string {
  return held.replace(/@\d+/, '')
}

function same(what: string, actual: readonly string[], expected: readonly string[]): void {
  const [is, shouldBe] = [actual, expected].map((list) => [...list].sort().join())
  if (is !== shouldBe) throw new Error(`${what} has ${is ?? ''} and should have ${shouldBe ?? ''}`)
}

t.test('any history ends with the pods that are served, and every descriptor closed once', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step as fc.Arbitrary<Step>, { maxLength: 60 }), async (steps) => {
      await new Model().run(steps)
    }),
    { numRuns: 200 },
  )
  t.pass('every history')
})

t.test('nothing is left of 1,000 pods that have come and gone', async (t) => {
  const lab = new PodSetLab({ workers: 2 })
  for (let round = 0; round < 1_000; round++) {
    const name = UIDS[round % UIDS.length] ?? 'a'
    await lab.add(name, lab.opener.namespace())
    if (round % 3 === 0) await lab.set.remove(name)
  }
  await lab.end()
  t.match(lab.set.counts, { up: 0, pending: 0, started: 1_000, stopped: 1_000 })
  t.equal(lab.opener.openCount, 0)
})
