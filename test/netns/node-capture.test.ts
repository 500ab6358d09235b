/** Pods that are captured on their nodes, two nodes with an agent each that has what deploy/daemonset sets there. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { NODE_CAPTURE, agentOf, environmentOf, objectIn } from '../deploy/manifests.ts'
import { writeFile } from '../fixtures/envoy-files.ts'
import { startNamespaceAgent } from '../fixtures/namespace-agent.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { MAIN_PATH } from '../fixtures/program.ts'
import { applyRules, assertPassesBy, forEachBackend } from '../fixtures/rules-lab.ts'
import { socketText } from '../fixtures/socket-text.ts'
import { CLIENT, NEIGHBOUR, POD_CIDRS, createTwoNodes, podAddress } from '../fixtures/two-nodes.ts'

import type { Test } from 'tap'
import type { Backend } from '../../src/agent/rules/rules-options.ts'
import type { Family } from '../../src/core/family.ts'
import type { NamespaceAgent } from '../fixtures/namespace-agent.ts'
import type { Namespace } from '../fixtures/namespaces.ts'
import type { TwoNodes } from '../fixtures/two-nodes.ts'

const APP_PORT = 9_000
const SERVICE_PORT = 80

/** What policies of the pods of the second node say of the client, who is alone in its namespace. */
const OF_NAMESPACE = { namespaces: [{ Exact: 'web' }] }
const OF_ADDRESS = { sourceIps: FAMILIES.map((family) => podAddress('first', CLIENT)[family]) }
const SERVERS = [
  { name: 'open', host: 10, families: FAMILIES, rule: undefined },
  { name: 'deny-namespace', host: 11, families: FAMILIES, rule: { action: 'Deny', match: OF_NAMESPACE } },
  { name: 'deny-address', host: 12, families: FAMILIES, rule: { action: 'Deny', match: OF_ADDRESS } },
  { name: 'allow-namespace', host: 13, families: FAMILIES, rule: { action: 'Allow', match: OF_NAMESPACE } },
  { name: 'deny-over-ipv4', host: 14, families: ['ipv4'], rule: { action: 'Deny', match: OF_NAMESPACE } },
  { name: 'deny-over-ipv6', host: 15, families: ['ipv6'], rule: { action: 'Deny', match: OF_NAMESPACE } },
] as const
type Server = (typeof SERVERS)[number]

/** True where the policy of a server lets the client in, and false where it lets in everybody else. */
function isForClient({ rule }: Server): boolean {
  return rule?.action !== 'Deny'
}

/** The family that answers a client of `family`. */
function servedBy({ families }: Server, family: Family): Family {
  return families.some((each) => each === family) ? family : otherFamily(family)
}

function vip(host: number): Readonly<Record<Family, string>> {
  return { ipv4: `10.96.0.${host}`, ipv6: `fd00:96::${host}` }
}

/** ztunnel's local file: pods by name and address, each server with a service. */
function meshText(): string {
  const workload = (name: string, ips: Readonly<Record<Family, string>>, rest: object): object => ({
    uid: `Kubernetes//Pod/shop/${name}`,
    name,
    namespace: 'shop',
    workloadIps: FAMILIES.map((family) => ips[family]),
    protocol: 'TCP',
    network: '',
    status: 'Healthy',
    ...rest,
  })
  const service = (name: string): object => ({
    services: { [`shop/${name}.shop`]: { [SERVICE_PORT]: APP_PORT } },
  })
  const backends = [...SERVERS, { name: 'neighbour', host: NEIGHBOUR }]
  return JSON.stringify({
    workloads: [
      workload('client', podAddress('first', CLIENT), { namespace: 'web', node: 'first' }),
      workload('neighbour', podAddress('first', NEIGHBOUR), { node: 'first', ...service('neighbour') }),
      ...SERVERS.map(({ name, host, families, rule }) =>
        workload(name, podAddress('second', host), {
          workloadIps: families.map((family) => podAddress('second', host)[family]),
          node: 'second',
          ...service(name),
          authorizationPolicies: rule === undefined ? [] : [`shop/${name}`],
        }),
      ),
    ],
    services: backends.map(({ name, host }) => ({
      name,
      namespace: 'shop',
      hostname: `${name}.shop`,
      vips: FAMILIES.map((family) => `/${vip(host)[family]}`),
      ports: { [SERVICE_PORT]: APP_PORT },
      ipFamilies: 'Dual',
    })),
    policies: SERVERS.flatMap(({ name, rule }) =>
      rule === undefined
        ? []
        : [
            {
              name,
              namespace: 'shop',
              scope: 'WorkloadSelector',
              action: rule.action,
              rules: [[[rule.match]]],
            },
          ],
    ),
  })
}

interface Captured extends TwoNodes {
  readonly agents: readonly [first: NamespaceAgent, second: NamespaceAgent]
  readonly client: NamespaceHost
  readonly neighbour: NamespaceHost
}

