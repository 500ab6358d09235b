/** The portable engine: every connection in this thread, on node:net. */
import { LocalProxy } from '../../proxy/local-proxy.ts'
import { loadOriginalDestination } from '../../proxy/linux/original-destination.ts'
import { NodeTransport } from '../../proxy/node/node-transport.ts'
import { ProxyStats } from '../../proxy/proxy-stats.ts'
import { combineObservers } from '../access-log/connection-observers.ts'
import { RecordBatcher } from '../access-log/record-batcher.ts'
import { TrafficCounter } from '../metrics/traffic-counter.ts'

import type { Clock } from '../../core/clock.ts'
import type { Engine, EngineProxy, EngineProxyDeps, EngineProxyOptions } from './engine.ts'

/** The name of the only thread. */
const THREAD = 'main'

/** The engine, with original destinations where this platform has them. */
export async function loadNodeEngine({ clock }: { readonly clock: Clock }): Promise<Engine> {
  const transport = new NodeTransport({ clock, originalDestination: await loadOriginalDestination() })
  return {
    engine: transport.engine,
    capabilities: transport.capabilities,
    createProxy: (deps, options) => createProxy(transport, deps, options),
  }
}

function createProxy(
  transport: NodeTransport,
  deps: EngineProxyDeps,
  { connections }: EngineProxyOptions,
): EngineProxy {
  const { clock, records, totals, observer } = deps
  const batcher = new RecordBatcher({
    clock,
    traffic: new TrafficCounter({ clock }),
    foldStats: () => {
      proxy.foldStats()
    },
    send: (message) => {
      records.receive(THREAD, message)
    },
  })
  records.add(THREAD, (request) => {
    batcher.receive(request)
  })
  const ledger = totals.listeners
  const proxy: LocalProxy = new LocalProxy(
    {
      ...deps,
      transport,
      stats: new ProxyStats({ slots: totals.open(THREAD), entryOf: ledger.entryOf }),
      ledger,
      observer: combineObservers(batcher, observer),
    },
    connections,
  )
  return {
    proxy,
    close: async () => {
      await proxy.close()
      batcher.close()
    },
  }
}
