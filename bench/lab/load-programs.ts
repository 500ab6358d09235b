/** Builds the client and the server of the bench: they are C, so that neither is the narrowest place on the way. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

import { PACKAGE_ROOT } from '../../src/agent/version.ts'
import { runCommand } from './command.ts'

const SOURCE_FOLDER = path.join(PACKAGE_ROOT, 'bench', 'load')

const SOURCES = {
  client: ['client.c', 'common.c', 'samples.c', 'single.c', 'transfer.c'],
  server: ['server.c', 'common.c', 'transfer.c'],
} as const

/** The two programs, in a folder of their own. */
export interface LoadPrograms {
  readonly clientPath: string
  readonly serverPath: string
  /** Removes them. */
  close(): Promise<void>
}

/** Compiles both with gcc, which takes about a second. */
export async function buildLoadPrograms(): Promise<LoadPrograms> {
  const folder = await mkdtemp(path.join(tmpdir(), 'twinstack-bench-load-'))
  const compile = async (name: keyof typeof SOURCES): Promise<string> => {
    const target = path.join(folder, name)
    const sources = SOURCES[name].map((file) => path.join(SOURCE_FOLDER, file))
    await runCommand('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-o', target, ...sources])
    return target
  }
  const close = (): Promise<void> => rm(folder, { recursive: true, force: true })
  try {
    const [clientPath, serverPath] = await Promise.all([compile('client'), compile('server')])
    return { clientPath, serverPath, close }
  } catch (reason) {
    await close()
    throw reason
  }
}
