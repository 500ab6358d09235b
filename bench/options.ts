/** The command line of the bench. */
import { parseArgs } from 'node:util'

/** What `--peers` may name. */
export const PEER_NAMES = ['haproxy', 'haproxy-1m', 'nginx', 'envoy'] as const

export type PeerName = (typeof PEER_NAMES)[number]

/** The peers that goals compare with: each as it comes. HAProxy with larger pipes is shown beside them. */
export const GOAL_PEER_NAMES = ['haproxy', 'nginx', 'envoy'] as const satisfies readonly PeerName[]

/** What `--only` may name, in the order in which they run. */
export const MEASURE_NAMES = [
  'bulk',
  'connections',
  'requests',
  'setup',
  'idle',
  'slow',
  'fallback',
  'workers',
  'observed',
  'transfer',
] as const

export type MeasureName = (typeof MEASURE_NAMES)[number]

/** Benches, of which the first word of the command line is one; the first of them where there is none. */
export const BENCH_NAMES = ['proxies', 'xds', 'pods'] as const

export type BenchName = (typeof BENCH_NAMES)[number]

/** Name of the result that is kept in git. */
export const PUBLISHED_NAME = 'published'

export interface BenchOptions {
  readonly bench: BenchName
  readonly only: readonly MeasureName[]
  readonly peers: readonly PeerName[]
  /** Values of TWINSTACK_ENGINE, best first: the first is what the goals are about. */
  readonly engines: readonly string[]
  readonly rounds: number
  readonly seconds: number
  readonly idleConnections: number
  readonly slowReaders: number
  readonly setupRate: number
  readonly transferMib: number
  /** Name of the files of the result; absent: the time. */
  readonly name?: string
  readonly outFolder?: string
  readonly profileFolder?: string
  /** The root of another build of twinstack, which is measured beside this one. */
  readonly baselineFolder?: string
  /** The result is the one that bench/README.md shows. */
  readonly isPublished: boolean
  /** A goal that is missed or not measured fails the run. */
  readonly isCheck: boolean
}

/** What `--help` prints. */
export const USAGE = `usage: npm run bench -- [${BENCH_NAMES.join(' | ')}] [options]
xds and pods take --rounds and --check alone
  --only A,B          of ${MEASURE_NAMES.join(', ')} (all)
  --peers A,B         of ${PEER_NAMES.join(', ')}, or none (all)
  --engine A,B        values of TWINSTACK_ENGINE, goals are about the first (auto)
  --rounds N          measurements of each kind, medians are shown (3)
  --seconds S         length of a measurement (2)
  --idle N            idle connections (10000)
  --slow N            slow readers (1000)
  --rate N            new connections a second where set-up is timed (2000)
  --transfer-mib N    size of the byte-exact transfer, each way (1024)
  --name NAME         name of the result (the time)
  --out FOLDER        where it is written: NAME.json, NAME.md, NAME.svg (bench/results)
  --baseline FOLDER   another checkout of twinstack, built, to be measured beside this one
  --profile FOLDER    CPU profiles of twinstack (node --cpu-prof)
  --publish           the same as --name published, and bench/README.md shows it
  --check             exit code 1 when a goal is missed or could not be measured
`

/** Reads the arguments after the program's name. Throws with a message for the operator. */
export function parseBenchOptions(args: readonly string[]): BenchOptions | 'help' {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      only: { type: 'string', default: MEASURE_NAMES.join() },
      peers: { type: 'string', default: PEER_NAMES.join() },
      engine: { type: 'string', default: 'auto' },
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '2' },
      idle: { type: 'string', default: '10000' },
      slow: { type: 'string', default: '1000' },
      rate: { type: 'string', default: '2000' },
      'transfer-mib': { type: 'string', default: '1024' },
      name: { type: 'string' },
      out: { type: 'string' },
      profile: { type: 'string' },
      baseline: { type: 'string' },
      publish: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return 'help'
  return {
    bench: benchOf(positionals),
    only: choices('only', values.only, MEASURE_NAMES),
    peers: values.peers === 'none' ? [] : choices('peers', values.peers, PEER_NAMES),
    engines: values.engine.split(','),
    rounds: whole('rounds', values.rounds),
    seconds: positive('seconds', values.seconds),
    idleConnections: whole('idle', values.idle),
    slowReaders: whole('slow', values.slow),
    setupRate: whole('rate', values.rate),
    transferMib: whole('transfer-mib', values['transfer-mib']),
    ...(values.publish ? { name: PUBLISHED_NAME } : values.name !== undefined && { name: values.name }),
    ...(values.out !== undefined && { outFolder: values.out }),
    ...(values.profile !== undefined && { profileFolder: values.profile }),
    ...(values.baseline !== undefined && { baselineFolder: values.baseline }),
    isPublished: values.publish,
    isCheck: values.check,
  }
}

function benchOf(names: readonly string[]): BenchName {
  if (names.length === 0) return BENCH_NAMES[0]
  const bench = BENCH_NAMES.find((name) => names.length === 1 && name === names[0])
  if (bench === undefined)
    throw new Error(`there is no bench ${names.join(' ')}: write ${BENCH_NAMES.join()}`)
  return bench
}

/** The named ones in the order of `known`. */
function choices<Name extends string>(option: string, text: string, known: readonly Name[]): readonly Name[] {
  const names = text.split(',')
  const unknown = names.filter((name) => !known.some((each) => each === name))
  if (unknown.length > 0) throw new Error(`--${option} ${unknown.join()}: write some of ${known.join()}`)
  return known.filter((name) => names.includes(name))
}

function positive(option: string, text: string): number {
  const value = Number(text)
  if (!(value > 0) || !Number.isFinite(value)) throw new Error(`--${option} ${text}: write a number above 0`)
  return value
}

function whole(option: string, text: string): number {
  const value = positive(option, text)
  if (!Number.isInteger(value)) throw new Error(`--${option} ${text}: write a whole number`)
  return value
}
