/** The agent as a process: its end, its edits, its limits. */
import { writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'

import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { bootstrapText, clusterOf, listenerOn, writeFile } from '../fixtures/envoy-files.ts'
import { eventually } from '../fixtures/eventually.ts'
import { LOOPBACK, freePort, skipUnlessDualStack } from '../fixtures/loopback.ts'
import { startProgram } from '../fixtures/program.ts'
import { startAgent } from '../fixtures/running-agent.ts'
import { connectTcp, echo, exchange, greet, holdOpen, listenTcp } from '../fixtures/tcp-servers.ts'

import type net from 'node:net'
import type { Test } from 'tap'
import type { RunningAgent } from '../fixtures/running-agent.ts'
import type { Behaviour, TestServer } from '../fixtures/tcp-servers.ts'

const skip = await skipUnlessDualStack()

interface Lab {
  readonly agent: RunningAgent
  readonly server: TestServer
  readonly file: string
  /** Where the listener `web` is. */
  readonly port: number
}

/** An agent with one listener `web` on IPv4 that leads to a server. */
async function startLab(
  t: Test,
  behaviour: Behaviour,
  options: Parameters<typeof startAgent>[2] = {},
): Promise<Lab> {
  const server = await listenTcp('127.0.0.1', behaviour)
  t.teardown(() => server.close())
  const file = writeFile(t.testdir(), 'envoy.json', meshTo(server.port))
  const agent = await startAgent(t, ['-c', file], options)
  const { port } = await agent.listener('web', 'ipv4')
  return { agent, server, file, port }
}

function meshTo(port: number, clusterName = 'web'): string {
  return bootstrapText(
    [listenerOn('web', [['127.0.0.1', 0]], clusterName)],
    [clusterOf(clusterName, [['127.0.0.1', port]])],
  )
}

/** What comes back for one piece of data on a connection that stays. */
function ask(socket: net.Socket, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once('data', (chunk) => {
      resolve(chunk.toString())
    })
    socket.once('error', reject)
    socket.once('end', () => {
      reject(new Error(`FIN before the answer to '${text}'`))
    })
    socket.write(text)
  })
}

/** Resolves with how the other end closed a connection. */
function closing(socket: net.Socket): Promise<'fin' | 'rst'> {
  return new Promise((resolve) => {
    socket.once('end', () => {
      resolve('fin')
    })
    socket.once('error', () => {
      resolve('rst')
    })
    socket.resume()
  })
}

/** A connection to the proxy that has been relayed to its server. */
async function connectThrough(t: Test, port: number): Promise<net.Socket> {
  const socket = await connectTcp({ host: '127.0.0.1', port })
  t.teardown(() => socket.destroy())
  return socket
}

t.test('rule 13: SIGTERM closes the listeners, lets connections finish and exits with 0', async (t) => {
  const { agent, port } = await startLab(t, echo, { env: { CONNECTION_TERMINATION_DEADLINE: '30s' } })
  const socket = await connectThrough(t, port)
  t.equal(await ask(socket, 'before'), 'before')
  agent.program.signal('SIGTERM')
  await agent.program.logged('SIGTERM: draining for at most 30 s')
  await eventually('the listener refuses', async () => {
    const { end } = await exchange({ host: '127.0.0.1', port }, '')
    return end === 'refused'
  })
  t.match(await agent.readyz(), /^not ready\n {2}draining: /)
  t.equal(await ask(socket, 'while draining'), 'while draining')
  const end = closing(socket)
  socket.end()
  t.equal(await end, 'fin')
  t.strictSame(await agent.program.exit, { code: 0, signal: null })
  t.match(agent.program.stderr, 'every connection has ended')
})

t.test('rule 13: what is left at the deadline gets FIN and the log says whose it was', async (t) => {
  const { agent, port } = await startLab(t, holdOpen, { env: { CONNECTION_TERMINATION_DEADLINE: '200ms' } })
  const sockets = [await connectThrough(t, port), await connectThrough(t, port)]
  const series = 'twinstack_upstream_connections_total{downstream_family="ipv4",upstream_family="ipv4"}'
  await eventually('both are relayed', async () => (await agent.metric(series)) === 2)
  const ends = sockets.map(closing)
  agent.program.signal('SIGTERM')
  t.strictSame(await Promise.all(ends), ['fin', 'fin'])
  t.strictSame(await agent.program.exit, { code: 0, signal: null })
  t.match(agent.program.stderr, '2 connections are left and get FIN: 2 of web')
  t.equal(agent.program.stdout.match(/close_reason="drained"/g)?.length, 2, 'each has its line')
})

