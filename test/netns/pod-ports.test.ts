/** A pod's connection tracking sees the connection of a client and the one into the pod that has the client's address. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { APP_PORT } from '../fixtures/pod-lab.ts'

import type { NamespaceAgent } from '../fixtures/namespace-agent.ts'

const CONNECTIONS = 40

/** Whether the ports that connections were made from are even, by their own addresses in the access log. */
async function areEven(agent: NamespaceAgent, direction: string): Promise<ReadonlySet<boolean>> {
  const isWanted = (line: Readonly<Record<string, unknown>>): boolean => line['direction'] === direction
  await agent.logOf(isWanted, CONNECTIONS * FAMILIES.length)
  const lines = agent.accessLog().filter(isWanted)
  return new Set(lines.map(({ source }) => Number(/:(\d+)$/.exec(String(source))?.[1]) % 2 === 0))
}

t.test('rule 9: with the address of a client, a port is used that the client does not get', async (t) => {
  if (!requireNamespaces(t)) return
  const lab = await CapturedLab.start(t, {
    pods: [
      { namespace: 'shop', name: 'client' },
      { namespace: 'shop', name: 'server' },
    ],
  })
  const server = lab.pod('shop/server')
  const app = await NamespaceHost.start(t, server.network)
  const client = await NamespaceHost.start(t, lab.pod('shop/client').network)
  for (const family of FAMILIES) {
    const host = server.address(family)
    await app.listen(host, APP_PORT, 'echo')
    const plan = { host, port: APP_PORT, total: CONNECTIONS, concurrency: 4, kind: 'exchange' } as const
    t.match(await client.churn(plan), { answered: CONNECTIONS })
  }
  const { agent } = lab.only
  t.strictSame(await areEven(agent, 'outbound'), new Set([true]))
  t.strictSame(await areEven(agent, 'inbound'), new Set([false]))
})
