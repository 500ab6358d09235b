/**
 * Knows the filters of Envoy that can deny a connection or a request. None is evaluated here, and a policy that cannot be
 * evaluated denies (rule 15): a chain that has one refuses its connections.
 */
import type { Field } from '../reading/message-reader.ts'
import type { TypedConfig } from './typed-config.ts'

const NETWORK_RBAC = 'envoy.extensions.filters.network.rbac.v3.RBAC'
const HTTP_RBAC = 'envoy.extensions.filters.http.rbac.v3.RBAC'
/** Each denies whatever it does not let through; what that is, is not in the configuration alone. */
const DENYING: readonly string[] = [
  'envoy.extensions.filters.network.ext_authz.v3.ExtAuthz',
  'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz',
  'envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication',
  'envoy.extensions.filters.http.basic_auth.v3.BasicAuth',
  'envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth',
  'envoy.extensions.filters.http.oauth2.v3.OAuth2',
]

/** True for a filter that could deny. RBAC without rules that are enforced, or that only log, cannot. */
export function isPolicyFilter({ typeName, config }: TypedConfig): boolean {
  if (DENYING.includes(typeName)) return true
  if (typeName !== NETWORK_RBAC && typeName !== HTTP_RBAC) return false
  return config.has('matcher') || canRulesDeny(config.take('rules'))
}

/** config.rbac.v3.RBAC: ALLOW denies what no policy matches, DENY what one matches. */
function canRulesDeny(field: Field | undefined): boolean {
  const rules = field?.message('RBAC')
  if (rules === undefined) return false
  const action = rules.take('action')?.value ?? 'ALLOW'
  const hasPolicies = rules.has('policies')
  return action === 'ALLOW' || (action === 'DENY' && hasPolicies)
}
