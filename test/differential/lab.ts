/** Starts the process that looks at one proxy, in namespaces of its own that go away with it. */
import { spawn, spawnSync } from 'node:child_process'
import path from 'node:path'

import type { LabReport } from './lab-process.ts'
import type { ProxyName } from './proxies.ts'

/** Which proxy a lab is about. */
export interface LabSubject {
  readonly proxy: ProxyName
  readonly envoyPath: string
  /** Settings of twinstack, such as its engine. */
  readonly env?: Readonly<Record<string, string>>
}

const PROCESS_PATH = path.join(import.meta.dirname, 'lab-process.js')
const FILES = path.resolve('test/differential/files')
/** Of network, mounts and processes: whatever runs in them ends with the first process, and no name is left behind. */
const UNSHARE = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']

/** Why labs cannot be had here; `undefined` where they can. */
export function whyNoLab(): string | undefined {
  if (process.platform !== 'linux') return `network namespaces are of Linux, this is ${process.platform}`
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  for (const [command, ...args] of [
    ['ip', '-V'],
    ['nft', '--version'],
    ['ss', '-V'],
  ] as const)
    if (spawnSync(command, args).status !== 0) return `there is no ${command} here`
  const { status, stderr } = spawnSync('unshare', [...UNSHARE, 'true'], { encoding: 'utf8' })
  return status === 0 ? undefined : `this kernel or container makes no namespaces: ${stderr.trim()}`
}

/** A lab with one of the proxies. */
export interface RunningLab {
  /** What was seen; rejects when the process ends without a word. */
  readonly report: Promise<LabReport>
  /** Ends it and everything in it. */
  stop(): Promise<void>
}

/** Starts a lab. `folder` is for what the proxy writes. */
export function startLab({ proxy, envoyPath, env = {} }: LabSubject, folder: string): RunningLab {
  const child = spawn(
    'unshare',
    [...UNSHARE, process.execPath, '--enable-source-maps', PROCESS_PATH, proxy, envoyPath, folder, FILES],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env: { ...process.env, ...env } },
  )
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  return {
    report: new Promise((resolve, reject) => {
      child.once('message', (report: LabReport) => {
        resolve(report)
      })
      child.once('error', reject)
      void gone.then(() => {
        reject(new Error(`the lab of ${proxy} has ended without a report`))
      })
    }),
    stop: async () => {
      child.kill('SIGKILL')
      await gone
    },
  }
}
