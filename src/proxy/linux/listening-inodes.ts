/** Which sockets listen on a port of the network namespace that the calling thread is in. proc_pid_net(5) */
import { closeSync, openSync, readSync } from 'node:fs'

import type { Family } from '../../core/family.ts'

const FILES = { ipv4: '/proc/thread-self/net/tcp', ipv6: '/proc/thread-self/net/tcp6' } as const
/** The kernel lists those that listen before the others: some 400 of them are seen, however many connections there are. */
const READ_BYTES = 65_536
/** TCP_LISTEN */
const LISTENING = '0A'
const COLUMN = { localAddress: 1, state: 3, inode: 9 } as const

/** Their inodes; none where the kernel does not tell. */
export function listeningInodes(family: Family, port: number): readonly string[] {
  const ending = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return readStart(FILES[family])
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(
      (columns) => columns[COLUMN.state] === LISTENING && columns[COLUMN.localAddress]?.endsWith(ending),
    )
    .flatMap((columns) => columns[COLUMN.inode] ?? [])
}

function readStart(file: string): string {
  let fd: number
  try {
    fd = openSync(file, 'r')
  } catch {
    // A kernel without the family has no such file.
    return ''
  }
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES)
    return buffer.toString('latin1', 0, readSync(fd, buffer))
  } finally {
    closeSync(fd)
  }
}
