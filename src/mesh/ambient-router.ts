/**
 * Answers for the ambient dialect: where a captured connection of a pod goes (services, workloads, or past the mesh),
 * and whether policies let one into a pod. Follows ztunnel's order of look-ups, over plain TCP only: what the mesh wants
 * to have on mTLS is refused unless the operator permits plain text by name.
 */
import { unpackIp } from '../core/packed-ip.ts'
import {
  AMBIENT_SETTINGS,
  targetPortOf,
  vantageKey,
  vantageOf,
  viewService,
  workloadLabels,
} from './ambient-endpoints.ts'
import { DirectUpstreams } from './direct-upstreams.ts'
import { withoutDenied } from './local-policies.ts'
import { workloadOfPod } from './pod-workload.ts'
import { evaluatePolicies } from './policy.ts'
import { ServiceAnswers } from './service-answers.ts'
import { serviceKey } from './workload.ts'

import type { SocketAddress } from '../core/address.ts'
import type { Vantage } from './ambient-endpoints.ts'
import type { CapturedPod } from './pod.ts'
import type { PolicyDecision } from './policy.ts'
import type { TrafficDirection } from './listener.ts'
import type {
  ReachedEndpoint,
  RejectReason,
  Route,
  RouteFacts,
  RouteLabels,
  RoutePlan,
  Router,
} from './router.ts'
import type { MeshSnapshot, MeshStore } from './store.ts'
import type { Upstream } from './upstream.ts'
import type { GatewayAddress, Service, Workload } from './workload.ts'

export interface AmbientRouterOptions {
  /** The network of this node; empty is the default one. */
  readonly network: string
  /** Service keys, workload uids and namespaces that may be reached in plain text although they ask for mTLS; `*`: all. */
  readonly plaintextPermitted: readonly string[]
  /** The node of this agent: where clients are that no workload is known for. */
  readonly localNode?: string
  /** The cluster of this agent, see workloadOfPod; absent where no pods are captured in their namespaces. */
  readonly clusterId?: string
  /**
   * True: what goes out to a pod of `localNode` is judged by its policies here, because it is not captured again on its way
   * in. So it is where connections are captured on the node, and not within the pods.
   */
  readonly judgesLocalPods?: boolean
}

interface Rejection {
  readonly reason: RejectReason
  readonly detail: string
}

/** A connection and what the mesh knows of its client. */
interface Question {
  readonly facts: RouteFacts
  readonly snapshot: MeshSnapshot
  readonly source: Workload | undefined
}

export class AmbientRouter implements Router {
  readonly #store: MeshStore
  readonly #network: string
  readonly #clusterId: string
  readonly #permitted: ReadonlySet<string>
  readonly #defaultVantage: Vantage
  /** The node whose pods' policies are asked on the way out. */
  readonly #judgedNode: string | undefined
  // Upstreams are kept, so that one stays the same object while nothing has changed.
  readonly #answers = new ServiceAnswers<Upstream | Rejection>()
  readonly #directUpstreams: DirectUpstreams

