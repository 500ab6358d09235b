/** Policies of captured pods that change while connections live. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { APP_PORT } from '../fixtures/pod-lab.ts'
import { PolicyLab, cidrOf } from '../fixtures/policy-lab.ts'

import type { HostConnection } from '../fixtures/namespace-host.ts'
import type { LabHost } from '../fixtures/pod-lab.ts'

if (requireNamespaces(t)) {
  t.test('a change of policies', async (t) => {
    const lab = await PolicyLab.start(t)
    const { server, friend, stranger, outside, captured } = lab

    await t.test(
      'rule 12: ends the live connections that are denied now, over both families, and no others',
      async (t) => {
        await lab.enforce([])
        const open = (from: LabHost): Promise<readonly HostConnection[]> =>
          Promise.all(
            FAMILIES.map(async (family) => {
              const connection = await lab.host(from).open(server.address(family), APP_PORT)
              t.match(await connection.ask('before'), /: before$/)
              return connection
            }),
          )
        const [denied, ofStranger, ofHost] = await Promise.all([friend, stranger, outside].map(open))
        await lab.enforce([lab.policy('Deny', { sourceIps: FAMILIES.map((each) => cidrOf(friend, each)) })])
        // Through the proxy of the client.
        for (const { ended } of denied ?? []) t.equal(await ended, 'rst')
        for (const family of FAMILIES) {
          const line = await captured.only.agent.logOf(
            (each) => each['close_reason'] === 'policy_changed' && each['family'] === family,
          )
          t.match(line, { direction: 'inbound', 'src.workload': 'client', 'src.namespace': 'shop' })
        }
        for (const connection of [...(ofStranger ?? []), ...(ofHost ?? [])]) {
          t.match(await connection.ask('after'), /: after$/)
          await connection.finish()
          t.equal(await connection.ended, 'fin')
        }
      },
    )
  })
}
