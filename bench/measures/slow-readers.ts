/** Clients that read slowly from an application that sends without end: what they hold, and whom they hold up. */
import { setTimeout as sleep } from 'node:timers/promises'

import { readFreeBytes } from '../lab/process-usage.ts'
import { redirect } from '../lab/redirection.ts'
import { measureWindow, requireSuccess, untilQuiet } from '../lab/window.ts'
import { PLAIN, withProxy } from '../proxies/running-proxy.ts'
import { CONTROL } from '../report/figures.ts'

import type { Lab } from '../lab/lab.ts'
import type { RunningProxy } from '../proxies/running-proxy.ts'
import type { Measure, MeasureContext } from './measure.ts'

/** What each of them takes a second. */
const READER_BYTES_PER_SECOND = 10_000
/** Buffers on the way are full after this. */
const FILL_MS = 3_000
/** The same in both families; one is enough to see what a proxy buffers. */
const FAMILY = 'ipv4'
const FAST = { load: 'receive', service: 'source', count: 1, family: FAMILY } as const

/** Of the kernel for each socket, at the most: with its default of 4 MiB a thousand fill the TCP memory of the machine. */
const SOCKET_BUFFER_BYTES = 256 * 1_024

/** Rows `slow-rss`, `slow-machine` and `slow-download`, the share of its speed that a fast download keeps. */
export const measureSlowReaders: Measure = async (context) => {
  const { lab, programs, rounds } = context
  const restore = await limitSocketBuffers(lab)
  try {
    for (let round = 0; round < rounds; round++) {
      await measureOne(context, undefined)
      for (const program of programs)
        await withProxy(lab, program, PLAIN, (proxy) => measureOne(context, proxy))
    }
  } finally {
    await restore()
  }
}

/** Resolves with what puts the limits back. */
async function limitSocketBuffers({ namespaces }: Lab): Promise<() => Promise<void>> {
  const names = ['net.ipv4.tcp_rmem', 'net.ipv4.tcp_wmem']
  const before = await namespaces.run('node', 'sysctl', names)
  const setAll = async (settings: readonly string[]): Promise<void> => {
    for (const place of ['node', 'server'] as const)
      await namespaces.run(place, 'sysctl', ['-qw', ...settings])
  }
  await setAll(names.map((name) => `${name}=4096 131072 ${SOCKET_BUFFER_BYTES}`))
  return () =>
    setAll(
      before
        .trim()
        .split('\n')
        .map((line) => line.replace(' = ', '=')),
    )
}

async function measureOne(context: MeasureContext, proxy: RunningProxy | undefined): Promise<void> {
  const { lab, seconds, slowReaders, figures } = context
  const alone = await measureWindow(lab, { ...FAST, proxy, seconds })
  await untilQuiet(lab)
  const [rssBefore, freeBefore] = [await proxy?.rssBytes(), await readFreeBytes()]
  await redirect(lab.namespaces, proxy?.capturePorts)
  const plan = { load: 'slow', service: 'source', family: FAMILY, proxy } as const
  const readers = await lab.startClient({ ...plan, count: slowReaders, number: READER_BYTES_PER_SECOND })
  try {
    await sleep(FILL_MS)
    const [rssAfter, freeAfter] = [await proxy?.rssBytes(), await readFreeBytes()]
    const beside = await measureWindow(lab, { ...FAST, proxy, seconds, otherConnections: slowReaders })
    requireSuccess(plan, await readers.stop())
    const subject = { family: FAMILY, unit: 'kB', isHigherBetter: false } as const
    const title = `${slowReaders.toLocaleString('en')} slow readers`
    const name = proxy?.name ?? CONTROL
    if (rssBefore !== undefined && rssAfter !== undefined) {
      figures.add(
        { ...subject, id: 'slow-rss', title: `${title}, RSS of the proxy for each` },
        name,
        (rssAfter - rssBefore) / slowReaders / 1_000,
      )
    }
    figures.add(
      { ...subject, id: 'slow-machine', title: `${title}, memory of the machine for each` },
      name,
      (freeBefore - freeAfter) / slowReaders / 1_000,
    )
    figures.add(
      {
        id: 'slow-download',
        title: `a download beside ${title}`,
        family: FAMILY,
        unit: '× alone',
        isRelative: true,
        isHigherBetter: true,
      },
      name,
      beside.downloadBytesPerSecond / alone.downloadBytesPerSecond,
    )
  } finally {
    await readers.close()
  }
}
