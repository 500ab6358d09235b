/** The Linux engine: connections in worker threads, on epoll and splice. */
import { probeCapabilities } from '../../proxy/linux/capabilities.ts'
import { loadSyscalls } from '../../proxy/linux/syscalls.ts'
import { PooledProxy } from '../../proxy/workers/pooled-proxy.ts'
import { LinuxPlatform } from './linux-platform.ts'

import type { Engine } from './engine.ts'

/** The engine, or why it cannot run here. */
export async function loadLinuxEngine(): Promise<
  { readonly ok: true; readonly engine: Engine } | { readonly ok: false; readonly reason: string }
> {
  const loaded = await loadSyscalls()
  if (!loaded.ok) return loaded
  const { syscalls } = loaded
  const capabilities = probeCapabilities(syscalls)
  const engine: Engine = {
    engine: 'linux',
    capabilities,
    createProxy: (deps, { connections, workers, accessLog }) => {
      const platform = new LinuxPlatform(
        { syscalls, capabilities },
        { descriptorLimit: deps.descriptors.limit, accessLog, threadUrl: threadUrl() },
      )
      const proxy = new PooledProxy({ ...deps, platform }, { workers, connections })
      return { proxy, close: () => proxy.close() }
    },
  }
  return { ok: true, engine }
}

/** The module of the threads, built or not as this one is. */
function threadUrl(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url)
}