t.test('rule 13: a second signal ends at once', async (t) => {
  const { agent, port } = await startLab(t, holdOpen, { env: { CONNECTION_TERMINATION_DEADLINE: '1h' } })
  const socket = await connectThrough(t, port)
  const series = 'twinstack_upstream_connections_total{downstream_family="ipv4",upstream_family="ipv4"}'
  await eventually('it is relayed', async () => (await agent.metric(series)) === 1)
  const end = closing(socket)
  agent.program.signal('SIGTERM')
  await agent.program.logged('draining for at most 3600 s')
  t.notOk(agent.program.hasExited)
  agent.program.signal('SIGINT')
  await agent.program.logged('SIGINT: ending at once')
  t.equal(await end, 'fin')
  socket.end()
  t.strictSame(await agent.program.exit, { code: 0, signal: null })
  t.match(agent.program.stderr, '1 connections are left and get FIN: 1 of web')
})

t.test('SIGTERM during the start ends with 0', async (t) => {
  const clusters = ['a', 'b'].map((name) => ({
    ...clusterOf(name, [[`${name}.invalid`, 80]]),
    type: 'STRICT_DNS',
  }))
  const text = bootstrapText([listenerOn('web', [['127.0.0.1', 0]], 'a')], clusters)
  const file = writeFile(t.testdir(), 'envoy.json', text)
  // The line is written before names are resolved and listeners bound, however quickly those are done.
  const program = startProgram(t, ['agent', '-c', file])
  await program.logged('connections are carried by')
  program.signal('SIGTERM')
  t.strictSame(await program.exit, { code: 0, signal: null })
})

t.test('rule 12: an edit changes where connections go and cuts none', async (t) => {
  const { agent, file, port } = await startLab(t, echo)
  const socket = await connectThrough(t, port)
  t.equal(await ask(socket, 'before'), 'before')
  const other = await listenTcp('127.0.0.1', greet('other'))
  t.teardown(() => other.close())

  // The cluster of the live connection goes away with everything that it names.
  writeFileSync(file, meshTo(other.port, 'other'))
  await eventually('the edit is in force', async () => {
    const { received } = await exchange({ host: '127.0.0.1', port }, 'hello')
    return received === 'other hello'
  })
  t.equal(await ask(socket, 'after'), 'after')

  writeFileSync(file, 'static_resources: [')
  await agent.program.logged('was refused; the last good configuration stays')
  t.match(agent.program.stderr, /envoy\.json:1:20: error: /)
  t.equal((await exchange({ host: '127.0.0.1', port }, 'hello')).received, 'other hello')
  t.equal(await ask(socket, 'after the mistake'), 'after the mistake')

  // A listener more, and the one that the connection came in by gone.
  const clusters = [clusterOf('other', [['127.0.0.1', other.port]])]
  writeFileSync(file, bootstrapText([listenerOn('second', [['127.0.0.1', 0]], 'other')], clusters))
  await eventually('the listeners have changed', async () => !(await agent.readyz()).includes('  web '))
  const second = await agent.listener('second', 'ipv4')
  t.equal((await exchange({ host: '127.0.0.1', port: second.port }, 'hello')).received, 'other hello')
  t.equal((await exchange({ host: '127.0.0.1', port }, '')).end, 'refused')
  t.equal(await ask(socket, 'without its listener'), 'without its listener')
})

