/** Pods that have one family only, on a node that has both: captured, and reached all the same. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { eventually } from '../fixtures/eventually.ts'
import { arrayOf, parseJson, recordOf } from '../fixtures/json.ts'
import { ANY_ADDRESS } from '../fixtures/loopback.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { call, callerIn, described, inboundOf } from '../fixtures/pod-calls.ts'
import { APP_PORT } from '../fixtures/pod-lab.ts'

import type { Family } from '../../src/core/family.ts'
import type { LabPod } from '../fixtures/pod-lab.ts'

const ADMIN_PORT = 15_000
const LISTENERS = ['outbound', 'inbound', 'hbone'] as const
/** Of the one family that a pod is given later. */
const LATE = 'fd00:10:244::beef'
/** A family that is absent is looked for every half minute in the end. */
const PROBED_MS = 45_000

if (requireNamespaces(t)) {
  t.setTimeout(120_000)
  t.test('pods of one family on a node that has both', async (t) => {
    const lab = await CapturedLab.start(t, {
      pods: [
        { namespace: 'dual-stack', name: 'both' },
        { namespace: 'ipv4', name: 'only', families: ['ipv4'] },
        { namespace: 'ipv6', name: 'only', families: ['ipv6'] },
      ],
      env: { TWINSTACK_ADMIN_PORT: String(ADMIN_PORT), ISTIO_DUAL_STACK: 'true' },
    })
    const { agent, node } = lab.only
    const both = await callerIn(t, lab.pod('dual-stack/both'))
    const admin = await NamespaceHost.start(t, node.network)
    const stateOf = async ({ pod }: LabPod): Promise<ReturnType<typeof parseJson>> =>
      recordOf(recordOf(parseJson(await admin.get(ADMIN_PORT, '/config_dump')), 'workloadState'), pod.uid)
    const socketsOf = async (pod: LabPod, family: Family): Promise<readonly unknown[]> =>
      arrayOf(await stateOf(pod), 'listeners')
        .filter((each) => each['family'] === family)
        .map(({ listener, state }) => `${String(listener)} ${String(state)}`)
    const countOf = (listener: string, family: Family, state: string): Promise<number> =>
      agent.metric(`twinstack_pod_listeners{listener="${listener}",family="${family}",state="${state}"}`)

    for (const family of FAMILIES) {
      const only = await callerIn(t, lab.pod(`${family}/only`))
      await only.host.listen(ANY_ADDRESS[family], APP_PORT)
      await both.host.listen(ANY_ADDRESS[family], APP_PORT)
      await t.test(`rule 2: one that has ${family} only is a client and a server`, async (t) => {
        for (const [from, to] of [
          [only, both],
          [both, only],
        ] as const) {
          const { received, outbound } = await call(lab, from, { address: to.pod.address(family), family })
          t.equal(received, described(to.pod, family, from.pod.address(family)))
          t.match(outbound, { family, upstream_family: family })
          t.match(await inboundOf(lab, outbound), { upstream_family: family, source_preserved: 'true' })
        }
      })

      await t.test(
        `rule 2: what one with ${family} only lacks is absent, and costs nobody else anything`,
        async (t) => {
          const missing = otherFamily(family)
          t.match(await stateOf(only.pod), { state: 'Up', addresses: [only.pod.address(family)] })
          t.strictSame(
            await socketsOf(only.pod, missing),
            LISTENERS.map((listener) => `${listener} absent`),
          )
          for (const [pod, own] of [
            [only.pod, family],
            [both.pod, 'ipv4'],
            [both.pod, 'ipv6'],
          ] as const)
            t.strictSame(
              await socketsOf(pod, own),
              LISTENERS.map((listener) => `${listener} bound`),
            )
          for (const listener of LISTENERS) {
            t.equal(await countOf(listener, missing, 'absent'), 1)
            t.equal(await countOf(listener, missing, 'bound'), 2)
            t.equal(await countOf(listener, missing, 'failed'), 0)
          }
          t.equal(await agent.metric('twinstack_pods_pending'), 0)
          t.match(await agent.readyz(), new RegExp(`^ready\n[^]*\n {2}${missing} absent in 1 pod\n`))
        },
      )
    }

    await t.test('rule 2: a family that a pod gets later is captured from then on', async (t) => {
      const late = lab.pod('ipv4/only')
      late.addAddress('ipv6', LATE)
      await eventually(
        'its listeners are bound',
        async () => (await countOf('inbound', 'ipv6', 'bound')) === 3,
        PROBED_MS,
      )
      t.match(await stateOf(late), { addresses: [late.address('ipv4'), LATE] })
      lab.setMesh({})
      const caller = await callerIn(t, late)
      await caller.host.listen(ANY_ADDRESS.ipv6, APP_PORT + 1)
      await eventually('the mesh has the address', async () => {
        const { outbound } = await call(lab, both, { address: LATE, family: 'ipv6', port: APP_PORT + 1 })
        return outbound['dst.workload'] === 'only'
      })
      const into = await call(lab, both, { address: LATE, family: 'ipv6', port: APP_PORT + 1 })
      t.equal(into.received, described(late, 'ipv6', both.pod.address('ipv6'), APP_PORT + 1))
      t.match(await inboundOf(lab, into.outbound), { upstream_family: 'ipv6', source_preserved: 'true' })
      const outOf = await call(lab, caller, { address: both.pod.address('ipv6'), family: 'ipv6' })
      t.equal(outOf.received, described(both.pod, 'ipv6', LATE))
      t.match(outOf.outbound, { 'src.workload': 'only', 'src.namespace': 'ipv4' })
    })

    await t.test('with the dual-stack flag on, the log names pods without a family', () =>
      agent.program.logged('captured pods without ipv4, served over the other family: ipv6/only'),
    )
  })
}
