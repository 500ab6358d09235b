/**
 * The embedded mesh: tcp-echo in dual-stack, ipv4 and ipv6, the agent on examples/demo/twinstack.yaml, and Istio's
 * calls over both families as a table. Needs no root and no network.
 */
import path from 'node:path'

import { FAMILIES } from '../../core/family.ts'
import { errnoOf, errorMessage } from '../../core/errors.ts'
import { PACKAGE_ROOT } from '../version.ts'
import { DEMO_SERVICES, LOOPBACK, call, expectationOf } from './calls.ts'
import { startTcpEcho } from './tcp-echo.ts'

import type { Family } from '../../core/family.ts'
import type { ClosedConnectionRecord, ConnectionRecord } from '../../proxy/connection-record.ts'
import type { DemoService } from './calls.ts'
import type { TcpEcho } from './tcp-echo.ts'

/** The file that the demo's agent runs on. */
export const DEMO_CONFIG_PATH = path.join(PACKAGE_ROOT, 'examples', 'demo', 'twinstack.yaml')

/** One line of the table. */
export interface DemoRow {
  readonly client: Family
  readonly service: string
  readonly answer: string
  readonly upstream: string
  readonly why: string
  readonly isAsExpected: boolean
}

/** The servers of the demo. */
export interface DemoApps {
  /** The families that this machine has a loopback address of. */
  readonly families: readonly Family[]
  close(): Promise<void>
}

/** Starts the applications. Rejects when a port is taken, naming it; a missing family is left out. */
export async function startDemoApps(): Promise<DemoApps> {
  const started: TcpEcho[] = []
  const missing = new Set<Family>()
  const close = async (): Promise<void> => {
    await Promise.all(started.map((server) => server.close()))
  }
  try {
    for (const service of DEMO_SERVICES) {
      for (const family of service.boundFamilies) {
        try {
          started.push(await startTcpEcho({ host: LOOPBACK[family], port: service.appPort }, 'hello'))
        } catch (reason) {
          if (!isFamilyMissing(reason)) throw portTaken(service.appPort, reason)
          missing.add(family)
        }
      }
    }
  } catch (reason) {
    await close()
    throw reason
  }
  return { families: FAMILIES.filter((family) => !missing.has(family)), close }
}

/** Makes every call once, in the order of the table. `recordOf` finds what the proxy says of a client's port. */
export async function runDemoCalls(
  families: readonly Family[],
  recordOf: (listener: string, clientPort: number) => ConnectionRecord | undefined,
): Promise<readonly DemoRow[]> {
  const rows: DemoRow[] = []
  for (const service of DEMO_SERVICES) {
    for (const family of FAMILIES) rows.push(await makeCall(service, family, families, recordOf))
  }
  return rows
}

/** The table as text. */
export function renderDemoTable(rows: readonly DemoRow[]): string {
  const header = ['client', 'service', 'answer', 'upstream', 'why']
  const lines = rows.map((row) => [row.client, row.service, row.answer, row.upstream, mark(row)])
  const widths = header.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)),
  )
  return [header, widths.map((width) => '-'.repeat(width)), ...lines]
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

async function makeCall(
  service: DemoService,
  family: Family,
  available: readonly Family[],
  recordOf: (listener: string, clientPort: number) => ConnectionRecord | undefined,
): Promise<DemoRow> {
  const expected = expectationOf(service, family, available)
  const row = { client: family, service: service.name }
  if (!available.includes(family)) {
    return { ...row, answer: '-', upstream: '-', why: expected.why, isAsExpected: true }
  }
  const word = service.name.replace('tcp-echo.', '')
  const { answer, localPort, failure } = await call(LOOPBACK[family], service.listenPort, word)
  const record = localPort === undefined ? undefined : recordOf(service.name, localPort)
  const upstreamFamily = record?.upstream?.remote?.ip.family
  const isAsExpected =
    expected.upstreamFamily === undefined
      ? answer === undefined
      : answer === `hello ${word}` && upstreamFamily === expected.upstreamFamily
  return {
    ...row,
    answer: answer ?? `none (${failure})`,
    upstream: upstreamFamily ?? '-',
    why: isAsExpected ? expected.why : `${whyOf(record)}, expected ${expected.upstreamFamily ?? 'no answer'}`,
    isAsExpected,
  }
}

function whyOf(record: ConnectionRecord | ClosedConnectionRecord | undefined): string {
  if (record === undefined) return 'the proxy has no record of it'
  return 'closeReason' in record ? `${record.closeReason} ${record.detail}`.trim() : 'still open'
}

function mark(row: DemoRow): string {
  return row.isAsExpected ? row.why : `UNEXPECTED: ${row.why}`
}

function isFamilyMissing(reason: unknown): boolean {
  return errnoOf(reason) === 'EAFNOSUPPORT' || errnoOf(reason) === 'EADDRNOTAVAIL'
}

function portTaken(port: number, reason: unknown): unknown {
  if (errnoOf(reason) !== 'EADDRINUSE') return reason
  return new Error(
    `port ${port} is taken (${errorMessage(reason)}); end the program that has it, \`ss -ltnp 'sport = :${port}'\` names it`,
    { cause: reason },
  )
}