t.test('rule 2: a listener on a taken port does not stop the others and binds later', async (t) => {
  const server = await listenTcp('127.0.0.1', greet('web'))
  t.teardown(() => server.close())
  const occupier = await listenTcp('127.0.0.1', holdOpen)
  t.teardown(() => occupier.close())
  const text = bootstrapText(
    [
      listenerOn('taken', [['127.0.0.1', occupier.port]], 'web'),
      listenerOn('free', [['127.0.0.1', 0]], 'web'),
    ],
    [clusterOf('web', [['127.0.0.1', server.port]])],
  )
  const agent = await startAgent(t, ['-c', writeFile(t.testdir(), 'envoy.json', text)])
  const free = await agent.listener('free', 'ipv4')
  t.equal((await exchange({ host: '127.0.0.1', port: free.port }, 'hi')).received, 'web hi')
  const taken = await agent.listener('taken', 'ipv4')
  t.equal(taken.state, 'failed')
  t.match(taken.text, 'EADDRINUSE')
  t.equal(await agent.metric('twinstack_listener_state{listener="taken",family="ipv4",state="failed"}'), 1)

  await occupier.close()
  await eventually('it is bound', async () => (await agent.listener('taken', 'ipv4')).state === 'bound')
  t.equal((await exchange({ host: '127.0.0.1', port: taken.port }, 'hi')).received, 'web hi')
  t.equal(await agent.metric('twinstack_listener_state{listener="taken",family="ipv4",state="bound"}'), 1)
  t.equal(await agent.metric('twinstack_listener_state{listener="taken",family="ipv4",state="failed"}'), 0)
})

t.test(
  'rule 1: both families of a listener are served on one port, each by its own socket',
  { skip },
  async (t) => {
    const port = await freePort()
    const server = await listenTcp('127.0.0.1', greet('web'))
    t.teardown(() => server.close())
    const text = bootstrapText(
      [
        listenerOn(
          'web',
          [
            ['0.0.0.0', port],
            ['::', port],
          ],
          'web',
        ),
      ],
      [clusterOf('web', [['127.0.0.1', server.port]])],
    )
    const agent = await startAgent(t, ['-c', writeFile(t.testdir(), 'envoy.json', text)])
    for (const family of FAMILIES) {
      t.equal((await exchange({ host: LOOPBACK[family], port }, 'hi')).received, 'web hi')
      t.equal(
        await agent.metric(`twinstack_downstream_connections_total{listener="web",family="${family}"}`),
        1,
      )
    }
  },
)

t.test('rule 14: near the limit of descriptors clients are refused, and served again after', async (t) => {
  // Threads read many modules at once when they start.
  const limit = 160
  const { agent, server, port } = await startLab(t, echo, {
    // Only the limit differs: the shell becomes the program.
    prefix: ['sh', '-c', `ulimit -n ${limit} && exec "$@"`, 'sh'],
  })
  // The workers look every second how many are open: what was so at the start is to be over.
  await setTimeout(1_100)
  const sockets: net.Socket[] = []
  let refused = 0
  while (refused < 5 && sockets.length + refused < limit) {
    try {
      const socket = await connectThrough(t, port)
      await ask(socket, 'x')
      sockets.push(socket)
    } catch (error) {
      // RST, seen by the connect itself or by the first data.
      t.match(error, { code: 'ECONNRESET' })
      refused++
    }
  }
  t.equal(refused, 5, `of ${sockets.length + refused} connections`)
  t.ok(sockets.length * 2 < limit * 0.9, `${sockets.length} live connections`)
  t.equal(await agent.metric('twinstack_connections_closed_total{reason="connection_limit"}'), 5)
  t.match(await agent.readyz(), /^not ready\n {2}connection limit: \d+ of 160 descriptors are open/)
  for (const socket of sockets) t.equal(await ask(socket, 'still here'), 'still here')

  for (const socket of sockets) socket.end()
  await eventually('the server has none left', () => server.sockets.size === 0)
  await eventually('a client is served again', async () => {
    const { received } = await exchange({ host: '127.0.0.1', port }, 'again')
    return received === 'again'
  })
  t.match(await agent.readyz(), /^ready\n/)
})

t.test('rule 15: an agent that cannot tell which pods are of its node says so', { skip }, async (t) => {
  const file = writeFile(t.testdir(), 'mesh.yaml', 'workloads: []\n')
  const logOf = async (env: Readonly<Record<string, string>>): Promise<string> => {
    const ports = {
      TWINSTACK_OUTBOUND_PORT: String(await freePort()),
      TWINSTACK_INBOUND_PORT: String(await freePort()),
    }
    const agent = await startAgent(t, [], { env: { LOCAL_XDS_PATH: file, ...ports, ...env } })
    agent.program.signal('SIGTERM')
    await agent.program.exit
    return agent.program.stderr
  }
  t.match(await logOf({}), "set NODE_NAME to the node's name")
  t.notMatch(await logOf({ NODE_NAME: 'node-a' }), 'set NODE_NAME')
})
