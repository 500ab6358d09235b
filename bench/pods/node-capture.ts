/** The same agent where the node captures: what goes through the node's own namespace is redirected to it. */
import path from 'node:path'

import { MAIN_PATH } from '../../test/fixtures/program.ts'
import { captureAllAt } from '../lab/redirection.ts'
import { agentEnvironment } from '../proxies/agent-environment.ts'

import type { ProxyProgram } from '../proxies/proxy-program.ts'

/** @param meshText ztunnel's local file @param node the agent's own name in it */
export function nodeCaptureProgram(meshText: string, node: string): ProxyProgram {
  return {
    name: 'captured on the node',
    canFallBack: false,
    hasWorkers: true,
    describe: () => Promise.resolve('twinstack, INPOD_ENABLED=false'),
    missing: () => Promise.resolve(undefined),
    prepare: ({ folder, firstPort, workers }) => ({
      command: process.execPath,
      args: [MAIN_PATH, 'agent'],
      env: {
        LOCAL_XDS_PATH: path.join(folder, 'mesh.json'),
        INPOD_ENABLED: 'false',
        NODE_NAME: node,
        ...agentEnvironment({
          workers,
          adminPort: firstPort + 2,
          metricsPort: firstPort + 3,
          readinessPort: firstPort + 4,
        }),
        TWINSTACK_OUTBOUND_PORT: String(firstPort),
        TWINSTACK_INBOUND_PORT: String(firstPort + 1),
      },
      files: { 'mesh.json': meshText },
      capturePorts: captureAllAt(firstPort),
    }),
  }
}
