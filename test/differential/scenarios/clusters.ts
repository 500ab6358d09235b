/** How endpoints are chosen, and how many connections they get. */
import { answerOf, call, callInTurn, callTimes, open, outcomeOf } from '../clients.ts'
import { shares, text, texts } from '../observation.ts'
import { PORTS } from '../servers.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { instance } from '../network.ts'
import { clusterHosts, dumpedClusters } from '../admin.ts'

import type { OpenConnection, Target } from '../clients.ts'
import type { Observation } from '../observation.ts'
import type { Case, Details, Lab, Scenario } from '../scenario.ts'

const SAMPLE = 400
/** Enough to tell half from all. */
const FEW = 100
/** A proxy has let go of a connection after this, or never. */
const LATEST_MS = 5_000

const IPV4 = '127.0.0.1'
const IPV6 = '::1'

/** Which endpoints the connections of an IPv4 client get to. */
async function sharesOf(port: number): Promise<Observation> {
  return shares((await callTimes(SAMPLE, { host: IPV4, port })).map(answerOf))
}

/** The same, each connection after the one before has ended, so that it knows what that one found out. */
async function sharesInTurn(port: number, host = IPV4): Promise<Observation> {
  return shares((await callInTurn(FEW, { host, port })).map(answerOf))
}

function sharesAt(ports: Readonly<Record<string, number>>): Case {
  return async () => {
    const details: Record<string, Observation> = {}
    for (const [name, port] of Object.entries(ports)) details[name] = await sharesOf(port)
    return details
  }
}

/** Which address clients of each family get to. Two calls: the first of them may be the one that finds out. */
async function byFamily(port: number): Promise<Details> {
  const answers = async (host: string): Promise<Observation> => {
    const first = answerOf(await call({ host, port }))
    const second = answerOf(await call({ host, port }))
    return text(first === second ? first : `${first}, then ${second}`)
  }
  return { 'IPv4 client': await answers(IPV4), 'IPv6 client': await answers(IPV6) }
}

/** Opens so many connections, one after the other, each established at an instance or ended before the next. */
async function openTimes(
  count: number,
  target: Target,
  { servers }: Lab,
  instances: readonly number[],
): Promise<OpenConnection[]> {
  const openCount = (): number =>
    instances.reduce((sum, each) => sum + servers.openAt(instance(each, 'ipv4'), PORTS.hold).size, 0)
  const connections: OpenConnection[] = []
  for (let index = 0; index < count; index++) {
    const before = openCount()
    const connection = open(target)
    let hasEnded = false
    void connection.ended.then(() => (hasEnded = true))
    await eventually('the connection is relayed or has ended', () => hasEnded || openCount() > before)
    connections.push(connection)
  }
  return connections
}

async function closeAll(
  connections: readonly OpenConnection[],
  { servers }: Lab,
  instances: readonly number[],
): Promise<void> {
  for (const { socket } of connections) socket.destroy()
  await eventually('the servers have none left', () =>
    instances.every((each) => servers.openAt(instance(each, 'ipv4'), PORTS.hold).size === 0),
  )
}

/** How a connection beyond the limit ends, and one after another has ended. */
async function limited(lab: Lab): Promise<Details> {
  const target = { host: IPV4, port: 11_022 }
  const connections = await openTimes(3, target, lab, [4])
  const third = connections[2]
  if (third === undefined) throw new TypeError('there are three connections')
  const seen = await third.ended
  connections[0]?.socket.destroy()
  await eventually('one has ended', () => lab.servers.openAt(instance(4, 'ipv4'), PORTS.hold).size === 1)
  const relayed = (): number => lab.servers.openAt(instance(4, 'ipv4'), PORTS.hold).size
  // The server knows of the end before the proxy does, which closes connections beyond its limit until then.
  const deadline = performance.now() + LATEST_MS
  while (relayed() < 2 && performance.now() < deadline)
    connections.push(...(await openTimes(1, target, lab, [4])))
  const after = text(`${relayed()} relayed`)
  await closeAll(connections, lab, [4])
  return { 'the third of two': text(outcomeOf(seen)), 'after one has ended': after }
}

