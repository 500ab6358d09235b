/**
 * What the kernel may refuse the Linux engine. Each refusal is counted with a reason, costs no other connection and
 * leaves no descriptor. Refusals that a healthy kernel does not give on demand are made by wrapping the one call.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readdirSync } from 'node:fs'
import os from 'node:os'
import { setTimeout } from 'node:timers/promises'

import t from 'tap'

import { parseIp } from '../../../src/core/address.ts'
import { FAMILIES } from '../../../src/core/family.ts'
import { ACCEPT_PAUSE_MS } from '../../../src/proxy/linux/acceptor.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { startLinuxEngine, whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { LOOPBACK, freePort, skipUnlessDualStack } from '../../fixtures/loopback.ts'
import { aListener, dualStackMesh } from '../../fixtures/mesh-builder.ts'
import { startProxy } from '../../fixtures/proxy-lab.ts'
import { connectTcp, echo, exchange, greet, listenTcp } from '../../fixtures/tcp-servers.ts'

import type { Test } from 'tap'
import type { UpstreamSettings } from '../../../src/mesh/upstream.ts'
import type { Syscalls } from '../../../src/proxy/linux/syscalls.ts'
import type { Behaviour } from '../../fixtures/tcp-servers.ts'

const skip = (await whyNoLinuxEngine()) ?? (await skipUnlessDualStack())
const { EMFILE, ENOBUFS, ENOMEM, ECONNABORTED, ENOENT, EINVAL } = os.constants.errno
/** Descriptors that are filled and then free again, so that the program which lifts the limit can start. */
const ROOM_TO_SPAWN = 32

function openDescriptors(): readonly string[] {
  return readdirSync('/proc/self/fd')
}

/** Makes calls fail until `heal`, each with its number; `only` says which of them. */
class Fault {
  readonly errno: number
  #isActive = false
  #hasFailed = false
  count = 0

  constructor(errno: number) {
    this.errno = errno
  }

  begin(): void {
    this.#isActive = true
  }

  heal(): void {
    this.#isActive = false
  }

