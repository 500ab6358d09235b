/**
 * Istio's tcp-echo in a lab of pods: the ground that the tests of captured pods stand on. Before anything is captured, and
 * with an agent inside each pod, which needs nobody to tell it of pods.
 */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { writeFile } from '../fixtures/envoy-files.ts'
import { startNamespaceAgent } from '../fixtures/namespace-agent.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { ambientStore } from '../fixtures/ambient-mesh.ts'
import { hostnameOf, meshNames, podMeshText, workloadUid } from '../fixtures/pod-mesh.ts'
import { nc } from '../fixtures/pod-programs.ts'
import { ECHO_SERVICES, echoVip, startTcpEchoScenario } from '../fixtures/tcp-echo-scenario.ts'

/** What istio-cni's rules let pass: SO_MARK 0x539. */
const PROXY_ENV = { PACKET_MARK: '1337', ENABLE_ORIG_SRC: 'true' }

if (requireNamespaces(t, ['nc'])) {
  t.test('tcp-echo in three namespaces', async (t) => {
    const { lab, sleep, mesh, meshText } = await startTcpEchoScenario(t)

    await t.test(
      'the client reaches each pod by its address, and the headless services by name',
      async (t) => {
        const pods = lab.pods.filter((pod) => pod !== sleep)
        const hosts = [
          ...pods.flatMap((pod) => FAMILIES.map((family) => pod.address(family))),
          ...ECHO_SERVICES.filter(({ name }) => name === 'tcp-echo-headless').map(hostnameOf),
        ]
        t.equal(hosts.length, 15)
        await Promise.all(
          hosts.map(async (host) => {
            const { stdout } = await nc(sleep.network, ['-N', '-w', 15, host, 9_000], 'dualstack')
            t.equal(stdout, 'hello dualstack\n', host)
          }),
        )
      },
    )

    await t.test('the addresses of services lead out of the pod and end at the node', async (t) => {
      for (const family of FAMILIES) {
        const vip = echoVip('dual-stack', family) ?? ''
        t.match(sleep.network.run('ip', 'route', 'get', vip), / dev eth0 /)
        const { code, stderr } = await nc(sleep.network, ['-v', '-w', 3, vip, 9_000], '')
        t.equal(code, 1)
        t.match(stderr, /unreachable|No route/)
      }
      t.equal(echoVip('ipv4', 'ipv6'), undefined)
    })

    await t.test('the mesh file is a mesh that the agent takes', async (t) => {
      const { service, policy, workload } = ambientStore(JSON.parse(meshText)).snapshot
      t.equal(workload.size, 7)
      t.equal(service.size, 6)
      t.equal(policy.size, 0)
      const denied = {
        ...mesh,
        hbonePods: ['dual-stack/tcp-echo-0'],
        policies: [
          {
            namespace: 'dual-stack',
            name: 'deny',
            action: 'Deny',
            rules: [[[{ sourceIps: ['10.0.0.0/8'] }]]],
            pods: ['dual-stack/tcp-echo-1'],
          },
        ],
      } as const
      const snapshot = ambientStore(JSON.parse(podMeshText(denied))).snapshot
      const far = lab.pod('dual-stack/tcp-echo-1')
      t.match(snapshot.workload.get(workloadUid(far)), {
        node: 'node-1',
        protocol: 'tcp',
        authorizationPolicies: ['dual-stack/deny'],
      })
      t.match(snapshot.workload.get('Kubernetes//Pod/dual-stack/tcp-echo-0'), { protocol: 'hbone' })
    })

    await t.test('with an agent inside each pod, the sample answers in all three namespaces', async (t) => {
      const file = writeFile(t.testdir(), 'mesh.yaml', meshText)
      const near = lab.pod('dual-stack/tcp-echo-0')
      const far = lab.pod('dual-stack/tcp-echo-1')
      const [clientAgent, nearAgent, farAgent] = await Promise.all(
        [sleep, near, far].map(async (pod) => {
          const env = { ...PROXY_ENV, LOCAL_XDS_PATH: file }
          const agent = await startNamespaceAgent(t, pod.network, [], { env })
          pod.redirect()
          return agent
        }),
      )
      const calls = [
        ['tcp-echo.dual-stack'],
        ['-4', 'tcp-echo.dual-stack'],
        ['-6', 'tcp-echo.dual-stack'],
        ['tcp-echo.ipv4'],
        ['tcp-echo.ipv6'],
        ...[near, far].flatMap((pod) => FAMILIES.map((family) => [pod.address(family)])),
      ]
      await Promise.all(
        calls.map(async (call) => {
          const { stdout } = await nc(sleep.network, ['-w', 3, ...call, 9_000], 'dualstack')
          t.equal(stdout, 'hello dualstack\n', call.join(' '))
        }),
      )
      for (const [agent, listener] of [
        [clientAgent, 'outbound'],
        [nearAgent, 'inbound'],
        [farAgent, 'inbound'],
      ] as const) {
        for (const family of FAMILIES) {
          const line = await agent?.logOf(
            (each) => each['listener'] === listener && each['family'] === family,
          )
          t.match(line, { 'src.workload': 'sleep', upstream_family: family, source_preserved: 'true' })
        }
      }
    })

    await t.test('names are those of the cluster: short ones in the own namespace only', async (t) => {
      const names = meshNames(mesh, 'ipv4')
      t.strictSame(
        names
          .filter(({ name }) => name.startsWith('tcp-echo.') || name === 'tcp-echo')
          .map(({ name }) => name),
        [
          'tcp-echo.dual-stack',
          'tcp-echo.dual-stack.svc.cluster.local',
          'tcp-echo',
          'tcp-echo.ipv4',
          'tcp-echo.ipv4.svc.cluster.local',
          'tcp-echo.ipv6',
          'tcp-echo.ipv6.svc.cluster.local',
        ],
      )
      t.strictSame(names[0]?.addresses, ['fd00:96::10', '10.96.0.10'], 'IPv6 first, as the service has it')
    })
  })
}
