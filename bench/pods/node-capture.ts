/** The same agent where the node captures: what goes through the node's own namespace is redirected to it. */
import path from 'node:path'

import { captureAllAt } from '../lab/redirection.ts'
import { AGENT_PATH } from './captured-agent.ts'

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
      args: [AGENT_PATH, 'agent'],
      env: {
        LOCAL_XDS_PATH: path.join(folder, 'mesh.json'),
        INPOD_ENABLED: 'false',
        NODE_NAME: node,
        TWINSTACK_ENGINE: 'linux',
        TWINSTACK_WORKERS: String(workers),
        TWINSTACK_OUTBOUND_PORT: String(firstPort),
        TWINSTACK_INBOUND_PORT: String(firstPort + 1),
        TWINSTACK_ADMIN_PORT: String(firstPort + 2),
        TWINSTACK_METRICS_PORT: String(firstPort + 3),
        TWINSTACK_READINESS_PORT: String(firstPort + 4),
        TWINSTACK_ACCESS_LOG: 'off',
        TWINSTACK_LOG_LEVEL: 'error',
      },
      files: { 'mesh.json': meshText },
      capturePorts: captureAllAt(firstPort),
    }),
  }
}