  /** The result of a call that fails while the fault is active. */
  call(real: () => number): number {
    this.#hasFailed = this.#isActive
    if (!this.#isActive) return real()
    this.count++
    return -1
  }

  /** The number belongs to the call that has just failed; every reader asks once. */
  errnoOr(real: () => number): number {
    const isOurs = this.#hasFailed
    this.#hasFailed = false
    return isOurs ? this.errno : real()
  }
}

type Faulty = 'socket' | 'accept4' | 'pipe2' | 'connect' | 'getsockopt' | 'splice' | 'epoll_ctl'

/** A proxy on the Linux engine in front of one dual-stack server, with one call that can be made to fail. */
async function startLab(
  t: Test,
  call: Faulty,
  errno: number,
  {
    behaviour = greet('hello'),
    settings = {},
  }: { readonly behaviour?: Behaviour; readonly settings?: Partial<UpstreamSettings> } = {},
) {
  const fault = new Fault(errno)
  let onEpollControl: (fd: number) => void = () => undefined
  const engine = await startLinuxEngine(t, (real): Syscalls => {
    const original: (...args: never[]) => number = real[call]
    return {
      ...real,
      epoll_ctl: (epoll, operation, fd, event) => {
        onEpollControl(fd)
        return real.epoll_ctl(epoll, operation, fd, event)
      },
      [call]: (...args: never[]) => fault.call(() => original(...args)),
      errno: () => fault.errnoOr(() => real.errno()),
    }
  })
  const port = await freePort()
  for (const family of FAMILIES) {
    const server = await listenTcp(LOOPBACK[family], behaviour, port)
    t.teardown(() => server.close())
  }
  const lab = await startProxy(t, dualStackMesh(port, settings), {
    clock: engine.reactor,
    transport: engine.transport,
  })
  const target = { host: LOOPBACK.ipv4, port: lab.portOf('front', 'ipv4') }
  return {
    ...engine,
    ...lab,
    fault,
    target,
    onEpollControl: (callback: (fd: number) => void) => {
      onEpollControl = callback
    },
  }
}

/** The engine serves again after its fault, and has the descriptors that it had before. */
async function serves(
  t: Test,
  { target, closed }: Awaited<ReturnType<typeof startLab>>,
  before: readonly string[],
): Promise<void> {
  const count = closed.length
  t.equal((await exchange(target, 'again')).received, 'hello again')
  await eventually('the connection has ended', () => closed.length > count)
  await eventually('no descriptor is left', () => openDescriptors().length <= before.length)
}

t.test('EMFILE on accept: what waits in the kernel is served later', { skip }, async (t) => {
  const lab = await startLab(t, 'accept4', EMFILE)
  await exchange(lab.target, 'warm up')
  const before = openDescriptors()
  lab.fault.begin()
  const waiting = exchange(lab.target, 'patience')
  await eventually('accept has been tried again', () => lab.fault.count >= 2)
  t.equal(lab.totals.closed('connection_limit'), 1, 'counted once, however often it is tried')
  t.ok(lab.fault.count < 20, 'and not in a busy loop')
  lab.fault.heal()
  t.equal((await waiting).received, 'hello patience')
  await serves(t, lab, before)
})

t.test('a listener that closes while accept pauses leaves no timer behind', { skip }, async (t) => {
  const lab = await startLab(t, 'accept4', EMFILE)
  lab.fault.begin()
  const waiting = exchange(lab.target, 'x')
  await eventually('accept has been tried', () => lab.fault.count > 0)
  const controlled: number[] = []
  lab.onEpollControl((fd) => controlled.push(fd))
  await lab.proxy.stopAccepting()
  const atStop = controlled.length
  await setTimeout(3 * ACCEPT_PAUSE_MS)
  t.equal(controlled.length, atStop, 'its number may be another descriptor by now')
  t.equal((await waiting).end, 'rst')
})

t.test('a real EMFILE: the process has no descriptor left', { skip: skip || needsPrlimit() }, async (t) => {
  const lab = await startLab(t, 'pipe2', EMFILE)
  await exchange(lab.target, 'warm up')
  const before = openDescriptors()
  const client = await connectTcp(lab.target)
  await eventually('the client has its upstream', async () =>
    (await lab.proxy.connections()).some((each) => each.upstream?.remote !== undefined),
  )
  const limitBefore = readDescriptorLimit()
  setDescriptorLimit(Math.max(...openDescriptors().map(Number)) + ROOM_TO_SPAWN)
  const fillers = fillDescriptorTable()
  try {
    client.write('still here')
    const [answer] = await new Promise<[Buffer]>((resolve) => client.once('data', (data) => resolve([data])))
    t.equal(answer.toString(), 'hello still here', 'a connection that is open is not touched')
    const failure = await new Promise<string>((resolve) => {
      lab.transport.connect(
        { to: { ip: parseIp('127.0.0.1'), port: lab.target.port }, keepalive: {} },
        {
          connected: () => resolve('connected'),
          failed: (code) => resolve(code),
        },
      )
    })
    t.equal(failure, 'descriptors_exhausted')
  } finally {
    for (const fd of fillers) closeSync(fd)
    setDescriptorLimit(limitBefore)
    client.end()
  }
  await eventually('the client has gone', () => lab.closed.length === 2)
  await serves(t, lab, before)
})

for (const [call, errno, name] of [
  ['socket', EMFILE, 'EMFILE'],
  ['socket', ENOBUFS, 'ENOBUFS'],
  ['connect', ENOBUFS, 'ENOBUFS'],
] as const) {
  t.test(
    `${name} on ${call} of an upstream: the client gets RST and the reason is counted`,
    { skip },
    async (t) => {
      const lab = await startLab(t, call, errno)
      await exchange(lab.target, 'warm up')
      const before = openDescriptors()
      lab.fault.begin()
      t.equal((await exchange(lab.target, 'x')).end, 'rst')
      lab.fault.heal()
      t.equal(lab.totals.closed('upstream_failed'), 1)
      t.equal(lab.totals.attempts('ipv4', 'failed'), 1)
      t.equal(lab.totals.attempts('ipv6', 'failed'), 1, 'the twin was tried too')
      await serves(t, lab, before)
    },
  )
}

t.test('ENOMEM on epoll: the connection is reset and counted', { skip }, async (t) => {
  const lab = await startLab(t, 'epoll_ctl', ENOMEM)
  await exchange(lab.target, 'warm up')
  const before = openDescriptors()
  lab.fault.begin()
  t.equal((await exchange(lab.target, 'x')).end, 'rst')
  lab.fault.heal()
  t.equal(lab.totals.closed('connection_limit'), 1)
  await serves(t, lab, before)
})

for (const [call, errno, name, expected] of [
  ['pipe2', ENOMEM, 'ENOMEM', ['resources_exhausted']],
  ['pipe2', EMFILE, 'EMFILE', ['descriptors_exhausted']],
  ['splice', EINVAL, 'EINVAL', []],
] as const) {
  t.test(`${name} on ${call}: a bulk transfer is copied, byte for byte`, { skip }, async (t) => {
    const lab = await startLab(t, call, errno, { behaviour: echo })
    const text = 'twinstack'.repeat(1_000_000)
    // A pipe that was had once is kept for the next transfer, so only one that cannot be spliced starts with one.
    await exchange(lab.target, call === 'splice' ? text : 'warm up')
    const before = openDescriptors()
    lab.fault.begin()
    const { received, end } = await exchange(lab.target, text)
    t.equal(received.length, text.length)
    t.ok(received === text, 'nothing lost, doubled or out of order')
    t.equal(end, 'fin')
    t.ok(lab.fault.count > 0, 'the call was tried')
    t.strictSame([...new Set(lab.pipeFailures)], expected)
    lab.fault.heal()
    await eventually('no descriptor is left', () => openDescriptors().length <= before.length)
  })
}

t.test(
  'EADDRNOTAVAIL on the source address: counted as such, and the endpoint is not blamed',
  { skip },
  async (t) => {
    const lab = await startLab(t, 'pipe2', EMFILE, {
      settings: { sourceAddresses: [{ ip: parseIp('192.0.2.9'), port: 0 }] },
    })
    const before = openDescriptors()
    t.equal(
      (await exchange(lab.target, 'x')).received,
      'hello x',
      'the other family has no source to fail with',
    )
    await eventually('it has ended', () => lab.closed.length === 1)
    t.equal(lab.totals.attempts('ipv4', 'source_unavailable'), 1)
    t.strictSame(lab.proxy.unhealthyEndpoints(), { ipv4: 0, ipv6: 0 })
    await eventually('no descriptor is left', () => openDescriptors().length <= before.length)
  },
)

t.test('a client that resets while it is accepted takes nothing with it', { skip }, async (t) => {
  const aborted = await startLab(t, 'accept4', ECONNABORTED)
  await exchange(aborted.target, 'warm up')
  const before = openDescriptors()
  aborted.fault.begin()
  const waiting = exchange(aborted.target, 'patience')
  await eventually('accept has been tried', () => aborted.fault.count > 0)
  aborted.fault.heal()
  t.equal((await waiting).received, 'hello patience')
  for (let round = 0; round < 200; round++) {
    const client = await connectTcp(aborted.target)
    client.resetAndDestroy()
  }
  await eventually('all of them have ended', () => aborted.proxy.connectionCount === 0)
  await serves(t, aborted, before)
})

t.test(
  'ENOENT on the original destination: nobody redirected it, so it is not looped',
  { skip },
  async (t) => {
    const engine = await startLab(t, 'getsockopt', ENOENT)
    engine.store.apply([
      {
        kind: 'listener',
        upsert: aListener('captured', [['127.0.0.1', 0]], 'echo', { capture: 'redirect' }),
      },
    ])
    await eventually('it is bound', () =>
      engine.proxy.listeners.some(({ listener, state }) => listener === 'captured' && state === 'bound'),
    )
    engine.fault.begin()
    const outcome = await exchange({ host: '127.0.0.1', port: engine.portOf('captured', 'ipv4') }, 'x')
    engine.fault.heal()
    t.equal(outcome.end, 'rst')
    t.equal(engine.totals.closed('destination_is_proxy'), 1)
  },
)

function needsPrlimit(): string | false {
  try {
    execFileSync('prlimit', ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'prlimit (util-linux) is not here'
  }
}

/** Opens files until the process may not have another one. */
function fillDescriptorTable(): readonly number[] {
  const opened: number[] = []
  try {
    for (;;) opened.push(openSync('/dev/null', 'r'))
  } catch {
    return opened
  }
}

function readDescriptorLimit(): number {
  const text = execFileSync('prlimit', [
    '--pid',
    String(process.pid),
    '--nofile',
    '-o',
    'SOFT',
    '--noheadings',
  ])
  return Number(text.toString())
}

function setDescriptorLimit(soft: number): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${soft}:`])
}
