/** The Envoy dialect from a real istiod, over both protocols of ADS: a sidecar of the client, and one of a server. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'
import { ADMIN_PORT } from './ambient-state.ts'
import { becomes } from './becomes.ts'
import { answeredBy } from './calls.ts'
import { knownEndpoints, knownListeners } from './envoy-state.ts'
import { forEachIstio } from './istio-binaries.ts'
import { startSidecar } from './mesh-agents.ts'
import { createMeshLab } from './mesh-lab.ts'
import {
  ADDED_POD,
  CALLS,
  DUAL_VIPS,
  ECHO_PORT,
  IPV4_SERVICE_AS_DUAL,
  IPV4_VIPS,
  PODS,
  REPLACEMENT_POD,
  SLEEP,
} from './scenario.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { IstioBinaries } from './istio-binaries.ts'
import type { AddressPair, EchoPod } from './scenario.ts'
import type { AdsProtocol } from './sidecar-bootstrap.ts'

const DUAL_CLUSTER = `outbound|${ECHO_PORT}||tcp-echo.dual-stack.svc.cluster.local`

/** How an endpoint or a listener is shown. */
function bothAt(addresses: AddressPair, port = ECHO_PORT): string {
  return FAMILIES.map((family) => socketText(addresses[family], port)).join(' ')
}

/**
 * The families in which the dual-stack service, whose primary one is IPv6, has a listener: Istio 1.24 gives it only one of
 * IPv4, with the address twice (istio/istio#55577).
 */
function listenedFamilies({ version }: IstioBinaries): readonly Family[] {
  return version.startsWith('1.24.') ? ['ipv4'] : ['ipv6', 'ipv4']
}

