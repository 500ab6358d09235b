/**
 * What it costs an agent that a control plane sends it a mesh of 100,000 dual-stack workloads in 5,000 services in one
 * response: the agent as it is started, in a process of its own, from gRPC up to the plans of its router. This process is
 * the control plane.
 */
import path from 'node:path'

import { PACKAGE_ROOT } from '../src/agent/version.ts'
import { FAMILIES } from '../src/core/family.ts'
import { AdsServer } from '../test/fixtures/ads-server.ts'
import { LineProcess } from './lab/line-process.ts'
import { percentile } from './report/statistics.ts'
import { AgentStream, encodeAddresses } from './xds/agent-stream.ts'
import { ModelMesh } from './xds/model-mesh.ts'
import { readLoopReading, readNumber, readTransferRun, readUpdates } from './xds/stream-figures.ts'
import { encodeMesh, encodeWorkload } from './xds/wire-mesh.ts'

import type { Family } from '../src/core/family.ts'
import type { LoopReading, TransferRun } from './xds/stream-figures.ts'
import type { FigureBenchDeps, BoundedFigure } from './report/bounded-figure.ts'

export interface StreamSize {
  readonly workloads: number
  readonly services: number
  /** Endpoints that change one by one. */
  readonly changes: number
  /** What passes through the agent while the mesh comes, at least. */
  readonly transferMib: number
}

const FULL_SIZE: StreamSize = { workloads: 100_000, services: 5_000, changes: 200, transferMib: 1_024 }
/** The step between workloads that change: in one service after the other. */
const CHANGE_STEP = 7
const MIB = 2 ** 20
const EMPTY_ANSWER = encodeAddresses([])

/** What a control plane sends of one mesh. */
interface EncodedMesh {
  readonly whole: Uint8Array
  readonly changes: readonly Uint8Array[]
}

interface MeshCost {
  readonly applyMs: number
  readonly first: LoopReading
  readonly residentBytes: number
}

interface Following {
  readonly changeMs: number
  readonly reconnectBlockedMs: number
  readonly repeatBlockedMs: number
}

/** Measures rounds of both families and of one, which take turns. */
export async function measureXdsStream(
  { note, rounds }: FigureBenchDeps,
  size: StreamSize = FULL_SIZE,
): Promise<readonly BoundedFigure[]> {
  const dualMesh = encode(size, FAMILIES)
  const singleMesh = encode(size, ['ipv4'])
  const dual: (MeshCost & Following)[] = []
  const single: MeshCost[] = []
  const undisturbed: TransferRun[] = []
  const during: TransferRun[] = []
  for (let round = 1; round <= rounds; round++) {
    note(
      `stream: round ${round} of ${rounds}, ${(dualMesh.whole.length / MIB).toFixed(0)} MiB in one response`,
    )
    dual.push(
      await withAgent(async (agent) => ({
        ...(await receive(agent, dualMesh)),
        ...(await follow(agent, dualMesh, size)),
      })),
    )
    single.push(await withAgent((agent) => receive(agent, singleMesh)))
    const runs = await withAgent((agent) => transferDuring(agent, dualMesh, size))
    undisturbed.push(runs.undisturbed)
    during.push(runs.during)
  }
  const passed = during.map(({ bytes }) => (bytes / MIB).toFixed(0))
  note(`stream: ${passed.join(', ')} MiB passed until the mesh was in force`)
  const figure = (
    title: string,
    unit: string,
    max: number,
    value: (each: MeshCost & Following) => number,
  ): BoundedFigure => ({ title, unit, max, rounds: dual.map(value) })
  return [
    figure('one response: in force after', 'ms', 5_000, ({ applyMs }) => applyMs),
    figure('one response: event loop blocked', 'ms', 50, ({ first }) => first.blockedMs),
    figure(
      'one response: RSS for each workload',
      'B',
      1_200,
      ({ residentBytes }) => residentBytes / size.workloads,
    ),
    { title: 'one response: peak RSS', unit: 'MB', rounds: dual.map(({ first }) => first.peakBytes / 1e6) },
    {
      title: 'one response: memory that the second family adds',
      unit: '%',
      max: 30,
      rounds: dual.map(({ residentBytes }, round) => {
        const reference = single[round]?.residentBytes ?? NaN
        return (residentBytes / reference - 1) * 100
      }),
    },
    figure('one changed endpoint: sent to planned, p99', 'ms', 5, ({ changeMs }) => changeMs),
    figure(
      'new stream, all claimed: event loop blocked',
      'ms',
      50,
      ({ reconnectBlockedMs }) => reconnectBlockedMs,
    ),
    figure(
      'new stream, all sent again: event loop blocked',
      'ms',
      50,
      ({ repeatBlockedMs }) => repeatBlockedMs,
    ),
    {
      title: `${size.transferMib} MiB relayed during the response: longest pause`,
      unit: 'ms',
      max: 50,
      rounds: during.map(({ pauseMs }) => pauseMs),
    },
    {
      title: `${size.transferMib} MiB relayed without an update: longest pause`,
      unit: 'ms',
      rounds: undisturbed.map(({ pauseMs }) => pauseMs),
    },
  ]
}

