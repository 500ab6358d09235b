/**
 * Runs in a process of its own (node --expose-gc): fills a mesh in slices, then changes it and asks it for routes. Prints
 * one line of JSON, {@link MeshFigures}. Arguments: workloads, services, families with commas.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'

import { AmbientRouter } from '../../src/mesh/ambient-router.ts'
import { MeshStore } from '../../src/mesh/store.ts'
import { median, percentile } from '../report/statistics.ts'
import { ModelMesh, readModelMeshOptions } from './model-mesh.ts'

import type { IpAddress } from '../../src/core/address.ts'
import type { Listener } from '../../src/mesh/listener.ts'
import type { MeshUpsert } from '../../src/mesh/store.ts'
import type { MeshFigures } from './mesh-figures.ts'

/** Workloads that are staged in one turn of the event loop. */
const SLICE = 256
const CHANGES = 500
/** Destinations that lookups go round among. */
const DESTINATIONS = 1_000
/** Rounds over them, of which the first quarter is to warm up. */
const WINDOWS = 200

const LISTENER: Listener = {
  name: 'outbound',
  addresses: [],
  capture: 'redirect',
  direction: 'outbound',
  bindToPort: true,
  filterChains: [],
  accessLogs: [],
}

const store = new MeshStore()
const router = new AmbientRouter({ store }, { network: '', plaintextPermitted: [] })
const options = readModelMeshOptions(process.argv.slice(2))
const model = new ModelMesh(options)

async function main(): Promise<MeshFigures> {
  const before = await settledMemory()
  const applied = await applyAll((upsert) => upsert)
  const after = await settledMemory()
  const repeated = await applyAll((upsert) => upsert)
  const replaced = await applyAll(inverted)
  await applyAll((upsert) => upsert)
  return {
    applyMs: applied.ms,
    applyBlockedMs: applied.blockedMs,
    repeatBlockedMs: repeated.blockedMs,
    replaceBlockedMs: replaced.blockedMs,
    residentBytes: after.rss - before.rss,
    changeMs: changeMs(),
    serviceLookupUs: lookupUs(model.serviceAddresses, 80),
    workloadLookupUs: lookupUs((n) => model.workload(n * 7).addresses, 8080),
  }
}

/** Applies all slices as one batch, and says how long that took and the longest turn in it. */
async function applyAll(
  change: (upsert: MeshUpsert) => MeshUpsert,
): Promise<{ readonly ms: number; readonly blockedMs: number }> {
  let ms = 0
  let blockedMs = 0
  const turn = async (work: () => void): Promise<void> => {
    const startedAt = performance.now()
    work()
    await nextTurn()
    const turnMs = performance.now() - startedAt
    ms += turnMs
    blockedMs = Math.max(blockedMs, turnMs)
  }
  const draft = store.draft()
  for (let from = 0; from < options.workloads; from += SLICE) {
    const slice = model.slice(from, from + SLICE).map(change)
    await turn(() => {
      draft.stage(slice)
    })
  }
  await turn(() => draft.commit())
  return { ms, blockedMs }
}

function inverted(update: MeshUpsert): MeshUpsert {
  return update.kind === 'workload'
    ? { kind: 'workload', upsert: { ...update.upsert, status: 'unhealthy' } }
    : update
}

/** One workload after the other becomes unhealthy, and its service is asked for. */
function changeMs(): number {
  const times: number[] = []
  for (let n = 0; n < CHANGES; n++) {
    const upsert = { ...model.workload(n * 7), status: 'unhealthy' as const }
    const [ip] = model.serviceAddresses(n * 7)
    if (ip === undefined) throw new TypeError('a service has an address')
    const startedAt = performance.now()
    store.apply([{ kind: 'workload', upsert }])
    plan(ip, 80)
    times.push(performance.now() - startedAt)
  }
  return percentile(times, 0.99)
}

/** The median of many windows. */
function lookupUs(addressesOf: (n: number) => readonly IpAddress[], port: number): number {
  const destinations = Array.from({ length: DESTINATIONS }, (_, n) => addressesOf(n)).flat()
  const windowsUs = Array.from({ length: WINDOWS }, () => {
    const startedAt = performance.now()
    for (const ip of destinations) plan(ip, port)
    return ((performance.now() - startedAt) * 1_000) / destinations.length
  })
  return median(windowsUs.slice(WINDOWS / 4))
}

const [CLIENT] = model.workload(1).addresses

function plan(ip: IpAddress, port: number): void {
  if (CLIENT === undefined) throw new TypeError('a workload has an address')
  const { choices } = router.plan({
    listener: LISTENER,
    client: { ip: CLIENT, port: 40_000 },
    destination: { ip, port },
  })
  if (choices[0]?.route.kind === 'reject') throw new Error(`${choices[0].route.detail}: ${ip.text}`)
}

/** Memory after everything that can go has gone. */
async function settledMemory(): Promise<NodeJS.MemoryUsage> {
  if (globalThis.gc === undefined) throw new Error('run this with node --expose-gc')
  for (let round = 0; round < 4; round++) {
    globalThis.gc()
    await nextTurn()
  }
  return process.memoryUsage()
}

process.stdout.write(`${JSON.stringify(await main())}\n`)
