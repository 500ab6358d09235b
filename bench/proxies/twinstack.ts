/** twinstack itself, as operators start it, once for each engine that is asked for. */
import path from 'node:path'

import { PACKAGE_ROOT, VERSION } from '../../src/agent/version.ts'
import { captureAllAt } from '../lab/redirection.ts'
import { renderEnvoyBootstrap } from './envoy-bootstrap.ts'

import type { ProxyProgram } from './proxy-program.ts'

export interface TwinstackOptions {
  /** Value of TWINSTACK_ENGINE. */
  readonly engine: string
  /** Where node writes CPU profiles; absent: none. */
  readonly profileFolder?: string
}

const AGENT_PATH = path.join(PACKAGE_ROOT, 'dist', 'src', 'agent', 'main.js')

/** The agent of this build. */
export function twinstackProgram({ engine, profileFolder }: TwinstackOptions): ProxyProgram {
  const profile = profileFolder === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profileFolder]
  return {
    canFallBack: true,
    hasWorkers: engine !== 'node',
    name: engine === 'auto' ? 'twinstack' : `twinstack-${engine}`,
    describe: () => Promise.resolve(`twinstack ${VERSION}, engine ${engine}`),
    missing: () => Promise.resolve(undefined),
    prepare: ({ folder, firstPort, workers, isObserved, staticServices }) => {
      const metricsPort = firstPort + 1
      return {
        command: process.execPath,
        args: [...profile, AGENT_PATH, 'agent', '-c', path.join(folder, 'mesh.json')],
        env: {
          TWINSTACK_ENGINE: engine,
          TWINSTACK_WORKERS: String(workers),
          TWINSTACK_ADMIN_PORT: String(firstPort + 2),
          TWINSTACK_METRICS_PORT: String(metricsPort),
          TWINSTACK_READINESS_PORT: String(firstPort + 3),
          TWINSTACK_ACCESS_LOG: isObserved ? path.join(folder, 'access.log') : 'off',
          TWINSTACK_LOG_LEVEL: 'error',
        },
        files: { 'mesh.json': renderEnvoyBootstrap({ capturePort: firstPort, staticServices }) },
        capturePorts: captureAllAt(firstPort),
        metricsPort,
      }
    },
  }
}