function encode({ workloads, services, changes }: StreamSize, families: readonly Family[]): EncodedMesh {
  const model = new ModelMesh({ workloads, services, families })
  return {
    whole: encodeAddresses(encodeMesh(model, workloads)),
    changes: Array.from({ length: changes }, (_, n) => {
      const workload = model.workload((n * CHANGE_STEP) % workloads)
      return encodeAddresses([encodeWorkload({ ...workload, status: 'unhealthy' })])
    }),
  }
}

/** An agent that runs and knows of nothing. */
interface ConnectedAgent {
  readonly server: AdsServer
  readonly stream: AgentStream
  readonly agent: LineProcess
}

async function withAgent<Result>(measure: (agent: ConnectedAgent) => Promise<Result>): Promise<Result> {
  const server = await AdsServer.start()
  const agent = startChild('agent', 'stream-agent.js', String(server.port))
  try {
    const [{ stream }] = await Promise.all([AgentStream.accept(server, EMPTY_ANSWER), agent.next()])
    return await measure({ server, stream, agent })
  } finally {
    await agent.close()
    await server.close()
  }
}

function startChild(name: string, file: string, ...args: readonly string[]): LineProcess {
  const program = path.join(PACKAGE_ROOT, 'dist', 'bench', 'xds', file)
  return new LineProcess(name, [process.execPath, '--expose-gc', program, ...args])
}

/** The whole mesh comes in one response. */
async function receive({ stream, agent }: ConnectedAgent, { whole }: EncodedMesh): Promise<MeshCost> {
  const emptyBytes = await weigh(agent)
  await readLoop(agent)
  const sentAtMs = await stream.send(whole)
  const applyMs = (await nextUpdateMs(agent)) - sentAtMs
  const first = await readLoop(agent)
  return { applyMs, first, residentBytes: (await weigh(agent)) - emptyBytes }
}

/** Endpoints change one by one; then the stream is cut twice, and once nothing and once everything is sent again. */
async function follow(
  { server, stream, agent }: ConnectedAgent,
  { whole, changes }: EncodedMesh,
  { workloads, services }: StreamSize,
): Promise<Following> {
  const changeMs: number[] = []
  for (const change of changes) {
    const sentAtMs = await stream.send(change)
    changeMs.push((await nextUpdateMs(agent)) - sentAtMs)
  }
  await readLoop(agent)
  stream.end()
  const second = await AgentStream.accept(server, EMPTY_ANSWER)
  if (second.claimed !== workloads + services)
    throw new Error(`the agent has claimed ${second.claimed} resources of ${workloads + services}`)
  const reconnect = await readLoop(agent)
  second.stream.end()
  await AgentStream.accept(server, whole)
  const repeat = await readLoop(agent)
  return {
    changeMs: percentile(changeMs, 0.99),
    reconnectBlockedMs: reconnect.blockedMs,
    repeatBlockedMs: repeat.blockedMs,
  }
}

/** The same transfer through the agent twice: without an update, and for as long as the whole mesh takes to come. */
async function transferDuring(
  { stream, agent }: ConnectedAgent,
  { whole }: EncodedMesh,
  { transferMib }: StreamSize,
): Promise<{ readonly undisturbed: TransferRun; readonly during: TransferRun }> {
  const load = startChild('load', 'stream-load.js')
  try {
    const targetPort = readNumber(await load.next(), 'port')
    const port = readNumber(await agent.ask(`relay ${targetPort}`), 'port')
    await nextUpdateMs(agent)
    await load.ask(`start ${port}`)
    const undisturbed = readTransferRun(await load.ask(`finish ${transferMib}`))
    await load.ask(`start ${port}`)
    await stream.send(whole)
    const during = readTransferRun(await load.ask(`finish ${transferMib}`))
    return { undisturbed, during }
  } finally {
    await load.close()
  }
}

async function weigh(agent: LineProcess): Promise<number> {
  return readNumber(await agent.ask('weigh'), 'bytes')
}

async function readLoop(agent: LineProcess): Promise<LoopReading> {
  return readLoopReading(await agent.ask('loop'))
}

/** When the next update came into force, since 1970. */
async function nextUpdateMs(agent: LineProcess): Promise<number> {
  const [update] = readUpdates(await agent.ask('updates 1'))
  if (update === undefined) throw new TypeError('an update was asked for')
  return update.atMs
}