/** The rules on both nodes, and everything that runs. */
async function start(t: Test, backend: Backend): Promise<Captured> {
  const lab = createTwoNodes(
    t,
    SERVERS.map(({ host }) => host),
  )
  const file = writeFile(t.testdir(), 'mesh.yaml', meshText())
  const overlay = environmentOf(agentOf(objectIn(NODE_CAPTURE, 'daemonset.yaml')), {})
  const startAgent = (place: 'first' | 'second'): Promise<NamespaceAgent> => {
    const { node } = lab[place]
    applyRules(node, backend, `--mode node --pod-cidrs ${POD_CIDRS[place]}`)
    return startNamespaceAgent(t, node, [], {
      env: {
        ...overlay,
        NODE_NAME: place,
        LOCAL_XDS_PATH: file,
        TWINSTACK_ENGINE: 'linux',
        TWINSTACK_WORKERS: '1',
      },
    })
  }
  const [first, second, client, neighbour, servers] = await Promise.all([
    startAgent('first'),
    startAgent('second'),
    NamespaceHost.start(t, lab.first.client),
    NamespaceHost.start(t, lab.first.neighbour),
    NamespaceHost.start(t, lab.second.servers),
  ])
  for (const family of FAMILIES) {
    await neighbour.listen(podAddress('first', NEIGHBOUR)[family], APP_PORT)
    for (const { host } of SERVERS) await servers.listen(podAddress('second', host)[family], APP_PORT)
  }
  return { ...lab, agents: [first, second], client, neighbour }
}

/** Runs what the preStop hook of the overlay runs, or what does the same with the other backend. */
function pause(t: Test, node: Namespace, backend: Backend): void {
  if (backend === 'iptables') {
    applyRules(node, backend, '--mode node --pause')
    return
  }
  const folder = t.testdir({ bin: {} })
  mkdirSync(path.join(folder, 'bin'), { recursive: true })
  const program = `#!/bin/sh\nexec "${process.execPath}" "${MAIN_PATH}" "$@"\n`
  writeFileSync(path.join(folder, 'bin/twinstack'), program, { mode: 0o755 })
  const [command = '', ...prefix] = node.prefix
  execFileSync(command, [...prefix, '/bin/sh', `${NODE_CAPTURE}/capture.sh`, 'pause'], {
    env: { PATH: `${path.join(folder, 'bin')}:${process.env['PATH'] ?? ''}`, TMPDIR: folder },
  })
}

if (requireNamespaces(t)) {
  forEachBackend(t, 'between two nodes', async (t, backend) => {
    const { agents, first, second, client, neighbour } = await start(t, backend)
    const [ownAgent, otherAgent] = agents

    for (const family of FAMILIES) {
      const clientIp = podAddress('first', CLIENT)[family]
      const neighbourIp = podAddress('first', NEIGHBOUR)[family]

      for (const server of SERVERS) {
        const served = servedBy(server, family)
        const serverIp = podAddress('second', server.host)[served]
        const service = [vip(server.host)[family], SERVICE_PORT] as const
        const targets = served === family ? ([[serverIp, APP_PORT], service] as const) : [service]

        await t.test(`rule 10: ${family} to ${server.name} is judged by who the client is`, async (t) => {
          for (const [host, port] of targets) {
            const answerTo = (ip: string): object => ({
              received: `${serverIp} ${APP_PORT} from ${ip}: hello`,
              end: 'fin',
            })
            const refused = { received: '', end: 'rst' }
            const [ofClient, ofNeighbour] = [
              await client.exchange(host, port, 'hello'),
              await neighbour.exchange(host, port, 'hello'),
            ]
            t.match(ofClient, isForClient(server) ? answerTo(clientIp) : refused)
            const isForAll = server.rule?.action !== 'Allow'
            t.match(ofNeighbour, isForAll ? answerTo(podAddress('first', NEIGHBOUR)[served]) : refused)
          }
          const asked = socketText(...service)
          const line = await ownAgent.logOf(
            (each) => each['dst.original'] === asked && 'source_preserved' in each,
          )
          t.match(line, { source_preserved: 'true' }, 'after a fallback too')
        })
      }

      await t.test(`${family} between pods of one bridge arrives, by address and by service`, async (t) => {
        for (const [host, port] of [
          [neighbourIp, APP_PORT],
          [vip(NEIGHBOUR)[family], SERVICE_PORT],
        ] as const)
          t.match(await client.exchange(host, port, 'hello'), { end: 'fin', received: /: hello$/ })
      })

      await t.test(`${family}: the two agents on the way never take the same port`, async (t) => {
        const [open] = SERVERS
        const plan = { host: podAddress('second', open.host)[family], port: APP_PORT } as const
        const counts = await client.churn({ ...plan, total: 300, concurrency: 20, kind: 'exchange' })
        t.match(counts, { answered: 300, reset: 0, refused: 0, cut: 0 })
        const asked = socketText(plan.host, plan.port)
        await otherAgent.logOf((line) => line['dst.original'] === asked, 300)
        const ports = otherAgent
          .accessLog()
          .filter((line) => line['dst.original'] === asked)
          .map((line) => Number(/\d+$/.exec(String(line['src.addr']))?.[0]))
        t.ok(ports.length >= 300)
        t.strictSame(
          ports.filter((port) => port < 32_768 || port % 2 === 0),
          [],
          'what comes from the other agent has a port that this one does not take',
        )
      })
    }

    await t.test('what is open goes on when new connections pass by', async (t) => {
      const [{ host }] = SERVERS
      const connections = await Promise.all(
        FAMILIES.map(async (family) => {
          const target = [podAddress('second', host)[family], APP_PORT] as const
          const connection = await client.open(...target)
          t.match(await connection.ask('before'), /: before$/)
          return { connection, target, source: podAddress('first', CLIENT)[family] }
        }),
      )
      for (const { node } of [first, second]) pause(t, node, backend)
      for (const { connection, target, source } of connections) {
        t.equal(await connection.ask('after'), `${target.join(' ')} from ${source}: after`)
        for (const agent of agents) await assertPassesBy(t, agent, client, target, source)
      }
    })
  })
}
