/** What the end of a stream means to an operator: which control plane, what failed, and the remedy. */
import { status } from '@grpc/grpc-js'

import { AgentError, errorCodeOf, errorMessage } from '../../core/errors.ts'

import type { ErrorCode } from '../../core/errors.ts'

/** What is known of a stream that failed. */
export interface StreamFailure {
  readonly target: string
  readonly status: { readonly code: number; readonly details: string }
  /** The control plane had answered before. */
  readonly isEstablished: boolean
  /** Why there is no connection, where that was found out. */
  readonly cause?: unknown
}

const CODE_BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  [status.INVALID_ARGUMENT]: 'config_invalid',
  [status.DEADLINE_EXCEEDED]: 'timeout',
  [status.PERMISSION_DENIED]: 'unauthenticated',
  [status.UNAUTHENTICATED]: 'unauthenticated',
  [status.RESOURCE_EXHAUSTED]: 'resources_exhausted',
  [status.UNIMPLEMENTED]: 'unsupported',
}

const REMEDIES: Partial<Readonly<Record<ErrorCode, string>>> = {
  refused: 'check that it runs and that XDS_ADDRESS has its port',
  unreachable: 'check the network of the node and XDS_ADDRESS',
  timeout: 'check that nothing between drops the packets',
  resolution_failed: "check the name in XDS_ADDRESS and the cluster's DNS",
  certificate_untrusted:
    'check that XDS_ROOT_CA is its root, and set ALT_XDS_HOSTNAME when its certificate has another name',
  protocol_violation: 'https:// in XDS_ADDRESS needs the TLS port, 15012 of istiod; http:// is for 15010',
  config_invalid: 'check POD_NAME, POD_NAMESPACE and INSTANCE_IPS, which make up the node id',
  unauthenticated:
    'check that the token of AUTH_TOKEN has the audience istio-ca and that POD_NAMESPACE and SERVICE_ACCOUNT are its own',
  unsupported: 'check that XDS_ADDRESS is an ADS server',
}

/** The error of a stream that failed. */
export function streamError({ target, status: end, isEstablished, cause }: StreamFailure): AgentError {
  if (cause !== undefined) {
    const code = errorCodeOf(cause)
    return error(code, `cannot connect to ${target}: ${errorMessage(cause) || code}`, cause)
  }
  const code = CODE_BY_STATUS[end.code] ?? (isEstablished ? 'reset' : 'unreachable')
  const name = status[end.code] ?? `status ${end.code}`
  const what = isEstablished || code !== 'unreachable' ? 'ended the stream' : 'cannot be connected to'
  return error(code, `${target} ${what}: ${name} ${end.details}`.trimEnd())
}

/** The error of a control plane that sends nothing. */
export function silenceError(target: string, afterMs: number): AgentError {
  return error('timeout', `${target} has sent no response within ${afterMs} ms`)
}

/** The error of a message that nothing can be made of. */
export function violationError(target: string, problem: string): AgentError {
  const message = `${target} broke the protocol: ${problem}; the stream is opened anew`
  return new AgentError({ code: 'protocol_violation', source: 'control-plane', message })
}

function error(code: ErrorCode, what: string, cause?: unknown): AgentError {
  const remedy = REMEDIES[code]
  const message = remedy === undefined ? what : `${what}; ${remedy}`
  return new AgentError({ code, source: 'control-plane', message, cause })
}
