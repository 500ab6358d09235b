/** Every metric family that the agent publishes. The registry is built from it, and docs/METRICS.md is held equal. */

export interface MetricFamily {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  /** In the order of the text format; `le` of histograms is understood. */
  readonly labels: readonly string[]
  readonly help: string
}

/** ztunnel's traffic labels in its order; the last four are there when the workload of one end is known. */
export const TRAFFIC_LABELS = [
  'reporter',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'destination_service',
  'destination_service_namespace',
  'destination_service_name',
  'destination_workload',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_cluster',
  'request_protocol',
  'response_flags',
  'connection_security_policy',
  'source_region',
  'source_zone',
  'destination_region',
  'destination_zone',
] as const

export type TrafficLabel = (typeof TRAFFIC_LABELS)[number]

/** Every family, by the short name that the code fills it under, in the order in which they are published. */
export const METRICS = {
  build: {
    name: 'istio_build',
    type: 'gauge',
    labels: ['component', 'tag'],
    help: 'Version of the component, always 1',
  },
  connectionsOpened: {
    name: 'istio_tcp_connections_opened_total',
    type: 'counter',
    labels: TRAFFIC_LABELS,
    help: 'Connections between workloads that were opened',
  },
  connectionsClosed: {
    name: 'istio_tcp_connections_closed_total',
    type: 'counter',
    labels: TRAFFIC_LABELS,
    help: 'Connections between workloads that were closed, by how they ended',
  },
  receivedBytes: {
    name: 'istio_tcp_received_bytes_total',
    type: 'counter',
    labels: TRAFFIC_LABELS,
    help: 'Bytes that clients sent to servers (requests)',
  },
  sentBytes: {
    name: 'istio_tcp_sent_bytes_total',
    type: 'counter',
    labels: TRAFFIC_LABELS,
    help: 'Bytes that servers sent to clients (responses)',
  },
  listenerState: {
    name: 'twinstack_listener_state',
    type: 'gauge',
    labels: ['listener', 'family', 'state'],
    help: '1 on the state that the sockets of a listener and family are in, 0 on the others; those of captured pods are in twinstack_pod_listeners',
  },
  downstreamConnections: {
    name: 'twinstack_downstream_connections_total',
    type: 'counter',
    labels: ['listener', 'family'],
    help: 'Connections that clients opened',
  },
  downstreamActive: {
    name: 'twinstack_downstream_connections_active',
    type: 'gauge',
    labels: ['listener', 'family'],
    help: 'Connections of clients that are open',
  },
  upstreamAttempts: {
    name: 'twinstack_upstream_attempts_total',
    type: 'counter',
    labels: ['family', 'result'],
    help: 'Attempts to connect to one upstream address, by how they ended',
  },
  upstreamConnections: {
    name: 'twinstack_upstream_connections_total',
    type: 'counter',
    labels: ['downstream_family', 'upstream_family'],
    help: 'Connections that reached an upstream, by the families of both sides',
  },
  familyFallbacks: {
    name: 'twinstack_family_fallbacks_total',
    type: 'counter',
    labels: ['from', 'to', 'reason'],
    help: 'Connections that left the first family of their order although the endpoint has it',
  },
  upstreamConnectSeconds: {
    name: 'twinstack_upstream_connect_seconds',
    type: 'histogram',
    labels: ['family'],
    help: 'Time that the connects which succeeded took',
  },
  bytes: {
    name: 'twinstack_bytes_total',
    type: 'counter',
    labels: ['family', 'side', 'direction'],
    help: "Payload, by the family of each side's own socket, seen from the proxy",
  },
  spliceFallbacks: {
    name: 'twinstack_splice_fallbacks_total',
    type: 'counter',
    labels: ['reason'],
    help: 'Times that a relay copied because it got no pipe to splice through',
  },
  connectionsEnded: {
    name: 'twinstack_connections_closed_total',
    type: 'counter',
    labels: ['reason'],
    help: 'Connections that ended or were turned away, by reason (docs/ERRORS.md)',
  },
  endpointFamilyUnhealthy: {
    name: 'twinstack_endpoint_family_unhealthy',
    type: 'gauge',
    labels: ['family'],
    help: 'Endpoints whose addresses of the family failed lately and are tried last',
  },
  dualStackEnabled: {
    name: 'twinstack_dual_stack_enabled',
    type: 'gauge',
    labels: [],
    help: '1 when both families may be used, 0 when one is switched off',
  },
  xdsConnected: {
    name: 'twinstack_xds_connected',
    type: 'gauge',
    labels: [],
    help: '1 while the source of the configuration can be read: a stream that is up, a file that is valid',
  },
  xdsMessages: {
    name: 'twinstack_xds_messages_total',
    type: 'counter',
    labels: ['type', 'result'],
    help: 'Configuration received, by resource type and whether it was accepted',
  },
  xdsResources: {
    name: 'twinstack_xds_resources',
    type: 'gauge',
    labels: ['type'],
    help: 'Resources in force, by type',
  },
  xdsReconnects: {
    name: 'twinstack_xds_reconnects_total',
    type: 'counter',
    labels: ['reason'],
    help: 'Streams to the control plane that were opened anew, by why the last one ended (docs/ERRORS.md)',
  },
  onDemandAddresses: {
    name: 'twinstack_xds_on_demand_addresses',
    type: 'gauge',
    labels: ['state'],
    help: 'Addresses that connections wait for (pending) or that the control plane knows nothing of (unknown), with XDS_ON_DEMAND',
  },
  onDemandUnanswered: {
    name: 'twinstack_xds_on_demand_unanswered_total',
    type: 'counter',
    labels: ['reason'],
    help: 'Addresses whose connections got no answer: it came too late (timeout), or too many were waited for (overflow)',
  },
  podsActive: {
    name: 'workload_manager_active_proxy_count',
    type: 'gauge',
    labels: [],
    help: 'Pods that are captured; as all of workload_manager_* only with INPOD_ENABLED',
  },
  podsPending: {
    name: 'workload_manager_pending_proxy_count',
    type: 'gauge',
    labels: [],
    help: 'Pods that istio-cni has named and that cannot be served yet; they are tried again for a while',
  },
  podsStarted: {
    name: 'workload_manager_proxies_started_total',
    type: 'counter',
    labels: [],
    help: 'Pods that were taken in',
  },
  podsStopped: {
    name: 'workload_manager_proxies_stopped_total',
    type: 'counter',
    labels: [],
    help: 'Pods that have gone or were given up',
  },
  podListeners: {
    name: 'twinstack_pod_listeners',
    type: 'gauge',
    labels: ['listener', 'family', 'state'],
    help: 'Captured pods by the state of their socket for a listener and family',
  },
  zdsConnected: {
    name: 'twinstack_zds_connected',
    type: 'gauge',
    labels: [],
    help: '1 while istio-cni is connected, which tells of pods',
  },
  zdsMessages: {
    name: 'twinstack_zds_messages_total',
    type: 'counter',
    labels: ['type', 'result'],
    help: 'Messages of istio-cni, by what became of them; all but accepted were answered with an error',
  },
  zdsReconnects: {
    name: 'twinstack_zds_reconnects_total',
    type: 'counter',
    labels: [],
    help: 'Connections to istio-cni after the first',
  },
  plaintextPermitted: {
    name: 'twinstack_plaintext_permitted',
    type: 'gauge',
    labels: [],
    help: '1 while TWINSTACK_ALLOW_PLAINTEXT permits plain text to destinations that ask for mTLS',
  },
  accessLogDropped: {
    name: 'twinstack_access_log_lines_dropped_total',
    type: 'counter',
    labels: [],
    help: 'Access log lines that were dropped because the writer could not keep up',
  },
  openDescriptors: {
    name: 'process_open_fds',
    type: 'gauge',
    labels: [],
    help: 'Open file descriptors',
  },
  maxDescriptors: {
    name: 'process_max_fds',
    type: 'gauge',
    labels: [],
    help: 'Soft limit of open file descriptors',
  },
  residentBytes: {
    name: 'process_resident_memory_bytes',
    type: 'gauge',
    labels: [],
    help: 'Memory that the process holds',
  },
  cpuSeconds: {
    name: 'process_cpu_seconds_total',
    type: 'counter',
    labels: [],
    help: 'Processor time that the process used, user and system',
  },
  eventLoopLag: {
    name: 'twinstack_event_loop_lag_seconds',
    type: 'gauge',
    labels: ['quantile'],
    help: 'How late the event loop came to its timers since the last scrape',
  },
  workerBusyRatio: {
    name: 'twinstack_worker_busy_ratio',
    type: 'gauge',
    labels: ['worker'],
    help: 'Share of the time since the last scrape in which a thread was busy, 0 to 1',
  },
  workerRestarts: {
    name: 'twinstack_worker_restarts_total',
    type: 'counter',
    labels: [],
    help: 'Worker threads that died and were started anew',
  },
  engine: {
    name: 'twinstack_engine_info',
    type: 'gauge',
    labels: ['engine'],
    help: 'The engine that carries the connections, always 1',
  },
  capability: {
    name: 'twinstack_capability',
    type: 'gauge',
    labels: ['name'],
    help: 'What the engine can do on this machine and with these privileges: 1 or 0',
  },
} as const satisfies Readonly<Record<string, MetricFamily>>

export type MetricKey = keyof typeof METRICS