  constructor(deps: { readonly store: MeshStore }, options: AmbientRouterOptions) {
    this.#store = deps.store
    this.#network = options.network
    this.#clusterId = options.clusterId ?? ''
    this.#permitted = new Set(options.plaintextPermitted)
    this.#judgedNode = options.judgesLocalPods === true ? options.localNode : undefined
    this.#directUpstreams = new DirectUpstreams(this.#judgedNode)
    this.#defaultVantage = {
      network: options.network,
      ...(options.localNode !== undefined && { node: options.localNode }),
    }
  }

  /** Decides by the snapshot in force. The first call after a change of a service costs the number of its workloads. */
  plan(facts: RouteFacts): RoutePlan {
    const question = this.#ask(facts)
    const choices = [{ weight: 1, route: this.#route(question) }]
    // Whoever comes next is to wait for the workload too, and not to be refused at once.
    const isUnknown = isIntoPod(facts) && this.#serverOf(question) === undefined
    return isUnknown ? { choices, isForOnce: true } : { choices }
  }

  /** Inbound, where an unknown pod is denied even without policies; outbound where policies of local pods are asked. */
  get judgedDirections(): readonly TrafficDirection[] {
    const hasOutbound = this.#judgedNode !== undefined && this.#store.snapshot.policy.size > 0
    return hasOutbound ? ['inbound', 'outbound'] : ['inbound']
  }

  isStillAllowed(facts: RouteFacts, reached: readonly ReachedEndpoint[] = []): boolean {
    const question = this.#ask(facts)
    if (facts.listener.direction !== 'inbound')
      return reached.every(
        ({ workload, address }) => this.#localDenial(question, workload, address) === undefined,
      )
    const destination = this.#serverOf(question)
    if (destination === undefined) return facts.pod === undefined
    return decide(question, destination).isAllowed
  }

  /** True when the mesh says who a captured pod is: without that no policy of it can be judged. */
  knowsPod(pod: CapturedPod): boolean {
    return this.#workloadOf(this.#store.snapshot, pod) !== undefined
  }

  #ask(facts: RouteFacts): Question {
    const { snapshot } = this.#store
    const { pod, listener, client } = facts
    const isFromPod = pod !== undefined && listener.direction === 'outbound'
    const source = isFromPod ? this.#workloadOf(snapshot, pod) : this.#workloadAt(snapshot, client)
    return { facts, snapshot, source }
  }

  #route(question: Question): Route {
    const { listener } = question.facts
    const { defaultFilterChain: chain, direction } = listener
    if (chain !== undefined && 'refusal' in chain) return reject(question, chain.refusal, undefined)
    return direction === 'inbound' ? this.#inbound(question) : this.#outbound(question)
  }

  #inbound(question: Question): Route {
    const { facts, snapshot } = question
    const destination = this.#serverOf(question)
    if (destination === undefined) {
      if (facts.pod === undefined) return this.#direct(question)
      return reject(question, unknownPodRejection(facts.pod), undefined)
    }
    const service = inboundService(snapshot, destination, facts.destination.port)
    const decision = decide(question, destination)
    if (!decision.isAllowed)
      return reject(question, { reason: 'policy_denied', detail: decision.detail }, service)
    return this.#direct(question, { owner: destination, service })
  }

  /** A service goes before a workload, as in ztunnel: an address may be both. */
  #outbound(question: Question): Route {
    const { facts, snapshot, source } = question
    const address = { network: this.#network, ip: facts.destination.ip }
    const service = snapshot.serviceIndex.at(address, source?.namespace ?? facts.pod?.namespace)
    if (service?.waypoint !== undefined)
      return reject(question, waypointRejection(`service ${serviceKey(service)}`, service.waypoint), service)
    // Passed through, the address still belongs to a workload perhaps, and that may ask for mTLS.
    if (service === undefined || service.loadBalancing.mode === 'passthrough')
      return this.#toAddress(question, service)
    return this.#toService(question, service)
  }

  #toService(question: Question, service: Service): Route {
    const { snapshot, source, facts } = question
    const vantage = source === undefined ? this.#defaultVantage : vantageOf(source)
    const { port } = facts.destination
    // Ports that the service does not have are not kept: a client could fill the memory with them.
    const answer = service.ports.has(port)
      ? this.#answers.get({ snapshot, service, port, place: vantageKey(vantage, service) }, () =>
          this.#answerFor(snapshot, service, port, vantage),
        )
      : { reason: 'no_route' as const, detail: `service ${serviceKey(service)} has no port ${port}` }
    if ('reason' in answer) return reject(question, answer, service)
    const allowed = this.#withoutDenied(question, answer)
    if ('reason' in allowed) return reject(question, allowed, service)
    return this.#accept(question, 'upstream', allowed, service)
  }

  /** Leaves out what policies of pods on this node deny the client; the same object where they deny nothing. */
  #withoutDenied(question: Question, upstream: Upstream): Upstream | Rejection {
    const { snapshot } = question
    if (this.#judgedNode === undefined || snapshot.policy.size === 0) return upstream
    const allowed = withoutDenied(upstream, ({ workload }, address) =>
      this.#localDenial(question, workload?.uid, address),
    )
    return 'denial' in allowed ? { reason: 'policy_denied', detail: allowed.denial } : allowed
  }

  /** Why a pod of this node does not let the client in; `undefined` where it does, or is asked when it gets there. */
  #localDenial(question: Question, uid: string | undefined, destination: SocketAddress): string | undefined {
    const workload = uid === undefined ? undefined : question.snapshot.workload.get(uid)
    if (workload === undefined || this.#judgedNode === undefined || workload.node !== this.#judgedNode)
      return undefined
    const decision = decide(question, workload, destination)
    return decision.isAllowed ? undefined : decision.detail
  }

  #answerFor(
    snapshot: MeshSnapshot,
    service: Service,
    servicePort: number,
    vantage: Vantage,
  ): Upstream | Rejection {
    const key = serviceKey(service)
    const answer = viewService({
      service,
      servicePort,
      vantage,
      members: snapshot.workloadIndex.membersOf(key),
      hosts: snapshot.host,
      network: this.#network,
      isPlaintextPermitted: (workload) => this.#isPlaintextPermitted(workload, key),
      clientNode: this.#judgedNode,
    })
    if (answer.kind === 'endpoints')
      return { ...AMBIENT_SETTINGS, name: `${key}:${servicePort}`, endpoints: answer.endpoints }
    if (answer.isMtls) return mtlsRejection(`service ${key}`)
    return { reason: 'no_endpoints', detail: `service ${key} has no endpoint for port ${servicePort}` }
  }

  #toAddress(question: Question, service: Service | undefined): Route {
    const { facts, snapshot } = question
    const workload = this.#workloadAt(snapshot, facts.destination)
    if (workload === undefined) return this.#direct(question, { service })
    const name = `workload ${workload.uid}`
    if (workload.waypoint !== undefined)
      return reject(question, waypointRejection(name, workload.waypoint), service)
    if (workload.protocol === 'hbone' && !this.#isPlaintextPermitted(workload))
      return reject(question, mtlsRejection(name), service)
    const denial = this.#localDenial(question, workload.uid, facts.destination)
    if (denial !== undefined) return reject(question, { reason: 'policy_denied', detail: denial }, service)
    // A policy may deny the twin address only.
    const allowed = this.#withoutDenied(question, this.#directUpstream(question, workload))
    if ('reason' in allowed) return reject(question, allowed, service)
    return this.#accept(question, 'original-destination', allowed, service)
  }

  #direct(
    question: Question,
    { owner, service }: { readonly owner?: Workload; readonly service?: Service | undefined } = {},
  ): Route {
    return this.#accept(question, 'original-destination', this.#directUpstream(question, owner), service)
  }

  #accept(
    question: Question,
    kind: 'upstream' | 'original-destination',
    upstream: Upstream,
    service: Service | undefined,
  ): Route {
    const { accessLogs } = question.facts.listener
    const clientTwins = this.#clientTwins(question)
    return {
      kind,
      upstream,
      settings: { accessLogs },
      labels: labelsOf(question, service),
      ...(clientTwins !== undefined && { clientTwins }),
    }
  }

  /** By which the other end knows a pod of this node whose connection goes on in the other family. */
  #clientTwins({ facts, source }: Question): readonly SocketAddress[] | undefined {
    const { client, listener } = facts
    if (source === undefined || source.node !== this.#judgedNode || listener.direction !== 'outbound')
      return undefined
    const twins = source.addresses.filter(({ family }) => family !== client.ip.family)
    return twins.length === 0 ? undefined : twins.map((ip) => ({ ip: unpackIp(ip), port: 0 }))
  }

  #directUpstream({ facts }: Question, owner: Workload | undefined): Upstream {
    const { listener, destination } = facts
    return this.#directUpstreams.upstreamOf({ direction: listener.direction, destination, owner })
  }

  /** Whose policies decide about an inbound connection: those of the pod that it was captured in, whatever its address. */
  #serverOf({ facts, snapshot }: Question): Workload | undefined {
    return facts.pod === undefined
      ? this.#workloadAt(snapshot, facts.destination)
      : this.#workloadOf(snapshot, facts.pod)
  }

  #workloadOf(snapshot: MeshSnapshot, pod: CapturedPod): Workload | undefined {
    return workloadOfPod(snapshot, pod, { clusterId: this.#clusterId, network: this.#network })
  }

  #workloadAt(snapshot: MeshSnapshot, { ip }: SocketAddress): Workload | undefined {
    return snapshot.workloadIndex.at({ network: this.#network, ip })
  }

  #isPlaintextPermitted({ uid, namespace }: Workload, service?: string): boolean {
    return ['*', uid, namespace, ...(service === undefined ? [] : [service])].some((name) =>
      this.#permitted.has(name),
    )
  }
}

