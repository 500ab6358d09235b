/** The applications of the lab and their ports, the same in both families. */

/** What an application does; bench/load/server.c knows these. */
export type ServiceName = 'echo' | 'sink' | 'source' | 'transfer'

/** The port of each application on the server. */
export const SERVICE_PORTS: Readonly<Record<ServiceName, number>> = {
  echo: 9_100,
  sink: 9_101,
  source: 9_102,
  transfer: 9_103,
}

export const SERVICE_NAMES: readonly ServiceName[] = ['echo', 'sink', 'source', 'transfer']