async function unlimited(lab: Lab): Promise<Details> {
  const connections = Array.from({ length: 1_050 }, () => open({ host: IPV4, port: 11_023 }))
  let ended = 0
  for (const connection of connections) void connection.ended.then(() => ended++)
  const relayed = (): number => lab.servers.openAt(instance(5, 'ipv4'), PORTS.hold).size
  await eventually('each is relayed or has ended', () => relayed() + ended === connections.length, 10_000)
  const observation = text(`${relayed()} of ${connections.length} relayed`)
  await closeAll(connections, lab, [5])
  return { connections: observation }
}

/** Connections that stay count against their endpoint. */
async function leastRequest(lab: Lab): Promise<Details> {
  const instances = [1, 2, 3]
  const connections = await openTimes(60, { host: IPV4, port: 11_004 }, lab, instances)
  const counts = instances.map((each) => lab.servers.openAt(instance(each, 'ipv4'), PORTS.hold).size)
  await closeAll(connections, lab, instances)
  const isEven = counts.every((count) => Math.abs(count - 20) <= 3)
  return { 'held connections': text(isEven ? 'even' : counts.join(' ')) }
}

/** Shares with an endpoint that refuses, or two of them, and how many are out after. */
async function ejection(lab: Lab, name: string, port: number): Promise<Details> {
  const seen = await callInTurn(FEW, { host: IPV4, port })
  const hosts = (await clusterHosts(lab.proxy))[name] ?? ''
  return {
    'some connections failed': text(seen.some(({ received }) => received === '') ? 'yes' : 'no'),
    'hosts that are ejected': text(String(hosts.match(/ejected/g)?.length ?? 0)),
    'who answers then': await sharesInTurn(port),
  }
}

export const CLUSTERS: Scenario = {
  file: 'clusters',
  otherFiles: ['clusters-eds', 'clusters-twins-eds'],
  cases: {
    // Before anything is known of the endpoints.
    '/clusters': async ({ proxy }) => texts(await clusterHosts(proxy)),
    'clusters in /config_dump': async ({ proxy }) => texts(await dumpedClusters(proxy)),
    'load balancing': sharesAt({ 'round robin': 11_001, 'by weight': 11_002, random: 11_003 }),
    'least request': leastRequest,
    'health status': sharesAt({
      'of each kind': 11_005,
      'half of the first priority': 11_006,
      'the whole first priority': 11_032,
      'overprovisioning factor 200': 11_007,
      panic: 11_008,
      'panic threshold 0': 11_009,
      'nothing healthy, panic threshold 0': 11_010,
    }),
    localities: sharesAt({ weighted: 11_011, 'weights without effect': 11_012 }),
    'an instance with both families': () => byFamily(11_013),
    'happy_eyeballs_config V6': () => byFamily(11_014),
    'happy_eyeballs_config V4': () => byFamily(11_015),
    'the first address refuses': () => byFamily(11_016),
    'the first address refuses, two of the first family': () => byFamily(11_017),
    'an instance with IPv4 only': () => byFamily(11_018),
    'an instance with IPv6 only': () => byFamily(11_019),
    EDS: async () => ({
      'of an IPv4 client': await sharesOf(11_020),
      'of an IPv6 client': shares((await callTimes(SAMPLE, { host: IPV6, port: 11_020 })).map(answerOf)),
    }),
    'two endpoints that are one instance': async () => ({
      'of an IPv4 client': await sharesInTurn(11_021),
      'of an IPv6 client': await sharesInTurn(11_021, IPV6),
    }),
    'max_connections 2': limited,
    'max_connections not set': unlimited,
    'one of two endpoints refuses': async () => ({
      'by default': await sharesInTurn(11_024),
      'max_connect_attempts 1': await sharesInTurn(11_025),
      'max_connect_attempts 3': await sharesInTurn(11_026),
    }),
    'the first priority refuses': async () => ({ shares: await sharesInTurn(11_033) }),
    'outlier detection': (lab) => ejection(lab, 'ejecting', 11_027),
    'outlier detection of local errors': (lab) => ejection(lab, 'ejecting-local-origin', 11_028),
    'outlier detection that is not enforced': (lab) => ejection(lab, 'not-ejecting', 11_029),
    'outlier detection of more than it may': (lab) => ejection(lab, 'ejecting-few', 11_030),
    always_eject_one_host: (lab) => ejection(lab, 'ejecting-one', 11_031),
  },
}
