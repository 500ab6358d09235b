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

/** Of 64 KiB, 256 KiB and 1 MiB the one with which HAProxy's bulk transfers cost the least processor time. */
const LARGE_PIPE_BYTES = 1_048_576

/** HAProxy from the PATH, with the pipes that it has by itself, of 64 KiB. */
export const HAPROXY = haproxyProgram({ name: 'haproxy' })

/** The same with pipes as large as those of twinstack's Linux engine. */
export const HAPROXY_1M = haproxyProgram({ name: 'haproxy-1m', pipeBytes: LARGE_PIPE_BYTES })

interface HaproxyOptions {
  readonly name: string
  /** tune.pipesize; absent: HAProxy's default. */
  readonly pipeBytes?: number
}

function haproxyProgram({ name, pipeBytes }: HaproxyOptions): ProxyProgram {
  return {
    name,
    hasWorkers: true,
    canFallBack: false,
    describe: async () => {
      const version = /version (\d+\.\d+\.\d+)/.exec(await runCommand('haproxy', ['-v']))?.[1]
      return `HAProxy ${version ?? ''}, nbthread 1, splice, pipes of ${pipeBytes === undefined ? '64 KiB' : `${pipeBytes / 1_024} KiB`}`
    },
    missing: async () =>
      (await hasCommand('haproxy')) ? undefined : 'haproxy is not on the PATH (apt install haproxy)',
    prepare: ({ folder, firstPort, workers }) => ({
      command: 'haproxy',
      args: ['-db', '-q', '-f', path.join(folder, 'haproxy.cfg')],
      files: { 'haproxy.cfg': renderConfig({ firstPort, threads: workers, pipeBytes }) },
      capturePorts: fixedPorts(firstPort),
    }),
  }
}

/** As many as descriptors allow: two for each connection and each pipe. */
function maxConnections(): number {
  return Math.floor(((readDescriptorLimit() ?? Infinity) - OWN_DESCRIPTORS) / 2) - MAX_PIPES
}

interface ConfigParts {
  readonly firstPort: number
  readonly threads: number
  readonly pipeBytes: number | undefined
}

function renderConfig({ firstPort, threads, pipeBytes }: ConfigParts): string {
  return [
    'global',
    `  nbthread ${threads}`,
    // By itself it would keep two descriptors for pipes for every four connections.
    `  maxpipes ${MAX_PIPES}`,
    `  maxconn ${maxConnections()}`,
    ...(pipeBytes === undefined ? [] : [`  tune.pipesize ${pipeBytes}`]),
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
