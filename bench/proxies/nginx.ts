/** nginx's stream module with one worker. It has fixed servers, which spares it the question where a connection goes. */
import { existsSync } from 'node:fs'
import path from 'node:path'

import { hasCommand, runCommand } from '../lab/command.ts'
import { fixedPorts, fixedRoutes } from './fixed-ports.ts'

import type { FixedRoute } from './fixed-ports.ts'
import type { ProxyPlace, ProxyProgram } from './proxy-program.ts'

/** Where Debian's and Fedora's packages put the module; built in, it needs no file. */
const MODULE_PATHS = [
  '/usr/lib/nginx/modules/ngx_stream_module.so',
  '/usr/lib64/nginx/modules/ngx_stream_module.so',
  '/usr/share/nginx/modules/ngx_stream_module.so',
]

/** nginx from the PATH. */
export const NGINX: ProxyProgram = {
  name: 'nginx',
  hasWorkers: true,
  canFallBack: false,
  describe: async () => {
    const version = /nginx\/(\S+)/.exec(await readBuild())?.[1]
    return `nginx ${version ?? ''} stream, worker_processes 1`
  },
  missing: async () => {
    if (!(await hasCommand('nginx'))) return 'nginx is not on the PATH (apt install nginx-light)'
    if (findModule() !== undefined || isBuiltIn(await readBuild())) return undefined
    return 'nginx has no stream module (apt install libnginx-mod-stream)'
  },
  prepare: (place) => ({
    command: 'nginx',
    args: ['-c', path.join(place.folder, 'nginx.conf'), '-e', 'stderr'],
    files: { 'nginx.conf': renderConfig(place) },
    capturePorts: fixedPorts(place.firstPort),
  }),
}

/** `nginx -V` prints to stderr. */
function readBuild(): Promise<string> {
  return runCommand('sh', ['-c', 'nginx -V 2>&1'])
}

function isBuiltIn(build: string): boolean {
  return /--with-stream(?!=dynamic|_)/.test(build)
}

function findModule(): string | undefined {
  return MODULE_PATHS.find((candidate) => existsSync(candidate))
}

function renderConfig({ folder, firstPort, workers }: ProxyPlace): string {
  const modulePath = findModule()
  return [
    ...(modulePath === undefined ? [] : [`load_module ${modulePath};`]),
    'daemon off;',
    `worker_processes ${workers};`,
    `pid ${path.join(folder, 'nginx.pid')};`,
    'error_log stderr error;',
    'events { worker_connections 100000; }',
    'stream {',
    // Of 16k, 64k and 256k the best for bulk; an idle connection costs the same with each.
    '  proxy_buffer_size 256k;',
    '  proxy_timeout 1h;',
    // Without it nginx cuts what still comes from the server when the client has sent FIN.
    '  proxy_half_close on;',
    '  proxy_connect_timeout 5s;',
    ...fixedRoutes(firstPort).map(renderServer),
    '}',
    '',
  ].join('\n')
}

function renderServer({ family, listenPort, serverAddress, serverPort }: FixedRoute): string {
  return family === 'ipv4'
    ? `  server { listen ${listenPort} reuseport; proxy_pass ${serverAddress}:${serverPort}; }`
    : `  server { listen [::]:${listenPort} ipv6only=on reuseport; proxy_pass [${serverAddress}]:${serverPort}; }`
}
