/** The calls of the demo: what the seed does by hand with nc, and what has to come of each. */
import net from 'node:net'

import { FAMILIES, otherFamily } from '../../core/family.ts'

import type { Family } from '../../core/family.ts'

/** One service of examples/demo/twinstack.yaml. */
export interface DemoService {
  readonly name: string
  /** Where the proxy listens for it, on both loopbacks. */
  readonly listenPort: number
  /** Where its application listens. */
  readonly appPort: number
  /** The families that the service's endpoint has addresses of. */
  readonly families: readonly Family[]
  /** The families that its application listens on. */
  readonly boundFamilies: readonly Family[]
}

/** The services of the demo, as the file has them. */
export const DEMO_SERVICES: readonly DemoService[] = [
  {
    name: 'tcp-echo.dual-stack',
    listenPort: 19_000,
    appPort: 19_100,
    families: FAMILIES,
    boundFamilies: FAMILIES,
  },
  { name: 'tcp-echo.ipv4', listenPort: 19_001, appPort: 19_101, families: ['ipv4'], boundFamilies: ['ipv4'] },
  { name: 'tcp-echo.ipv6', listenPort: 19_002, appPort: 19_102, families: ['ipv6'], boundFamilies: ['ipv6'] },
  {
    name: 'tcp-echo.binds-ipv4',
    listenPort: 19_003,
    appPort: 19_103,
    families: FAMILIES,
    boundFamilies: ['ipv4'],
  },
  {
    name: 'tcp-echo.binds-ipv6',
    listenPort: 19_004,
    appPort: 19_104,
    families: FAMILIES,
    boundFamilies: ['ipv6'],
  },
]

/** The loopback address of a family. */
export const LOOPBACK: Readonly<Record<Family, string>> = { ipv4: '127.0.0.1', ipv6: '::1' }

/** What has to come of a call. */
export interface Expectation {
  /** The family in which the application is reached; absent when it cannot be. */
  readonly upstreamFamily?: Family
  readonly why: string
}

/** What has to come of a call of a client in `family` on a machine that has `available`. */
export function expectationOf(
  service: DemoService,
  family: Family,
  available: readonly Family[],
): Expectation {
  if (!available.includes(family)) return { why: `this machine has no ${family}` }
  const reachable = service.boundFamilies.filter((bound) => available.includes(bound))
  if (reachable.includes(family)) return { upstreamFamily: family, why: 'native' }
  const other = otherFamily(family)
  if (!reachable.includes(other)) return { why: `the service needs ${other}, which this machine has not` }
  return service.families.includes(family)
    ? { upstreamFamily: other, why: `fallback: the application does not listen on ${family}` }
    : { upstreamFamily: other, why: 'only family of the service' }
}

/** What came back. `localPort` names the connection in the proxy's records. */
export interface CallOutcome {
  readonly answer: string | undefined
  readonly localPort: number | undefined
  readonly failure: string
}

const CALL_TIMEOUT_MS = 5_000

/** Sends one line and waits for the line that answers it, as `echo … | nc` does. Never rejects. */
export function call(host: string, port: number, line: string): Promise<CallOutcome> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, autoSelectFamily: false })
    let text = ''
    let localPort: number | undefined
    const finish = (answer: string | undefined, failure = ''): void => {
      clearTimeout(timeout)
      resolve({ answer, localPort, failure })
      socket.destroy()
    }
    const timeout = setTimeout(() => {
      finish(undefined, `no answer within ${CALL_TIMEOUT_MS / 1_000} s`)
    }, CALL_TIMEOUT_MS)
    socket.setEncoding('utf8')
    socket.on('connect', () => {
      localPort = socket.localPort
      socket.end(`${line}\n`)
    })
    socket.on('data', (chunk: string) => (text += chunk))
    socket.on('end', () => {
      finish(text.trimEnd() || undefined, 'closed without an answer')
    })
    socket.on('error', (error) => {
      finish(undefined, error.message)
    })
  })
}
