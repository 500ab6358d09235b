/** A node proxy while the cluster changes under a real istiod: what it knows, and where connections go from then on. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'
import { knownServices, knownWorkloads } from './ambient-state.ts'
import { becomes } from './becomes.ts'
import { answeredBy, answererOf } from './calls.ts'
import { forEachIstio } from './istio-binaries.ts'
import { startNodeProxy } from './mesh-agents.ts'
import { createMeshLab } from './mesh-lab.ts'
import {
  ADDED_POD,
  DUAL_VIPS,
  ECHO_PORT,
  IPV4_SERVICE_AS_DUAL,
  IPV4_VIPS,
  PODS,
  REPLACEMENT_POD,
  uidOf,
} from './scenario.ts'

if (requireNamespaces(t)) {
  forEachIstio(t, 'a node proxy', async (t, binaries) => {
    const lab = await createMeshLab(t, binaries)
    const { cluster, clientHost, controlPlane, nodeHost } = lab
    await controlPlane.startIstiod()
    const agent = await startNodeProxy(t, lab, { TWINSTACK_ALLOW_PLAINTEXT: 'true' })
    const addedLine = async (): Promise<string | undefined> =>
      (await knownWorkloads(nodeHost))[uidOf(ADDED_POD)]
    const withAdded = [...PODS.dual, ADDED_POD]

    for (const family of FAMILIES) {
      const late = otherFamily(family)

      await t.test(`a pod that has ${family} first and ${late} later serves what it has`, async (t) => {
        const host = ADDED_POD.addresses[family]
        await cluster.setPods({ ...ADDED_POD, addresses: { [family]: host } })
        await becomes(t, `${family} alone`, addedLine, `${host} HBONE`)
        await answeredBy(t, clientHost, { host: DUAL_VIPS[family], family, pods: withAdded })
        // Rule 5: clients go to pods that have their family.
        await answeredBy(t, clientHost, { host: DUAL_VIPS[late], family: late, pods: PODS.dual })
        const open = await clientHost.open(host, ECHO_PORT)
        t.match(await open.ask('before'), /: before$/)

        await cluster.setPods(ADDED_POD)
        await becomes(t, 'both', addedLine, `${Object.values(ADDED_POD.addresses).join(' ')} HBONE`)
        for (const each of FAMILIES) {
          await answeredBy(t, clientHost, { host: DUAL_VIPS[each], family: each, pods: withAdded })
        }
        t.match(await open.ask('after'), /: after$/, 'rule 12: the connection lives on')
      })

      await t.test(`a pod that loses ${family} serves ${late}`, async (t) => {
        const left = ADDED_POD.addresses[late]
        const open = await clientHost.open(left, ECHO_PORT)
        t.match(await open.ask('before'), /: before$/)
        await cluster.setPods({ ...ADDED_POD, addresses: { [late]: left } })
        await becomes(t, `${late} alone`, addedLine, `${left} HBONE`)
        await answeredBy(t, clientHost, { host: DUAL_VIPS[family], family, pods: PODS.dual })
        await answeredBy(t, clientHost, { host: DUAL_VIPS[late], family: late, pods: withAdded })
        t.match(await open.ask('after'), /: after$/, 'rule 12: the connection lives on')
      })

      await t.test(`a pod that is deleted serves nobody (it had ${late})`, async (t) => {
        await cluster.deletePod(ADDED_POD)
        await becomes(t, 'no pod', addedLine, undefined)
        for (const each of FAMILIES) {
          await answeredBy(t, clientHost, { host: DUAL_VIPS[each], family: each, pods: PODS.dual })
        }
      })
    }

    await t.test('a service that becomes dual-stack is reached over both families', async (t) => {
      t.not(await answererOf(clientHost, IPV4_VIPS.ipv6), PODS.ipv4[0].addresses.ipv6)
      const open = await clientHost.open(IPV4_VIPS.ipv4, ECHO_PORT)
      t.match(await open.ask('before'), /: before$/)
      await cluster.setServices(IPV4_SERVICE_AS_DUAL)
      await becomes(
        t,
        'both addresses',
        async () => (await knownServices(nodeHost))['tcp-echo.ipv4.svc.cluster.local'],
        `Dual ${IPV4_VIPS.ipv4} ${IPV4_VIPS.ipv6} tcp-echo-0`,
      )
      for (const family of FAMILIES)
        await answeredBy(t, clientHost, { host: IPV4_VIPS[family], family, pods: PODS.ipv4 })
      t.match(await open.ask('after'), /: after$/, 'rule 12: the connection lives on')
    })

    await t.test('serves from what it knows while istiod is gone', async (t) => {
      const open = await clientHost.open(DUAL_VIPS.ipv6, ECHO_PORT)
      t.match(await open.ask('before'), /: before$/)
      const isConnected = (): Promise<number> => agent.metric('twinstack_xds_connected')
      await becomes(t, 'connected', isConnected, 1)
      await controlPlane.killIstiod()
      await becomes(t, 'not connected', isConnected, 0)
      for (const family of FAMILIES) {
        await answeredBy(t, clientHost, { host: DUAL_VIPS[family], family, pods: PODS.dual })
      }
      t.match(await agent.readyz(), /ready/)

      await controlPlane.startIstiod()
      await becomes(t, 'connected again', isConnected, 1)
      t.match(await open.ask('after'), /: after$/, 'rule 12: the connection lives on')
    })

    await t.test('learns after an outage what went and what came meanwhile', async (t) => {
      const [kept, deleted] = PODS.dual
      const open = await clientHost.open(kept.addresses.ipv4, ECHO_PORT)
      await controlPlane.killIstiod()
      await cluster.deletePod(deleted)
      await cluster.setPods(REPLACEMENT_POD)
      for (const family of FAMILIES) {
        // The last that it knew.
        await answeredBy(t, clientHost, { host: DUAL_VIPS[family], family, pods: PODS.dual })
      }

      await controlPlane.startIstiod()
      await becomes(
        t,
        'the pods behind the service',
        async () => (await knownServices(nodeHost))['tcp-echo.dual-stack.svc.cluster.local'],
        `Dual ${DUAL_VIPS.ipv6} ${DUAL_VIPS.ipv4} ${kept.name} ${REPLACEMENT_POD.name}`,
      )
      t.notHas(await knownWorkloads(nodeHost), { [uidOf(deleted)]: String })
      for (const family of FAMILIES) {
        await answeredBy(t, clientHost, { host: DUAL_VIPS[family], family, pods: [kept, REPLACEMENT_POD] })
        const asked = socketText(deleted.addresses[family], ECHO_PORT)
        await answererOf(clientHost, deleted.addresses[family])
        t.notMatch(await agent.logOf((line) => line['dst.original'] === asked), {
          'dst.workload': deleted.name,
        })
      }
      t.match(await open.ask('after'), /: after$/, 'rule 12: the connection lives on')
    })
  })
}
