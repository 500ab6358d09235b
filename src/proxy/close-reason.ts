/**
 * Why a connection ended: a closed union, each with what the client sees and what Envoy's users know it as.
 * docs/ERRORS.md lists every reason; a test holds the two equal.
 */
import type { RejectReason } from '../mesh/router.ts'

/** What a reason means to the outside. */
export interface CloseReasonFacts {
  /** How the client's connection ends. */
  readonly downstreamEnd: 'fin' | 'rst'
  /** Envoy's response flag, `-` for none; the value of `response_flags` in istio_tcp_* metrics. */
  readonly responseFlag: string
  /** False: somebody should look at it; the access log line says so. */
  readonly isExpected: boolean
  /** One line for docs and log. */
  readonly meaning: string
}

type CloseReasonKey =
  | RejectReason
  | 'finished'
  | 'downstream_reset'
  | 'upstream_reset'
  | 'downstream_gone'
  | 'upstream_refused'
  | 'upstream_unreachable'
  | 'upstream_timeout'
  | 'upstream_failed'
  | 'upstream_overflow'
  | 'connection_limit'
  | 'idle_timeout'
  | 'half_closed_timeout'
  | 'max_duration'
  | 'policy_changed'
  | 'pod_removed'
  | 'drained'
  | 'internal'

/** Every reason with its facts, in the order in which docs list them. */
export const CLOSE_REASONS: Readonly<Record<CloseReasonKey, CloseReasonFacts>> = {
  finished: fin('-', 'Both sides sent FIN and everything was delivered'),
  downstream_reset: rst(
    'DC',
    'The client sent RST or answered keepalive no more; the upstream was reset',
    true,
  ),
  upstream_reset: rst('UR', 'The upstream sent RST or answered keepalive no more; the client was reset'),
  downstream_gone: rst('DC', 'The client left before an upstream was connected', true),
  upstream_refused: rst('UF,URX', 'Every address that was tried refused the connection'),
  upstream_unreachable: rst('UF,URX', 'No address that was tried could be reached'),
  upstream_timeout: rst('UF,URX', 'No address connected within the connect timeout'),
  upstream_failed: rst('UF,URX', 'Every attempt failed, for another reason than the above on the last one'),
  upstream_overflow: rst('UO', 'The upstream is at its max_connections'),
  no_route: rst('NR', 'No filter chain, service or workload matches the destination'),
  no_cluster: rst('NC', 'The route names a cluster that does not exist'),
  no_endpoints: rst('UH', 'The upstream has no endpoint that may be used'),
  policy_denied: rst('RBAC', 'An authorization policy denies the connection'),
  mtls_required: rst('UPE', 'The mesh asks for mTLS to the destination and plain text is not permitted'),
  destination_is_proxy: rst('NR', 'The destination is the proxy itself; going on would loop'),
  connection_limit: rst('UO', 'The proxy is at its limit of open descriptors'),
  idle_timeout: fin('SI', 'No byte moved for the idle timeout'),
  half_closed_timeout: fin('SI', 'One side was closed and no byte moved for the half-closed timeout'),
  max_duration: fin('DT', 'The connection reached its maximum duration'),
  policy_changed: rst('RBAC', 'An authorization policy changed and now denies the connection'),
  pod_removed: rst('-', 'The pod that the connection was captured in was deleted or has left the mesh', true),
  drained: fin('-', 'The proxy stopped and the connection was still open at the deadline'),
  internal: rst('-', 'A defect of the proxy; the log has the details'),
}

export type CloseReason = CloseReasonKey

function fin(responseFlag: string, meaning: string): CloseReasonFacts {
  return { downstreamEnd: 'fin', responseFlag, isExpected: true, meaning }
}

function rst(responseFlag: string, meaning: string, isExpected = false): CloseReasonFacts {
  return { downstreamEnd: 'rst', responseFlag, isExpected, meaning }
}
