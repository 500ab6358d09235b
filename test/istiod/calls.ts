/** Calls of the client to tcp-echo, by who answers them. */
import type { NamespaceHost } from '../fixtures/namespace-host.ts'

/** Endpoints are drawn: enough calls that one of three is left out once in a million times. */
const CALL_COUNT = 40

/** The address that one connection is answered from, or how it ends without an answer. */
export async function answererOf(client: NamespaceHost, host: string, port: number): Promise<string> {
  const { received, end } = await client.exchange(host, port, 'hello')
  return received === '' ? end : received.slice(0, received.indexOf(' '))
}

/** Who answers several connections, one after the other: each once, in order. */
export async function answerersOf(
  client: NamespaceHost,
  host: string,
  port: number,
): Promise<readonly string[]> {
  const answerers = new Set<string>()
  for (let count = 0; count < CALL_COUNT; count++) answerers.add(await answererOf(client, host, port))
  return [...answerers].sort()
}

/** The addresses of pods in one family, in order. */
export function addressesOf<Family extends string>(
  pods: readonly { readonly addresses: Readonly<Record<Family, string>> }[],
  family: Family,
): readonly string[] {
  return pods.map(({ addresses }) => addresses[family]).sort()
}
