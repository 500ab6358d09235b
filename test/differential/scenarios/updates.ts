/** Endpoints that change while the proxy runs. */
import { renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { address, lbEndpoint, loadAssignment } from '../../xds-client/resources/envoy-documents.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { answerOf, call, open } from '../clients.ts'
import { instance } from '../network.ts'
import { text } from '../observation.ts'
import { PORTS } from '../servers.ts'

import type { Message } from '../../xds-client/resources/envoy-documents.ts'
import type { Details, Lab, Scenario } from '../scenario.ts'

/** A change is in force after this, or never: twinstack looks at files twice a second, and twice at a changed one. */
const SETTLED_MS = 6_000
const HOST = '127.0.0.1'
const NOBODY = 9_090

/** Puts a file of endpoints into the place of another, as Envoy wants it. */
function replace({ proxy }: Lab, name: string, endpoints: readonly Message[]): void {
  const type = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment'
  const assignment = loadAssignment(endpoints, {}, { '@type': type, cluster_name: name })
  writeAndRename(proxy.folder, name, JSON.stringify({ resources: [assignment] }))
}

function writeAndRename(folder: string, name: string, content: string): void {
  const file = path.join(folder, `updates-${name}-eds.yaml`)
  writeFileSync(`${file}.new`, content)
  renameSync(`${file}.new`, file)
}

/** Who answers once a change has had its time, at once if it shows earlier. */
async function answerAfter(port: number, before: string): Promise<string> {
  const deadline = performance.now() + SETTLED_MS
  for (;;) {
    const answer = answerOf(await call({ host: HOST, port }))
    if (answer !== before || performance.now() > deadline) return answer
    await sleep(100)
  }
}

/** An instance goes, with a connection to it that is open. */
async function endpoints(lab: Lab): Promise<Details> {
  const sockets = lab.servers.openAt(instance(1, 'ipv4'), PORTS.hold)
  const connection = open({ host: HOST, port: 18_101 })
  await eventually('the connection is relayed', () => sockets.size === 1)
  replace(lab, 'endpoints', [lbEndpoint('10.55.0.2', PORTS.banner)])
  const probe = async (): Promise<string> => {
    const attempt = open({ host: HOST, port: 18_101 })
    const seen = await Promise.race([attempt.ended, sleep(100)])
    attempt.socket.destroy()
    return seen === undefined ? 'nobody yet' : answerOf(seen)
  }
  let answer = ''
  await eventually('the change is in force', async () => (answer = await probe()) !== 'nobody yet')
  connection.socket.write('still here')
  const end = await Promise.race([connection.ended, sleep(300)])
  connection.socket.destroy()
  return {
    'who answers': text(answer),
    'the open connection': text(end === undefined ? 'stays' : end.end.toUpperCase()),
  }
}

/** Only what comes behind the first address of an instance changes. */
async function addresses(lab: Lab): Promise<Details> {
  const withSecond = (second: string): readonly Message[] => [
    lbEndpoint(
      '10.55.0.2',
      NOBODY,
      {},
      { additional_addresses: [{ address: address(second, PORTS.banner) }] },
    ),
  ]
  const before = answerOf(await call({ host: HOST, port: 18_102 }))
  replace(lab, 'addresses', withSecond('10.55.0.4'))
  return { before: text(before), after: text(await answerAfter(18_102, before)) }
}

/** One of two instances becomes unhealthy, the other one healthy. */
async function health(lab: Lab, unhealthy: string, healthy: string): Promise<Details> {
  const before = answerOf(await call({ host: HOST, port: 18_103 }))
  replace(lab, 'health', [
    lbEndpoint(unhealthy, PORTS.banner, { health_status: 'UNHEALTHY' }),
    lbEndpoint(healthy, PORTS.banner, { health_status: 'HEALTHY' }),
  ])
  return { before: text(before), after: text(await answerAfter(18_103, before)) }
}

async function mistake({ proxy }: Lab): Promise<Details> {
  const before = answerOf(await call({ host: HOST, port: 18_104 }))
  writeAndRename(proxy.folder, 'mistake', '{ "resources": [')
  return { before: text(before), after: text(await answerAfter(18_104, before)) }
}

export const UPDATES: Scenario = {
  file: 'updates',
  otherFiles: ['endpoints', 'addresses', 'health', 'mistake'].map((name) => `updates-${name}-eds`),
  cases: {
    'an instance is replaced': endpoints,
    'an additional address is replaced': addresses,
    'an instance becomes unhealthy': (lab) => health(lab, '10.55.0.1', '10.55.0.2'),
    'the new file is no file of endpoints': mistake,
    'another file while that one is wrong': (lab) => health(lab, '10.55.0.2', '10.55.0.1'),
  },
}
