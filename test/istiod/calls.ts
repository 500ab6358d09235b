/** Calls of the client to tcp-echo, by who answers them. */
import { isIP } from 'node:net'

import { becomes } from './becomes.ts'
import { ECHO_PORT } from './scenario.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { NamespaceHost } from '../fixtures/namespace-host.ts'
import type { EchoPod } from './scenario.ts'

/** Endpoints are drawn: enough calls that one of three is left out once in a million times. */
const CALL_COUNT = 40

/** The address that one connection is answered from, or how it ends without an answer. */
export async function answererOf(
  client: NamespaceHost,
  host: string,
  port: number = ECHO_PORT,
): Promise<string> {
  const { received, end } = await client.exchange(host, port, 'hello')
  return received === '' ? end : received.slice(0, received.indexOf(' '))
}

/** Who is to answer. */
export interface Answerers {
  readonly host: string
  /** The family that the pods are reached over. */
  readonly family: Family
  readonly pods: readonly EchoPod[]
}

/**
 * Asserts that these pods and no others answer at `host`, soon: what the agent says that it knows may be a moment ahead
 * of the threads that carry connections. Until then, too, every connection has an answer.
 */
export async function answeredBy(
  t: Test,
  client: NamespaceHost,
  { host, family, pods }: Answerers,
): Promise<void> {
  const ends = new Set<string>()
  const read = async (): Promise<readonly string[]> => {
    const answerers = new Set<string>()
    for (let count = 0; count < CALL_COUNT; count++) {
      const answerer = await answererOf(client, host)
      if (isIP(answerer) === 0) ends.add(answerer)
      else answerers.add(answerer)
    }
    return [...answerers].sort()
  }
  await becomes(t, `who answers at ${host}`, read, pods.map(({ addresses }) => addresses[family]).sort())
  t.strictSame([...ends], [], 'every connection has an answer')
}
