/** What is captured of a pod and what is not, and what its applications and its clients see of each other through that. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { eventually } from '../fixtures/eventually.ts'
import { PROBE_SOURCE } from '../fixtures/in-pod-rules.ts'
import { ANY_ADDRESS, LOOPBACK } from '../fixtures/loopback.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { nc } from '../fixtures/pod-programs.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { CapturedLabOptions } from '../fixtures/captured-pods.ts'
import type { LabHost, LabPod } from '../fixtures/pod-lab.ts'

const MIB = 1_048_576
/** What the server listens on, by what it does. */
const PORTS = { describe: 9_000, answerAtEnd: 9_001, finishFirst: 9_002, echo: 9_003 } as const
const OWN_PORTS = [15_001, 15_006, 15_008] as const
const LISTENERS = ['outbound', 'inbound', 'hbone'] as const
const SERVICE = {
  namespace: 'shop',
  name: 'server',
  pods: ['shop/server'],
  families: FAMILIES,
  vips: { ipv4: '10.96.0.10', ipv6: 'fd00:96::10' },
  ports: { 80: PORTS.describe },
}
/** Connections to the proxy's own ports that come at once, and how many of its own each may cause. */
const CLIENTS = 50
const LOOPED_AT_MOST = 2

interface CaptureLab {
  readonly lab: CapturedLab
  readonly client: LabPod
  readonly server: LabPod
  readonly clientHost: NamespaceHost
  readonly serverHost: NamespaceHost
}

/** A client and a server on two nodes, or on one. */
async function startLab(
  t: Test,
  { nodes = 1, ...options }: Omit<CapturedLabOptions, 'pods'> = {},
): Promise<CaptureLab> {
  const lab = await CapturedLab.start(t, {
    ...options,
    nodes,
    pods: [
      { namespace: 'shop', name: 'client' },
      { namespace: 'shop', name: 'server', node: nodes - 1 },
    ],
    mesh: { services: [SERVICE] },
  })
  const [client, server] = [lab.pod('shop/client'), lab.pod('shop/server')]
  const clientHost = await NamespaceHost.start(t, client.network)
  const serverHost = await NamespaceHost.start(t, server.network)
  for (const family of FAMILIES) {
    for (const behaviour of ['describe', 'answerAtEnd', 'finishFirst', 'echo'] as const)
      await serverHost.listen(ANY_ADDRESS[family], PORTS[behaviour], behaviour)
  }
  return { lab, client, server, clientHost, serverHost }
}

/** How many connections the proxy of the only node has accepted in its pods. */
async function accepted({ only }: CapturedLab): Promise<number> {
  const counts = LISTENERS.flatMap((listener) =>
    FAMILIES.map((family) =>
      only.agent.metric(`twinstack_downstream_connections_total{listener="${listener}",family="${family}"}`),
    ),
  )
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0)
}

function described(server: LabPod, family: Family, peer: string): string {
  return `${server.address(family)} ${PORTS.describe} from ${peer}: hello`
}

