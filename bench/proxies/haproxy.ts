/** HAProxy with one thread and splice. It has fixed servers, which spares it the question where a connection goes. */
import path from 'node:path'

import { readDescriptorLimit } from '../../src/agent/metrics/process-stats.ts'
import { hasCommand, runCommand } from '../lab/command.ts'
import { fixedPorts, fixedRoutes } from './fixed-ports.ts'

import type { FixedRoute } from './fixed-ports.ts'
import type { ProxyProgram } from './proxy-program.ts'

/** Enough for a slow reader each. */
const MAX_PIPES = 1_100
const OWN_DESCRIPTORS = 100

/** HAProxy from the PATH. */
export const HAPROXY: ProxyProgram = {
  name: 'haproxy',
  hasWorkers: true,
  canFallBack: false,
  describe: async () => {
    const version = /version (\d+\.\d+\.\d+)/.exec(await runCommand('haproxy', ['-v']))?.[1]
    return `HAProxy ${version ?? ''}, nbthread 1, splice`
  },
  missing: async () =>
    (await hasCommand('haproxy')) ? undefined : 'haproxy is not on the PATH (apt install haproxy)',
  prepare: ({ folder, firstPort, workers }) => ({
    command: 'haproxy',
    args: ['-db', '-q', '-f', path.join(folder, 'haproxy.cfg')],
    files: { 'haproxy.cfg': renderConfig(firstPort, workers) },
    capturePorts: fixedPorts(firstPort),
  }),
}

/** As many as descriptors allow: two for each connection and each pipe. */
function maxConnections(): number {
  return Math.floor(((readDescriptorLimit() ?? Infinity) - OWN_DESCRIPTORS) / 2) - MAX_PIPES
}

function renderConfig(firstPort: number, threads: number): string {
  return [
    'global',
    `  nbthread ${threads}`,
    // By itself it would keep two descriptors for pipes for every four connections.
    `  maxpipes ${MAX_PIPES}`,
    `  maxconn ${maxConnections()}`,
    // Of 64 KiB, which is the default, 256 KiB and 1 MiB the one that costs the least processor time.
    '  tune.pipesize 1048576',
    'defaults',
    '  mode tcp',
    `  maxconn ${maxConnections()}`,
    '  timeout connect 5s',
    '  timeout client 1h',
    '  timeout server 1h',
    '  option splice-request',
    '  option splice-response',
    ...fixedRoutes(firstPort).flatMap(renderListener),
    '',
  ].join('\n')
}

function renderListener({
  service,
  family,
  listenPort,
  serverAddress,
  serverPort,
}: FixedRoute): readonly string[] {
  const isIpv4 = family === 'ipv4'
  return [
    `listen ${service}-${family}`,
    isIpv4 ? `  bind 0.0.0.0:${listenPort}` : `  bind [::]:${listenPort} v6only`,
    `  server only ${isIpv4 ? serverAddress : `[${serverAddress}]`}:${serverPort}`,
  ]
}
