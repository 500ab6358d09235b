/**
 * What the mesh does not know of captured pods: one of their addresses, or all of it for now. Nobody can say then what the
 * policies of such a pod allow; what it calls is open to it.
 */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { HBONE_PORT } from '../../src/mesh/workload.ts'
import { POD_WAIT_MS } from '../../src/proxy/pods/pod-discovery.ts'
import { eventually } from '../fixtures/eventually.ts'
import { ANY_ADDRESS } from '../fixtures/loopback.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { APP_PORT } from '../fixtures/pod-lab.ts'
import { POLICED, PolicyLab, cidrOf } from '../fixtures/policy-lab.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { Family } from '../../src/core/family.ts'
import type { AccessLogLine } from '../fixtures/namespace-agent.ts'
import type { PolicedCall } from '../fixtures/policy-lab.ts'

/** Addresses of the server that its workload has not. */
const SECOND: Readonly<Record<Family, string>> = { ipv4: '10.244.0.99', ipv6: 'fd00:10:244::99' }
/** An edit is noticed after a second. */
const EDIT_MS = 10_000
const FIRST_PORT = 30_000
const MAX_CALLS = 3

if (requireNamespaces(t)) {
  t.test('a pod that the mesh does not know as it is', async (t) => {
    const lab = await PolicyLab.start(t)
    const { server, friend, stranger, outside, captured } = lab
    for (const family of FAMILIES) await lab.host(friend).listen(ANY_ADDRESS[family], APP_PORT)
    let lastPort = FIRST_PORT

    /** Has it call another pod. */
    const callOut = async (family: Family): Promise<{ text: string; line: AccessLogLine }> => {
      const port = ++lastPort
      const { received, end } = await lab
        .host(server)
        .exchange(friend.address(family), APP_PORT, 'hello', port)
      const line = await captured.logged('outbound', socketText(server.address(family), port))
      return { text: received === '' ? end : received, line }
    }
    /**
     * A call that is not let in. A worker waits little longer for the main thread than that waits for the mesh: where the
     * machine stalls between them the worker refuses by itself, and the call after it says more.
     */
    const refusal = async (family: Family): Promise<PolicedCall> => {
      for (let calls = 1; ; calls++) {
        const refused = await lab.call(outside, family, { port: APP_PORT + 1 })
        if (refused.line['close_reason'] !== 'internal' || calls === MAX_CALLS) return refused
      }
    }
    const forget = async (): Promise<void> => {
      captured.setMesh({ unknownPods: [POLICED] })
      await eventually(
        'it is forgotten',
        async () => !('src.workload' in (await callOut('ipv4')).line),
        EDIT_MS,
      )
    }

    await t.test('an address that the mesh does not know is judged by the policies of its pod', async (t) => {
      const deny = lab.policy('Deny', { sourceIps: FAMILIES.map((family) => cidrOf(outside, family)) })
      for (const family of FAMILIES) server.addAddress(family, SECOND[family])
      await lab.enforce([deny])
      for (const family of FAMILIES) {
        const address = SECOND[family]
        const { text, line } = await lab.call(outside, family, { address })
        t.equal(text, 'rst')
        t.match(line, { close_reason: 'policy_denied', error: new RegExp(deny.name) })
        const allowed = await lab.call(friend, family, { address })
        t.equal(allowed.text, `${address} ${APP_PORT} from ${friend.address(family)}: hello`)
        t.equal(allowed.line['dst.original'], socketText(address, APP_PORT))
      }
    })

    await t.test('one that is unknown calls others as nobody', async (t) => {
      t.match((await callOut('ipv4')).line, { 'src.workload': 'server' })
      await forget()
      for (const family of FAMILIES) {
        const { text, line } = await callOut(family)
        t.equal(text, `${friend.address(family)} ${APP_PORT} from ${server.address(family)}: hello`)
        t.match(line, { upstream_family: family, close_reason: 'finished' })
      }
    })

    await t.test('one that is unknown refuses HBONE at once, as every other does', async (t) => {
      for (const family of FAMILIES) {
        const { text, tookMs, line } = await lab.call(outside, family, { port: HBONE_PORT })
        t.equal(text, 'rst')
        t.ok(tookMs < POD_WAIT_MS, `after ${Math.round(tookMs)} ms`)
        t.match(line, { close_reason: 'mtls_required' })
      }
    })

    await t.test('rule 12: one that is unknown refuses in the end who calls it', async (t) => {
      const calling = FAMILIES.map(refusal)
      // What else changes in the mesh meanwhile ends none of them.
      const other = lab.policy('Deny', { destinationPorts: [FIRST_PORT] })
      captured.setMesh({ unknownPods: [POLICED], policies: [{ ...other, pods: [] }] })
      for (const { text, tookMs, line } of await Promise.all(calling)) {
        t.equal(text, 'rst')
        t.ok(tookMs >= POD_WAIT_MS - 5, `after ${Math.round(tookMs)} ms`)
        t.match(line, { close_reason: 'policy_denied', error: /no workload for pod shop\/server/ })
      }
    })

    await t.test(
      'one that is unknown lets callers wait until the mesh tells of it, and judges them then',
      async (t) => {
        const deny = lab.policy('Deny', { sourceIps: FAMILIES.map((family) => cidrOf(stranger, family)) })
        const waiting = [outside, stranger].flatMap((from) =>
          FAMILIES.map((family) => ({ from, family, result: lab.call(from, family) })),
        )
        captured.setMesh({ policies: [deny] })
        for (const { from, family, result } of waiting) {
          const { text, line, tookMs } = await result
          t.ok(tookMs < POD_WAIT_MS, `after ${Math.round(tookMs)} ms`)
          t.equal(text, from === stranger ? 'rst' : lab.answerTo(from, family))
          if (from === stranger)
            t.match(line, { close_reason: 'policy_denied', error: new RegExp(deny.name) })
        }
      },
    )
  })
}