if (requireNamespaces(t, ['nc'])) {
  t.test('a captured pod', async (t) => {
    const { lab, client, server, clientHost, serverHost } = await startLab(t)
    const { outside } = lab.lab
    const { agent } = lab.only
    const outsideHost = await NamespaceHost.start(t, outside.network)

    await t.test('probes of the kubelet reach it as they are', async (t) => {
      const before = await accepted(lab)
      for (const family of FAMILIES) {
        const args = ['-N', '-w', 15, '-s', PROBE_SOURCE[family], server.address(family), PORTS.describe]
        const { stdout } = await nc(server.node.network, args, 'hello')
        t.equal(stdout, `${described(server, family, PROBE_SOURCE[family])}\n`)
      }
      t.equal(await accepted(lab), before)
      // What comes from the node by another address is captured, and arrives as from there.
      const args = ['-N', '-w', 15, server.address('ipv6'), PORTS.describe]
      const { stdout } = await nc(server.node.network, args, 'hello')
      t.match(stdout, /: hello\n$/)
      t.equal(await accepted(lab), before + 1)
    })

    await t.test('its loopback is its own, and so is what it sends to its own addresses', async (t) => {
      const before = await accepted(lab)
      for (const family of FAMILIES) {
        for (const host of [LOOPBACK[family], server.address(family)]) {
          const { received } = await serverHost.exchange(host, PORTS.describe, 'hello')
          t.equal(received, `${host} ${PORTS.describe} from ${host}: hello`)
        }
      }
      t.equal(await accepted(lab), before)
    })

    await t.test('rule 9: its application sees each client by the address that it used', async (t) => {
      for (const family of FAMILIES) {
        const byAddress = await clientHost.exchange(server.address(family), PORTS.describe, 'hello')
        t.equal(byAddress.received, described(server, family, client.address(family)))
        const byService = await clientHost.exchange(SERVICE.vips[family], 80, 'hello')
        t.equal(byService.received, described(server, family, client.address(family)))
        const notCaptured = await outsideHost.exchange(server.address(family), PORTS.describe, 'hello')
        t.equal(notCaptured.received, described(server, family, outside.addresses[family] ?? ''))
      }
    })

    await t.test('it reaches itself by the addresses of a service of its own', async (t) => {
      for (const family of FAMILIES) {
        const { received, end } = await serverHost.exchange(SERVICE.vips[family], 80, 'hello')
        t.equal(received, described(server, family, server.address(family)))
        t.equal(end, 'fin')
        const line = await agent.logOf(
          (each) => each['src.workload'] === 'server' && each['family'] === family,
        )
        t.match(line, {
          direction: 'outbound',
          upstream_family: family,
          'dst.addr': socketText(server.address(family), PORTS.describe),
        })
      }
    })

    await t.test(
      'rule 4: the ports of its proxy are refused from everywhere, and nothing goes round',
      async (t) => {
        const before = agent.descriptors()
        for (const family of FAMILIES) {
          const callers = [
            { from: outsideHost, host: server.address(family) },
            { from: clientHost, host: server.address(family) },
            { from: serverHost, host: server.address(family) },
            { from: serverHost, host: LOOPBACK[family] },
          ]
          for (const { from, host } of callers) {
            for (const port of OWN_PORTS) {
              const { received, end } = await from.exchange(host, port, 'hello')
              t.strictSame({ received, end }, { received: '', end: 'rst' }, `${host} ${port}`)
            }
          }
          for (const port of OWN_PORTS) {
            const line = await agent.logOf(
              (each) =>
                each['dst.original'] === socketText(server.address(family), port) &&
                each['direction'] === 'inbound',
            )
            t.equal(line['close_reason'], port === 15_008 ? 'mtls_required' : 'destination_is_proxy')
          }
        }
        const acceptedBefore = await accepted(lab)
        for (const family of FAMILIES) {
          for (const port of OWN_PORTS) {
            await outsideHost.churn({
              host: server.address(family),
              port,
              total: CLIENTS,
              concurrency: CLIENTS,
              kind: 'reset',
            })
          }
        }
        const made = (await accepted(lab)) - acceptedBefore
        const most = FAMILIES.length * OWN_PORTS.length * CLIENTS * LOOPED_AT_MOST
        t.ok(made <= most, `${made} connections`)
        await agent.hasNoMoreThan(before)
      },
    )
  })

  t.test('rule 9: an application sees its own pod where sources are not preserved', async (t) => {
    const { lab, client, server, clientHost } = await startLab(t, { env: { ENABLE_ORIG_SRC: 'false' } })
    const outsideHost = await NamespaceHost.start(t, lab.lab.outside.network)
    const from: readonly (readonly [LabHost, NamespaceHost])[] = [
      [client, clientHost],
      [lab.lab.outside, outsideHost],
    ]
    for (const family of FAMILIES) {
      for (const [, host] of from) {
        const { received } = await host.exchange(server.address(family), PORTS.describe, 'hello')
        t.equal(received, described(server, family, server.address(family)))
      }
      const line = await lab.only.agent.logOf(
        (each) => each['direction'] === 'inbound' && each['family'] === family,
      )
      t.notOk('source_preserved' in line)
    }
  })

  t.test('rule 11: what goes through the captures of both ends', async (t) => {
    const { lab, server, clientHost, serverHost } = await startLab(t, { nodes: 2 })

    await t.test('half-closed either way, it goes on the other way', async (t) => {
      for (const family of FAMILIES) {
        const host = server.address(family)
        const atEnd = await clientHost.exchange(host, PORTS.answerAtEnd, 'hello')
        t.match(atEnd, { received: 'after FIN: hello', end: 'fin' })
        const connection = await clientHost.open(host, PORTS.finishFirst)
        t.equal(await connection.ended, 'fin')
        t.strictSame(await serverHost.clientEnds(ANY_ADDRESS[family], PORTS.finishFirst), [])
        await connection.finish()
        await eventually('the FIN of the client arrives', async () => {
          const ends = await serverHost.clientEnds(ANY_ADDRESS[family], PORTS.finishFirst)
          return ends.join() === 'fin'
        })
      }
    })

    await t.test('64 MiB there and back over each family arrive whole', async (t) => {
      const totalBytes = 64 * MIB
      const transfers = await Promise.all(
        FAMILIES.map((family) =>
          clientHost.transfer({ host: server.address(family), port: PORTS.echo, totalBytes, paceMs: 0 }),
        ),
      )
      for (const { result } of transfers)
        t.strictSame(await result, { receivedBytes: totalBytes, isSame: true, end: 'fin' })
      for (const { agent } of lab.nodes) {
        for (const family of FAMILIES) {
          const line = await agent.logOf(
            (each) => each['bytes_sent'] === totalBytes && each['family'] === family,
          )
          t.match(line, { bytes_recv: totalBytes, upstream_family: family, close_reason: 'finished' })
        }
      }
    })
  })
}
