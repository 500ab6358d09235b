/** Upstreams of one endpoint: the address that was asked for, and its twins. */
import t from 'tap'

import { formatSocketAddress, parseSocketAddress } from '../../src/core/address.ts'
import { DirectUpstreams } from '../../src/mesh/direct-upstreams.ts'
import { ambientStore } from '../fixtures/ambient-mesh.ts'

import type { TrafficDirection } from '../../src/mesh/listener.ts'
import type { Upstream } from '../../src/mesh/upstream.ts'
import type { Workload } from '../../src/mesh/workload.ts'

function dualStackWorkload(): Workload {
  const { snapshot } = ambientStore({
    workloads: [{ uid: 'cart', name: 'cart', namespace: 'shop', workloadIps: ['10.1.0.1', 'fd00::1'] }],
  })
  const owner = snapshot.workload.get('cart')
  if (owner === undefined) throw new Error('the store has no cart')
  return owner
}

/** Name and addresses. */
function summary({ name, endpoints }: Upstream): string {
  const addresses = endpoints.flatMap((endpoint) => endpoint.addresses.map(formatSocketAddress))
  return `${name}: ${addresses.join(' ')}`
}

t.test('each destination of a workload has its own upstream, which stays the same object', async (t) => {
  const upstreams = new DirectUpstreams(undefined)
  const owner = dualStackWorkload()
  const ask = (text: string, direction: TrafficDirection = 'outbound'): Upstream =>
    upstreams.upstreamOf({ direction, destination: parseSocketAddress(text), owner })
  const questions = [
    ['10.1.0.1:80', 'outbound', 'cart:80: 10.1.0.1:80 [fd00::1]:80'],
    ['10.1.0.1:81', 'outbound', 'cart:81: 10.1.0.1:81 [fd00::1]:81'],
    ['[fd00::1]:80', 'outbound', 'cart:80: [fd00::1]:80 10.1.0.1:80'],
    ['10.1.0.1:80', 'inbound', 'InboundPassthroughCluster: 10.1.0.1:80 [fd00::1]:80'],
  ] as const
  const first = questions.map(([text, direction]) => ask(text, direction))
  t.strictSame(
    first.map(summary),
    questions.map(([, , expected]) => expected),
  )
  questions.forEach(([text, direction], index) => t.equal(ask(text, direction), first[index]))
  t.not(
    upstreams.upstreamOf({
      direction: 'outbound',
      destination: parseSocketAddress('10.1.0.1:80'),
      owner: dualStackWorkload(),
    }),
    first[0],
    'that of a workload that has changed is another',
  )
})

t.test('asking for ever more ports keeps no more than a few upstreams', async (t) => {
  const upstreams = new DirectUpstreams(undefined)
  const owner = dualStackWorkload()
  const ask = (port: number): Upstream =>
    upstreams.upstreamOf({
      direction: 'outbound',
      destination: parseSocketAddress(`10.1.0.1:${port}`),
      owner,
    })
  const first = ask(1)
  for (let port = 2; port < 20; port++) ask(port)
  t.not(ask(1), first)
  t.equal(ask(19), ask(19))
})

t.test('an upstream can be sent to another thread', async (t) => {
  const upstream = new DirectUpstreams(undefined).upstreamOf({
    direction: 'outbound',
    destination: parseSocketAddress('10.1.0.1:80'),
    owner: dualStackWorkload(),
  })
  t.strictSame(structuredClone(upstream), upstream)
})

t.test('a pod of the node of outbound clients is told apart, and no other', async (t) => {
  const destination = parseSocketAddress('10.1.0.1:80')
  const isBesideClient = (direction: TrafficDirection, clientNode: string): boolean | undefined => {
    const owner = { ...dualStackWorkload(), node: 'node-a' }
    const { endpoints } = new DirectUpstreams(clientNode).upstreamOf({ direction, destination, owner })
    return endpoints[0]?.isBesideClient
  }
  t.equal(isBesideClient('outbound', 'node-a'), true)
  t.equal(isBesideClient('outbound', 'node-b'), undefined)
  t.equal(isBesideClient('inbound', 'node-a'), undefined, 'the client is elsewhere then')
})
