/** The ambient dialect's resources: workloads, services and authorization policies, as istiod sends them to a node. */
import type { Cidr } from '../core/cidr.ts'
import type { IpAddress } from '../core/address.ts'
import type { Locality } from './endpoint.ts'

/** Where workloads take HBONE unless they say otherwise; a redirection leaves it to the listener that is there. */
export const HBONE_PORT = 15_008

/** An address and the network that it belongs to; the empty network is the default one. */
export interface NetworkAddress {
  readonly network: string
  readonly ip: IpAddress
}

/** A gateway or waypoint, by address or by service name. */
export type GatewayAddress =
  | { readonly kind: 'address'; readonly address: NetworkAddress; readonly hbonePort: number }
  | {
      readonly kind: 'hostname'
      readonly namespace: string
      readonly hostname: string
      readonly hbonePort: number
    }

/** istio.workload.Workload. Defaults are filled in: `trustDomain` cluster.local, `serviceAccount` default, weight 1. */
export interface Workload {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  /** All addresses of both families, in the order of the control plane; empty with a `hostname` or a gateway. */
  readonly addresses: readonly IpAddress[]
  readonly hostname: string
  readonly network: string
  readonly protocol: 'tcp' | 'hbone'
  readonly trustDomain: string
  readonly serviceAccount: string
  readonly node: string
  readonly clusterId: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly workloadName: string
  readonly workloadType: 'deployment' | 'cronjob' | 'pod' | 'job'
  readonly status: 'healthy' | 'unhealthy'
  readonly isHostNetwork: boolean
  readonly isNativeTunnel: boolean
  readonly locality: Locality
  /** Load balancing weight; 1 or more. */
  readonly capacity: number
  /** Service key `namespace/hostname` to its ports: service port to target port. */
  readonly services: ReadonlyMap<string, ReadonlyMap<number, number>>
  /** Policies of scope `workload-selector` that apply, as `namespace/name`. */
  readonly authorizationPolicies: readonly string[]
  readonly waypoint?: GatewayAddress
  readonly networkGateway?: GatewayAddress
  readonly applicationTunnel?: { readonly protocol: 'none' | 'proxy'; readonly port: number }
}

/** Families that a service may be reached over; `automatic`: whatever the endpoints have. */
export type ServiceFamilies = 'automatic' | 'ipv4' | 'ipv6' | 'dual'

export type RoutingScope = 'region' | 'zone' | 'subzone' | 'node' | 'cluster' | 'network'

export interface ServiceLoadBalancing {
  readonly routingPreferences: readonly RoutingScope[]
  readonly mode: 'standard' | 'strict' | 'failover' | 'passthrough'
  /** `allow-all`: endpoints that are not ready count too. */
  readonly healthPolicy: 'only-healthy' | 'allow-all'
}

/** istio.workload.Service. */
export interface Service {
  readonly name: string
  readonly namespace: string
  readonly hostname: string
  readonly vips: readonly NetworkAddress[]
  readonly cidrVips: readonly { readonly network: string; readonly cidr: Cidr }[]
  /** Service port to target port; 0: the workload says which. */
  readonly ports: ReadonlyMap<number, number>
  readonly families: ServiceFamilies
  readonly loadBalancing: ServiceLoadBalancing
  readonly subjectAltNames: readonly string[]
  readonly isCanonical: boolean
  readonly visibility: 'public' | 'namespace'
  readonly waypoint?: GatewayAddress
}

/** The key of a service: `namespace/hostname`. */
export function serviceKey(service: { readonly namespace: string; readonly hostname: string }): string {
  return `${service.namespace}/${service.hostname}`
}

export type StringMatch =
  { readonly kind: 'exact' | 'prefix' | 'suffix'; readonly value: string } | { readonly kind: 'presence' }

/** One istio.security.Match: values of a kind are alternatives, kinds must all hold, `not` kinds must not. */
export interface PolicyMatch {
  readonly namespaces: readonly StringMatch[]
  readonly notNamespaces: readonly StringMatch[]
  readonly principals: readonly StringMatch[]
  readonly notPrincipals: readonly StringMatch[]
  readonly serviceAccounts: readonly { readonly namespace: string; readonly serviceAccount: string }[]
  readonly notServiceAccounts: readonly { readonly namespace: string; readonly serviceAccount: string }[]
  readonly sourceIps: readonly Cidr[]
  readonly notSourceIps: readonly Cidr[]
  readonly destinationIps: readonly Cidr[]
  readonly notDestinationIps: readonly Cidr[]
  readonly destinationPorts: readonly number[]
  readonly notDestinationPorts: readonly number[]
  /** Holds something that this version does not know: the match cannot be evaluated, so it never lets anything through. */
  readonly isUnknown: boolean
}

/** istio.security.Authorization. `rules`: any rule, every clause of it, any match of that. */
export interface AuthorizationPolicy {
  readonly name: string
  readonly namespace: string
  readonly scope: 'global' | 'namespace' | 'workload-selector'
  readonly action: 'allow' | 'deny'
  readonly rules: readonly (readonly (readonly PolicyMatch[])[])[]
  readonly isDryRun: boolean
}

/** The key of a policy: `namespace/name`. */
export function policyKey(policy: { readonly namespace: string; readonly name: string }): string {
  return `${policy.namespace}/${policy.name}`
}
