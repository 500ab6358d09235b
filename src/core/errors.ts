/**
 * Operational failures as a closed union of codes, and the one place where a Node errno becomes one of them.
 * docs/ERRORS.md lists every code; a test holds the two equal.
 */

/** Every code that an operational failure can have. They are metric labels, so none carries a name or an address. */
export const ERROR_CODES = [
  'refused',
  'unreachable',
  'timeout',
  'reset',
  'family_absent',
  'address_unavailable',
  'address_in_use',
  'permission',
  'descriptors_exhausted',
  'resources_exhausted',
  'config_invalid',
  'config_unreadable',
  'unsupported',
  'resolution_failed',
  'unauthenticated',
  'certificate_untrusted',
  'credentials_unreadable',
  'protocol_violation',
  'internal',
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

/** Whose doing a failure was; decides log level and who is told. */
export type ErrorSource = 'downstream' | 'upstream' | 'control-plane' | 'config' | 'internal'

/** An operational failure. `message` says what failed, to whom, and the limit or the attempts; no trailing period. */
export class AgentError extends Error {
  override readonly name = 'AgentError'
  readonly code: ErrorCode
  readonly source: ErrorSource

  constructor(init: {
    readonly code: ErrorCode
    readonly source: ErrorSource
    readonly message: string
    readonly cause?: unknown
  }) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause })
    this.code = init.code
    this.source = init.source
  }
}

const CODE_BY_ERRNO: Readonly<Record<string, ErrorCode>> = {
  ECONNREFUSED: 'refused',
  ENETUNREACH: 'unreachable',
  EHOSTUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
  ENETDOWN: 'unreachable',
  ENONET: 'unreachable',
  ETIMEDOUT: 'timeout',
  ECONNRESET: 'reset',
  ECONNABORTED: 'reset',
  EPIPE: 'reset',
  EAFNOSUPPORT: 'family_absent',
  EADDRNOTAVAIL: 'address_unavailable',
  // A source address or scope that does not fit the destination: this pair of addresses cannot be used.
  EINVAL: 'address_unavailable',
  EADDRINUSE: 'address_in_use',
  EACCES: 'permission',
  EPERM: 'permission',
  EMFILE: 'descriptors_exhausted',
  ENFILE: 'descriptors_exhausted',
  ENOBUFS: 'resources_exhausted',
  ENOMEM: 'resources_exhausted',
  EAGAIN: 'resources_exhausted',
  ENOTFOUND: 'resolution_failed',
  EAI_AGAIN: 'resolution_failed',
  // From here on the names are Node's and OpenSSL's for a TLS handshake that failed.
  ERR_TLS_CERT_ALTNAME_INVALID: 'certificate_untrusted',
  CERT_HAS_EXPIRED: 'certificate_untrusted',
  CERT_NOT_YET_VALID: 'certificate_untrusted',
  CERT_REVOKED: 'certificate_untrusted',
  CERT_SIGNATURE_FAILURE: 'certificate_untrusted',
  CERT_UNTRUSTED: 'certificate_untrusted',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'certificate_untrusted',
  INVALID_CA: 'certificate_untrusted',
  INVALID_PURPOSE: 'certificate_untrusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'certificate_untrusted',
  UNABLE_TO_GET_ISSUER_CERT: 'certificate_untrusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'certificate_untrusted',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'certificate_untrusted',
  ERR_SSL_WRONG_VERSION_NUMBER: 'protocol_violation',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'protocol_violation',
}

/** The code of a thrown value: its errno through the table, its own code if it is an {@link AgentError}. */
export function errorCodeOf(reason: unknown): ErrorCode {
  if (reason instanceof AgentError) return reason.code
  return CODE_BY_ERRNO[errnoOf(reason) ?? ''] ?? 'internal'
}

/** The errno name (`ECONNREFUSED`) that a thrown value carries, if any. */
export function errnoOf(reason: unknown): string | undefined {
  if (typeof reason !== 'object' || reason === null || !('code' in reason)) return undefined
  return typeof reason.code === 'string' ? reason.code : undefined
}

/** The message of a thrown value, whatever was thrown. */
export function errorMessage(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason)
}

/** True for what protobufjs throws over bytes that are no message; anything else is a defect. */
export function isWireError(reason: unknown): boolean {
  return reason instanceof Error && (reason.name === 'Error' || reason.name === 'RangeError')
}