/** Whether a workload's policies let the client in, at the address that it asks for. */
function decide(
  { facts, snapshot, source }: Question,
  workload: Workload,
  destination = facts.destination,
): PolicyDecision {
  return evaluatePolicies({
    policies: snapshot.policyIndex,
    destination: workload,
    connection: {
      client: facts.client.ip,
      destination,
      ...(source !== undefined && { source }),
    },
  })
}

function reject(question: Question, rejection: Rejection, service: Service | undefined): Route {
  const { accessLogs } = question.facts.listener
  return { kind: 'reject', ...rejection, settings: { accessLogs }, labels: labelsOf(question, service) }
}

function labelsOf({ source }: Question, service: Service | undefined): RouteLabels {
  const ofSource = source && workloadLabels(source)
  const ofService = service && {
    hostname: service.hostname,
    namespace: service.namespace,
    name: service.name,
  }
  if (ofSource !== undefined)
    return ofService ? { source: ofSource, service: ofService } : { source: ofSource }
  return ofService ? { service: ofService } : {}
}

/** The first service of a workload that has `targetPort` behind one of its ports, for the labels. */
function inboundService(snapshot: MeshSnapshot, workload: Workload, targetPort: number): Service | undefined {
  for (const key of workload.services.keys()) {
    const service = snapshot.service.get(key)
    if (service === undefined) continue
    for (const servicePort of service.ports.keys())
      if (targetPortOf(workload, service, servicePort) === targetPort) return service
  }
  return undefined
}

function isIntoPod({ pod, listener }: RouteFacts): boolean {
  return pod !== undefined && listener.direction === 'inbound'
}

function unknownPodRejection({ namespace, name }: CapturedPod): Rejection {
  return {
    reason: 'policy_denied',
    detail: `the mesh has no workload for pod ${namespace}/${name}, so nobody can say what its policies allow`,
  }
}

function mtlsRejection(destination: string): Rejection {
  return {
    reason: 'mtls_required',
    detail: `${destination} asks for mTLS (HBONE), which is not spoken here; name it in TWINSTACK_ALLOW_PLAINTEXT to permit plain text`,
  }
}

function waypointRejection(destination: string, waypoint: GatewayAddress): Rejection {
  const name =
    waypoint.kind === 'address' ? waypoint.address.ip.text : `${waypoint.namespace}/${waypoint.hostname}`
  return {
    reason: 'mtls_required',
    detail: `${destination} is reached through waypoint ${name} over mTLS (HBONE) only, which TWINSTACK_ALLOW_PLAINTEXT does not lift`,
  }
}
