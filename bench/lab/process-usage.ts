/** What a program uses, with all of its threads and child processes, read from /proc. */
import { readFile } from 'node:fs/promises'

/** USER_HZ, which Linux fixes at 100 for everything that /proc tells. */
const TICKS_PER_SECOND = 100
const BYTES_PER_KIB = 1_024

/** Places in /proc/PID/stat counted from the state, which is field 3: utime is field 14, stime is 15 (proc(5)). */
const USER_TIME = 14 - 3
const SYSTEM_TIME = 15 - 3

/** User and system time so far, in steps of 10 ms. Rejects when the process is gone. */
export async function readCpuSeconds(pid: number): Promise<number> {
  const seconds = await Promise.all(
    (await familyOf(pid)).map(async (each) => {
      const stat = await readFile(`/proc/${each}/stat`, 'utf8')
      // The name is in parentheses and may hold spaces.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return (Number(fields[USER_TIME]) + Number(fields[SYSTEM_TIME])) / TICKS_PER_SECOND
    }),
  )
  return seconds.reduce((sum, each) => sum + each, 0)
}

/** Memory of the process that is in RAM now. Rejects when it is gone. */
export async function readRssBytes(pid: number): Promise<number> {
  const sizes = await Promise.all(
    (await familyOf(pid)).map(async (each) =>
      kibibytes(await readFile(`/proc/${each}/status`, 'utf8'), 'VmRSS'),
    ),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Memory of the whole machine that nothing uses: what it loses also counts what the kernel holds for sockets and pipes. */
export async function readFreeBytes(): Promise<number> {
  return kibibytes(await readFile('/proc/meminfo', 'utf8'), 'MemAvailable')
}

/** A line such as `VmRSS:  1234 kB`, in bytes. */
function kibibytes(text: string, name: string): number {
  const kib = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]
  if (kib === undefined) throw new Error(`/proc has no ${name}`)
  return Number(kib) * BYTES_PER_KIB
}

/** A process and its descendants. */
async function familyOf(pid: number): Promise<readonly number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  const pids = children.split(' ').filter((text) => text !== '')
  const descendants = await Promise.all(pids.map((child) => familyOf(Number(child))))
  return [pid, ...descendants.flat()]
}
