/**
 * Ports for one lab. They come from below the range that kernels give to outgoing connections: a port that was free a
 * moment ago stays free although the clients of a bench open thousands of connections.
 */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'

import { LOOPBACK } from '../../test/fixtures/loopback.ts'

import type { Family } from '../../src/core/family.ts'

const LOWEST = 16_000
const HIGHEST = 32_000

/** Finds `count` different ports that are free on the loopback addresses of all `families`. */
export async function findFreePorts(count: number, families: readonly Family[]): Promise<readonly number[]> {
  const found: number[] = []
  const first = randomInt(LOWEST, HIGHEST)
  for (let step = 0; step < HIGHEST - LOWEST && found.length < count; step++) {
    const port = LOWEST + ((first - LOWEST + step) % (HIGHEST - LOWEST))
    if (await isFree(port, families)) found.push(port)
  }
  if (found.length < count) throw new Error(`there are no ${count} free ports from ${LOWEST} to ${HIGHEST}`)
  return found
}

async function isFree(port: number, families: readonly Family[]): Promise<boolean> {
  for (const family of families) {
    const server = net.createServer()
    try {
      server.listen({ host: LOOPBACK[family], port, ipv6Only: true })
      await once(server, 'listening')
      server.close()
      await once(server, 'close')
    } catch {
      // Taken; the caller tries the next one.
      return false
    }
  }
  return true
}
