/** twinstack itself, as operators start it, once for each engine that is asked for. */
import { existsSync } from 'node:fs'
import path from 'node:path'

import { PACKAGE_ROOT, VERSION } from '../../src/agent/version.ts'
import { captureAllAt } from '../lab/redirection.ts'
import { agentEnvironment } from './agent-environment.ts'
import { renderEnvoyBootstrap } from './envoy-bootstrap.ts'

import type { ProxyProgram } from './proxy-program.ts'

export interface TwinstackOptions {
  /** Value of TWINSTACK_ENGINE. */
  readonly engine: string
  /** Where node writes CPU profiles; absent: none. */
  readonly profileFolder?: string
}

/** The agent of this build. */
export function twinstackProgram(options: TwinstackOptions): ProxyProgram {
  const { engine } = options
  return agentProgram(PACKAGE_ROOT, {
    ...options,
    name: engine === 'auto' ? 'twinstack' : `twinstack-${engine}`,
    description: `twinstack ${VERSION}, engine ${engine}`,
  })
}

/** The agent of another checkout that has been built under `root`, for comparison. */
export function baselineProgram(root: string, { engine }: Pick<TwinstackOptions, 'engine'>): ProxyProgram {
  return agentProgram(root, {
    engine,
    name: 'baseline',
    description: `twinstack of ${root}, engine ${engine}`,
  })
}

function agentProgram(
  root: string,
  options: TwinstackOptions & { readonly name: string; readonly description: string },
): ProxyProgram {
  const { engine, profileFolder, name, description } = options
  const agentPath = path.join(path.resolve(root), 'dist', 'src', 'agent', 'main.js')
  const profile = profileFolder === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profileFolder]
  return {
    canFallBack: true,
    hasWorkers: engine !== 'node',
    name,
    describe: () => Promise.resolve(description),
    missing: () => Promise.resolve(existsSync(agentPath) ? undefined : `there is no ${agentPath}: build it`),
    prepare: ({ folder, firstPort, workers, isObserved, staticServices }) => {
      const metricsPort = firstPort + 1
      return {
        command: process.execPath,
        args: [...profile, agentPath, 'agent', '-c', path.join(folder, 'mesh.json')],
        env: agentEnvironment({
          engine,
          workers,
          adminPort: firstPort + 2,
          metricsPort,
          readinessPort: firstPort + 3,
          ...(isObserved && { accessLog: path.join(folder, 'access.log') }),
        }),
        files: { 'mesh.json': renderEnvoyBootstrap({ capturePort: firstPort, staticServices }) },
        capturePorts: captureAllAt(firstPort),
        metricsPort,
      }
    },
  }
}
