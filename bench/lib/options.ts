/** The command line of the bench. */
import { parseArgs } from 'node:util'

export interface BenchOptions {
  readonly rounds: number
  readonly seconds: number
  readonly idleConnections: number
  readonly transferMib: number
  /** Names of benches; absent: all. */
  readonly only?: readonly string[]
  /** Where the result goes; absent: bench/results/, named after the time. */
  readonly jsonPath?: string
  readonly engine?: string
  readonly profileFolder?: string
}

/** What `--help` prints. */
export const USAGE = `usage: npm run bench -- [options]
  --rounds N          measurements of each kind, medians are shown (3)
  --seconds S         length of a measurement (0.8)
  --connections N     connections of the memory bench (2000)
  --transfer-mib N    size of the byte-exact transfer, each way (1024)
  --only A,B          of bulk, connections, requests, idle, fallback, transfer (all)
  --engine NAME       TWINSTACK_ENGINE of the proxy
  --profile FOLDER    a CPU profile of each proxy (node --cpu-prof)
  --json FILE         where the result is written (bench/results/TIME.json)
`

/** Reads the arguments after the program's name. Throws with a message for the operator. */
export function parseBenchOptions(args: readonly string[]): BenchOptions | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '0.8' },
      connections: { type: 'string', default: '2000' },
      'transfer-mib': { type: 'string', default: '1024' },
      only: { type: 'string' },
      engine: { type: 'string' },
      profile: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return 'help'
  return {
    rounds: positive('rounds', values.rounds),
    seconds: positive('seconds', values.seconds),
    idleConnections: positive('connections', values.connections),
    transferMib: positive('transfer-mib', values['transfer-mib']),
    ...(values.only !== undefined && { only: values.only.split(',') }),
    ...(values.engine !== undefined && { engine: values.engine }),
    ...(values.profile !== undefined && { profileFolder: values.profile }),
    ...(values.json !== undefined && { jsonPath: values.json }),
  }
}

function positive(name: string, text: string): number {
  const value = Number(text)
  if (!(value > 0) || !Number.isFinite(value)) throw new Error(`--${name} ${text}: write a number above 0`)
  return value
}
