/**
 * What it costs a client when the application cannot be reached in the client's family: the connection that finds out
 * and the next one, in milliseconds more than to an application that has both families.
 */
import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { SERVICE_PORTS } from '../lab/services.ts'
import { PLAIN, withProxy } from '../proxies/running-proxy.ts'
import { median } from '../report/statistics.ts'

import type { Family } from '../../src/core/family.ts'
import type { Lab } from '../lab/lab.ts'
import type { ServerProgram } from '../lab/server-program.ts'
import type { RunningProxy } from '../proxies/running-proxy.ts'
import type { Measure, MeasureContext } from './measure.ts'

/** How the family is missing: nobody listens there, or packets vanish. */
const KINDS = ['refused', 'silent'] as const

type Kind = (typeof KINDS)[number]

/** An application that lacks a family. */
interface LackingService {
  readonly name: string
  readonly kind: Kind
  readonly lacks: Family
  readonly appPort: number
}

/** Each can be found out only once, so a round needs several of them. */
const SERVICES_OF_A_KIND = 8
const FIRST_APP_PORT = 9_200
/** Connections before the first that is timed: code that runs for the first time is slow. */
const WARM_UP_CONNECTIONS = 200
const NATIVE_SAMPLES = 50
const NATIVE: Omit<LackingService, 'kind' | 'lacks'> = { name: 'native', appPort: SERVICE_PORTS.echo }

const LACKING: readonly LackingService[] = KINDS.flatMap((kind) =>
  FAMILIES.flatMap((lacks) =>
    Array.from({ length: SERVICES_OF_A_KIND }, (_, index) => ({
      name: `${kind}-${lacks}-${index}`,
      kind,
      lacks,
    })),
  ),
).map((service, index) => ({ ...service, appPort: FIRST_APP_PORT + index }))

/** Rows `fallback-native`, and `fallback-{refused,silent}-{first,second}` of every proxy that goes on to the twin. */
export const measureFallback: Measure = async (context) => {
  const { lab, programs, rounds } = context
  const server = await startLackingApplications(lab)
  try {
    for (let round = 0; round < rounds; round++) {
      for (const program of programs.filter(({ canFallBack }) => canFallBack)) {
        const staticServices = [NATIVE, ...LACKING].map(({ name, appPort }) => ({ name, appPort }))
        // Health is remembered: only a new process finds out again.
        await withProxy(lab, program, { ...PLAIN, staticServices }, async (proxy) => {
          for (const family of FAMILIES) await measureFamily(context, proxy, family)
        })
      }
    }
  } finally {
    await server.close()
    await lab.namespaces.run('server', 'nft', ['flush', 'ruleset'])
  }
}

async function startLackingApplications(lab: Lab): Promise<ServerProgram> {
  const server = await lab.startServer(
    LACKING.flatMap(({ kind, lacks, appPort }) =>
      (kind === 'silent' ? FAMILIES : [otherFamily(lacks)]).map((family) => ({
        service: 'echo' as const,
        family,
        port: appPort,
      })),
    ),
  )
  const drops = LACKING.filter(({ kind }) => kind === 'silent').map(
    ({ lacks, appPort }) => `meta nfproto ${lacks} tcp dport ${appPort} drop`,
  )
  const rules = ['table inet silence {', 'chain input {', 'type filter hook input priority filter;', ...drops]
  try {
    await lab.namespaces.run('server', 'nft', ['-f', '-'], `${[...rules, '}', '}'].join('\n')}\n`)
    await requireRefusal(lab)
  } catch (reason) {
    await server.close()
    throw reason
  }
  return server
}

/** Without a proxy a client must be refused, or the measure would be of nothing. */
async function requireRefusal(lab: Lab): Promise<void> {
  for (const { kind, lacks, name, appPort } of LACKING) {
    if (kind !== 'refused') continue
    const isReachable = await lab.timeConnections('server', lacks, appPort, 1).then(
      () => true,
      () => false,
    )
    if (isReachable) throw new Error(`${name} can be reached over ${lacks}`)
  }
}

async function measureFamily(
  { lab, figures }: MeasureContext,
  proxy: RunningProxy,
  family: Family,
): Promise<void> {
  const time = (name: string, count: number): Promise<readonly number[]> =>
    lab.timeConnections('node', family, proxy.portOf(name), count)
  const subject = { family, unit: 'ms', isHigherBetter: false } as const
  await time(NATIVE.name, WARM_UP_CONNECTIONS)
  const nativeUs = median(await time(NATIVE.name, NATIVE_SAMPLES))
  const title = 'connect to answer, application has both families'
  figures.add({ ...subject, id: 'fallback-native', title }, proxy.name, nativeUs / 1_000)
  for (const kind of KINDS) {
    const pairs: (readonly number[])[] = []
    for (const service of LACKING.filter((each) => each.kind === kind && each.lacks === family))
      pairs.push(await time(service.name, 2))
    for (const [which, name] of ['first', 'second'].entries()) {
      const addedUs = median(pairs.map((pair) => pair[which] ?? NaN)) - nativeUs
      figures.add(
        {
          ...subject,
          id: `fallback-${kind}-${name}`,
          title: `native family ${kind}: added to the ${name} connection`,
          isRelative: true,
        },
        proxy.name,
        addedUs / 1_000,
      )
    }
  }
}
