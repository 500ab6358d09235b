/**
 * Runs in a process of its own (node --expose-gc): the whole agent in the ambient dialect, as `twinstack agent` starts it,
 * with what can only be measured from inside. Argument: the port of the control plane. Commands: see the end.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'

import { startApp } from '../../src/agent/app.ts'
import { loadConfiguration } from '../../src/agent/configuration.ts'
import { parseIp } from '../../src/core/address.ts'
import { systemClock } from '../../src/core/clock.ts'
import { AmbientRouter } from '../../src/mesh/ambient-router.ts'
import { freePort } from '../../test/fixtures/loopback.ts'
import { answerLines } from '../lab/answer-lines.ts'

import type { App } from '../../src/agent/app.ts'
import type { Configuration } from '../../src/agent/configuration.ts'
import type { Listener } from '../../src/mesh/listener.ts'
import type { MeshChange, MeshStore, MeshUpsert } from '../../src/mesh/store.ts'
import type { AppliedUpdate, LoopReading } from './stream-figures.ts'

const LOOPBACK = parseIp('127.0.0.1')
/** Where the bench connects to: connections that are not redirected are refused by the listeners of the dialect. */
const DIRECT: Listener = {
  name: 'direct',
  addresses: [{ address: { ip: LOOPBACK, port: 0 }, socketOptions: [] }],
  capture: 'none',
  direction: 'outbound',
  bindToPort: true,
  filterChains: [],
  accessLogs: [],
}

const loopDelay = monitorEventLoopDelay({ resolution: 1 })

/** The updates that have come into force, as they were right after that. */
class UpdateLog {
  readonly #store: MeshStore
  readonly #router: AmbientRouter
  readonly #applied: AppliedUpdate[] = []
  #waiting: { readonly count: number; readonly resolve: () => void } | undefined

  constructor(store: MeshStore) {
    this.#store = store
    this.#router = new AmbientRouter({ store }, { network: '', plaintextPermitted: [] })
    store.watch((change) => {
      this.#add(change)
    })
  }

  /** Resolves with the next so many updates, which may have come already. */
  async take(count: number): Promise<readonly AppliedUpdate[]> {
    if (this.#applied.length < count)
      await new Promise<void>((resolve) => {
        this.#waiting = { count, resolve }
      })
    return this.#applied.splice(0, count)
  }

  #add(change: MeshChange): void {
    const [uid] = change.get('workload') ?? []
    if (uid === undefined) return
    this.#planFor(uid)
    const { size } = this.#store.snapshot.workload
    this.#applied.push({ atMs: performance.timeOrigin + performance.now(), workloads: size })
    if (this.#applied.length >= (this.#waiting?.count ?? Infinity)) this.#waiting?.resolve()
  }

  /** Decides where a connection to the service of a workload goes, as the next connection would ask. */
  #planFor(uid: string): void {
    const { workload, service } = this.#store.snapshot
    const [key = ''] = workload.get(uid)?.services.keys() ?? []
    const vip = service.get(key)?.vips[0]
    if (vip === undefined) return
    const client = { ip: LOOPBACK, port: 40_000 }
    this.#router.plan({ listener: DIRECT, client, destination: { ip: vip.ip, port: 80 } })
  }
}

async function loadAmbient(controlPlanePort: number): Promise<Configuration> {
  const ports = ['OUTBOUND', 'INBOUND', 'ADMIN', 'METRICS', 'READINESS']
  const env: Record<string, string> = {
    XDS_ADDRESS: `http://127.0.0.1:${controlPlanePort}`,
    PACKET_MARK: '0',
    TWINSTACK_WORKERS: '1',
    TWINSTACK_ACCESS_LOG: 'off',
    TWINSTACK_LOG_LEVEL: 'error',
  }
  for (const name of ports) env[`TWINSTACK_${name}_PORT`] = String(await freePort())
  const configuration = await loadConfiguration({ clock: systemClock }, { env })
  if (!configuration.ok) throw new Error(configuration.errors.join('\n'))
  return configuration.value
}

/** Carries connections to a service whose only workload is at `targetPort` of this machine. Returns where to connect to. */
async function relayTo({ proxy }: App, store: MeshStore, targetPort: number): Promise<number> {
  store.apply([{ kind: 'listener', upsert: DIRECT }])
  let port: number | undefined
  while (port === undefined) {
    await nextTurn()
    const status = proxy.listeners.find(({ listener }) => listener === DIRECT.name)
    if (status?.state === 'bound') ({ port } = status.address)
  }
  store.apply(relayedMesh(port, targetPort))
  return port
}

function relayedMesh(servicePort: number, targetPort: number): readonly MeshUpsert[] {
  const namespace = 'bench'
  const hostname = 'relayed.bench.svc.cluster.local'
  const ports = new Map([[servicePort, targetPort]])
  return [
    {
      kind: 'service',
      upsert: {
        name: 'relayed',
        namespace,
        hostname,
        vips: [{ network: '', ip: LOOPBACK }],
        cidrVips: [],
        ports,
        families: 'automatic',
        loadBalancing: { routingPreferences: [], mode: 'standard', healthPolicy: 'only-healthy' },
        subjectAltNames: [],
        isCanonical: true,
        visibility: 'public',
      },
    },
    {
      kind: 'workload',
      upsert: {
        uid: 'bench/relayed',
        name: 'relayed',
        namespace,
        addresses: [LOOPBACK],
        hostname: '',
        network: '',
        protocol: 'tcp',
        trustDomain: 'cluster.local',
        serviceAccount: 'default',
        node: '',
        clusterId: 'Kubernetes',
        canonicalName: '',
        canonicalRevision: '',
        workloadName: '',
        workloadType: 'pod',
        status: 'healthy',
        isHostNetwork: false,
        isNativeTunnel: false,
        locality: { region: '', zone: '', subzone: '' },
        capacity: 1,
        services: new Map([[`${namespace}/${hostname}`, ports]]),
        authorizationPolicies: [],
      },
    },
  ]
}

/** Resident memory after everything that can go has gone. */
async function weigh(): Promise<number> {
  if (globalThis.gc === undefined) throw new Error('run this with node --expose-gc')
  for (let round = 0; round < 4; round++) {
    globalThis.gc()
    await nextTurn()
  }
  return process.memoryUsage.rss()
}

/** The longest that the event loop has kept anybody waiting since it was asked last. */
async function readLoop(): Promise<LoopReading> {
  // What is going on has to end before it can be counted.
  await nextTurn()
  const blockedMs = loopDelay.max / 1e6
  loopDelay.reset()
  return { blockedMs, peakBytes: process.resourceUsage().maxRSS * 1_024 }
}

const configuration = await loadAmbient(Number(process.argv[2]))
const { store } = configuration
const app = await startApp({ clock: systemClock }, configuration)
const updates = new UpdateLog(store)
loopDelay.enable()

await answerLines(
  {},
  {
    relay: async ([targetPort = 0]) => ({ port: await relayTo(app, store, targetPort) }),
    weigh: async () => ({ bytes: await weigh() }),
    loop: readLoop,
    updates: ([count = 1]) => updates.take(count),
  },
)
