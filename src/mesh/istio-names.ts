/** Reads and writes what Istio writes into the names of Envoy clusters. */
import type { ServiceLabels } from './endpoint.ts'

/**
 * The service of a cluster named `direction|port|subset|hostname`, such as
 * `outbound|9000||tcp-echo.dual-stack.svc.cluster.local`; `undefined` for other names and for inbound clusters, which
 * name no host.
 */
export function serviceOfClusterName(clusterName: string): ServiceLabels | undefined {
  const [direction, port, , hostname, ...more] = clusterName.split('|')
  if ((direction !== 'outbound' && direction !== 'inbound') || more.length > 0) return undefined
  if (port === undefined || hostname === undefined || hostname === '' || !/^\d+$/.test(port)) return undefined
  const match = /^([^.]+)\.([^.]+)\.svc(?:\.|$)/.exec(hostname)
  return { hostname, name: match?.[1] ?? hostname, namespace: match?.[2] ?? '' }
}

/** The name of the cluster to which connections for a port of a service go, all of its versions together. */
export function outboundClusterName(hostname: string, port: number): string {
  return `outbound|${port}||${hostname}`
}