async function testClient(t: Test, binaries: IstioBinaries, apiType: AdsProtocol): Promise<void> {
  const lab = await createMeshLab(t, binaries)
  const { cluster, clientHost, controlPlane, nodeHost } = lab
  await controlPlane.startIstiod({ isAmbient: false })
  const agent = await startSidecar(t, lab.node, { pod: SLEEP, apiType })
  const families = listenedFamilies(binaries)
  const dualEndpoints = async (): Promise<readonly string[] | undefined> =>
    (await knownEndpoints(nodeHost))[DUAL_CLUSTER]
  const reaches = async (t: Test, pods: readonly EchoPod[]): Promise<void> => {
    for (const family of families) await answeredBy(t, clientHost, { host: DUAL_VIPS[family], family, pods })
  }

  await t.test(
    'knows each service and each endpoint once, with the addresses of both families',
    async (t) => {
      await becomes(
        t,
        'the endpoints',
        dualEndpoints,
        PODS.dual.map(({ addresses }) => bothAt(addresses)),
      )
      t.match(await knownListeners(nodeHost), {
        [`${families.map((family) => DUAL_VIPS[family])[0]}_${ECHO_PORT}`]: families
          .map((family) => socketText(DUAL_VIPS[family], ECHO_PORT))
          .join(' '),
        [`${IPV4_VIPS.ipv4}_${ECHO_PORT}`]: socketText(IPV4_VIPS.ipv4, ECHO_PORT),
        virtualOutbound: '0.0.0.0:15001 [::]:15001',
        virtualInbound: '0.0.0.0:15006 [::]:15006',
      })
      for (const family of FAMILIES) {
        t.equal((await agent.listener('virtualOutbound', family)).state, 'bound')
        t.equal((await agent.listener('virtualInbound', family)).state, 'bound')
      }
    },
  )

  await t.test('is read by istioctl', async (t) => {
    const dump = await nodeHost.get(ADMIN_PORT, '/config_dump?include_eds')
    const statuses = await nodeHost.get(ADMIN_PORT, '/clusters?format=json')
    const read = (table: string, input: string): Promise<string> =>
      controlPlane.istioctl(['proxy-config', table, '--file', '-'], input)
    const listeners = await read('listeners', dump)
    const vips = families.map((family) => DUAL_VIPS[family]).join()
    t.match(listeners, new RegExp(`${vips} +${ECHO_PORT} +ALL +Cluster: outbound.9000..tcp-echo.dual-stack`))
    t.match(listeners, /0\.0\.0\.0,:: +15006 /)
    t.match(await read('clusters', dump), /tcp-echo\.dual-stack\.svc\.cluster\.local +9000 +- +outbound +EDS/)
    t.match(
      await read('endpoints', statuses),
      /10\.244\.2\.2:9000 +HEALTHY +OK +outbound.9000..tcp-echo.dual-stack/,
    )
  })

  for (const { service, family, host, pods } of CALLS) {
    if (service === 'dual-stack' && !families.includes(family)) continue
    await t.test(`rule 5: ${family} to tcp-echo in ${service} is answered over ${family}`, async (t) => {
      await answeredBy(t, clientHost, { host, family, pods })
      const asked = socketText(host, ECHO_PORT)
      t.match(await agent.logOf((line) => line['dst.original'] === asked), {
        family,
        upstream_family: family,
      })
    })
  }

  await t.test('follows a pod that gets a second family, loses the first and goes', async (t) => {
    const kept = PODS.dual.map(({ addresses }) => bothAt(addresses))
    const { ipv4, ipv6 } = ADDED_POD.addresses
    await cluster.setPods({ ...ADDED_POD, addresses: { ipv4 } })
    await becomes(t, 'ipv4 alone', dualEndpoints, [...kept, socketText(ipv4, ECHO_PORT)])
    if (families.includes('ipv6'))
      await answeredBy(t, clientHost, { host: DUAL_VIPS.ipv6, family: 'ipv6', pods: PODS.dual })
    const open = await clientHost.open(DUAL_VIPS.ipv4, ECHO_PORT)

    await cluster.setPods(ADDED_POD)
    await becomes(t, 'both', dualEndpoints, [...kept, bothAt(ADDED_POD.addresses)])
    await reaches(t, [...PODS.dual, ADDED_POD])

    await cluster.setPods({ ...ADDED_POD, addresses: { ipv6 } })
    await becomes(t, 'ipv6 alone', dualEndpoints, [...kept, socketText(ipv6, ECHO_PORT)])
    await answeredBy(t, clientHost, { host: DUAL_VIPS.ipv4, family: 'ipv4', pods: PODS.dual })

    await cluster.deletePod(ADDED_POD)
    await becomes(t, 'gone', dualEndpoints, kept)
    await reaches(t, PODS.dual)
    t.match(await open.ask('after'), /: after$/, 'rule 12: the connection lives on')
  })

  await t.test('a service that becomes dual-stack is reached over both families', async (t) => {
    await cluster.setServices(IPV4_SERVICE_AS_DUAL)
    await becomes(
      t,
      'both addresses',
      async () => (await knownListeners(nodeHost))[`${IPV4_VIPS.ipv4}_${ECHO_PORT}`],
      bothAt(IPV4_VIPS),
    )
    for (const family of FAMILIES)
      await answeredBy(t, clientHost, { host: IPV4_VIPS[family], family, pods: PODS.ipv4 })
  })

  await t.test('serves while istiod is gone, and learns afterwards what has changed', async (t) => {
    const [kept, deleted] = PODS.dual
    const open = await clientHost.open(kept.addresses.ipv6, ECHO_PORT)
    await controlPlane.killIstiod()
    await becomes(t, 'not connected', () => agent.metric('twinstack_xds_connected'), 0)
    await cluster.deletePod(deleted)
    await cluster.setPods(REPLACEMENT_POD)
    await reaches(t, PODS.dual)

    await controlPlane.startIstiod({ isAmbient: false })
    const now = [kept, REPLACEMENT_POD]
    await becomes(
      t,
      'the endpoints',
      dualEndpoints,
      now.map(({ addresses }) => bothAt(addresses)),
    )
    await reaches(t, now)
    t.match(await open.ask('after'), /: after$/, 'rule 12: the connection lives on')
  })

  await t.test('with the flag of istiod off, both addresses of a pod are one endpoint', async (t) => {
    await controlPlane.killIstiod()
    await controlPlane.startIstiod({ isAmbient: false, isDualStack: false })
    // istiod sends an endpoint for each address, capturing listeners of IPv4 alone, and of a service its primary family.
    await becomes(
      t,
      'the listeners',
      async () => (await knownListeners(nodeHost))['virtualInbound'],
      '0.0.0.0:15006',
    )
    const now = [PODS.dual[0], REPLACEMENT_POD]
    // The addresses of one endpoint are in no order that means something.
    await becomes(
      t,
      'the endpoints',
      async () => (await dualEndpoints())?.map((line) => line.split(' ').sort().join(' ')).sort(),
      now.map(({ addresses }) => bothAt(addresses)),
    )
    await answeredBy(t, clientHost, { host: IPV4_VIPS.ipv4, family: 'ipv4', pods: PODS.ipv4 })
  })
}

if (requireNamespaces(t)) {
  for (const apiType of ['GRPC', 'DELTA_GRPC'] as const)
    forEachIstio(t, `the sidecar of a client over ${apiType}`, (t, binaries) =>
      testClient(t, binaries, apiType),
    )

  forEachIstio(t, 'the sidecar of a server', async (t, binaries) => {
    const lab = await createMeshLab(t, binaries)
    const { clientHost, controlPlane, server } = lab
    await controlPlane.startIstiod({ isAmbient: false })
    const [pod] = PODS.dual
    // As istio-iptables does: what comes in is captured, and the source of what the sidecar sends is an own address.
    server.ip('addr add ::6/128 dev lo nodad')
    server.nft(`
table inet capture {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "eth0" tcp dport ${ECHO_PORT} redirect to :15006
  }
}`)
    await startSidecar(t, lab.node, { pod: SLEEP, apiType: 'GRPC' })
    await startSidecar(t, server, { pod, apiType: 'GRPC' })

    const sources: AddressPair = { ipv4: '127.0.0.6', ipv6: '::6' }
    for (const family of FAMILIES) {
      await t.test(`rule 9: passes ${family} on from ${sources[family]}`, async (t) => {
        const host = pod.addresses[family]
        const { received } = await clientHost.exchange(host, ECHO_PORT, 'hello')
        t.equal(received, `${host} ${ECHO_PORT} from ${sources[family]}: hello`)
      })
    }
  })
}
