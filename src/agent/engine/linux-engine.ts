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
    createProxy: (deps, { connections, workers, accessLog, pods }) => {
      const platform = new LinuxPlatform(
        { syscalls, capabilities },
        { descriptorLimit: deps.descriptors.limit, accessLog, threadUrl: threadUrl('worker-thread-entry') },
      )
      if (pods === undefined) {
        const proxy = new PooledProxy({ ...deps, platform }, { workers, connections })
        return { proxy, close: () => proxy.close() }
      }
      const linuxPods = platform.servePods(deps, { threadUrl: threadUrl('pod-thread-entry') })
      const proxy = new PooledProxy({ ...deps, platform }, { workers, connections, pods })
      const close = async (): Promise<void> => {
        await proxy.close()
        await linuxPods.end()
      }
      return { proxy, zdsTransport: linuxPods, close }
    },
  }
  return { ok: true, engine }
}

/** The module of a thread, built or not as this one is. */
function threadUrl(name: string): URL {
  return new URL(`./${name}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)
}
