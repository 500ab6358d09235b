/**
 * One connection to istio-cni as a pure machine: a packet in, what to ask of the sink out, then the answer. It knows
 * whether the snapshot is still being sent, whom it has named, and that each message has one answer. No I/O, no clock.
 *
 * A message that is refused has no effect, and the connection goes on: what is served stays served.
 */
import { formatPath } from '../core/result.ts'
import { decodeRequest, encodeResponse } from './zds-messages.ts'

import type { Pod } from '../mesh/pod.ts'
import type { DecodedRequest, WorkloadRequest, ZdsMessageKind } from './zds-messages.ts'
import type { ZdsPacket } from './zds-transport.ts'

/** What a message asks for. */
export type Task =
  /** The descriptor goes to the sink. */
  | { readonly kind: 'add'; readonly pod: Pod; readonly namespaceFd: number }
  | { readonly kind: 'keep'; readonly uid: string }
  | { readonly kind: 'delete'; readonly uid: string }
  /** `isComplete` false: a message could not be read and may have been about any pod, so nobody is known to be gone. */
  | { readonly kind: 'reconcile'; readonly uids: ReadonlySet<string>; readonly isComplete: boolean }
  /** Nothing: it is against the protocol. */
  | { readonly kind: 'refuse'; readonly problem: string }

/** One message. */
export interface Received {
  readonly kind: ZdsMessageKind
  readonly task: Task
  /** Descriptors that nobody takes; to be closed. */
  readonly surplus: readonly number[]
}

/** What is sent back. */
export interface Answer {
  readonly bytes: Uint8Array
  /** The error in it, with the message that it is about; absent: all is well. */
  readonly problem?: string
}

/** The message that waits for its answer. */
interface Pending {
  readonly subject: string
  readonly task: Task
}

export class ZdsSession {
  readonly #named = new Set<string>()
  #isComplete = true
  #hasSnapshot = false
  #pending: Pending | undefined

  /** True when the snapshot of this connection has been reconciled. */
  get hasSnapshot(): boolean {
    return this.#hasSnapshot
  }

  /** Takes one message. It must be settled before the next. */
  receive(packet: ZdsPacket): Received {
    if (this.#pending !== undefined) throw new TypeError('the last message is not settled yet')
    const decoded = decodeRequest(packet.bytes)
    const kind = decoded.ok ? decoded.request.kind : decoded.kind
    const uid = uidOf(decoded)
    this.#name(kind, uid)
    const task = this.#taskOf(packet, decoded)
    this.#pending = { subject: describe(kind, uid), task }
    return { kind, task, surplus: task.kind === 'add' ? [] : packet.descriptors }
  }

  /**
   * The message has had its effect, or not, and gives its answer.
   *
   * @param problem what kept it from its effect; absent: nothing did
   */
  settle(problem?: string): Answer {
    const pending = this.#pending
    if (pending === undefined) throw new TypeError('there is no message to settle')
    this.#pending = undefined
    if (problem === undefined) {
      if (pending.task.kind === 'reconcile') this.#hasSnapshot = true
      return { bytes: encodeResponse('') }
    }
    const text = `${pending.subject}: ${problem}`
    return { bytes: encodeResponse(text), problem: text }
  }

  /** Whom the snapshot names stays, also when the message itself is refused or fails. */
  #name(kind: ZdsMessageKind, uid: string | undefined): void {
    if (this.#hasSnapshot) return
    if (kind === 'delete') return
    if (kind === 'snapshot-sent') return
    if (uid === undefined) this.#isComplete = false
    else this.#named.add(uid)
  }

  #taskOf(packet: ZdsPacket, decoded: DecodedRequest): Task {
    const { bytes, descriptors, isTruncated, hasLostDescriptors } = packet
    if (isTruncated) return refuse(`longer than the ${bytes.length} bytes that are taken of a packet`)
    if (!decoded.ok) return refuse(formatProblem(decoded))
    if (hasLostDescriptors)
      return refuse('its descriptor is lost, the process is at its limit of open descriptors (RLIMIT_NOFILE)')
    return this.#taskOfRequest(decoded.request, descriptors)
  }

  #taskOfRequest(request: WorkloadRequest, descriptors: readonly number[]): Task {
    const { kind } = request
    const [namespaceFd, ...others] = descriptors
    if (kind === 'add') {
      if (namespaceFd === undefined || others.length > 0)
        return refuse(`needs one descriptor, of the network namespace, and came with ${descriptors.length}`)
      return { kind, pod: request.pod, namespaceFd }
    }
    if (namespaceFd !== undefined) return refuse(`takes no descriptor and came with ${descriptors.length}`)
    switch (kind) {
      case 'keep':
        return this.#hasSnapshot ? refuse('belongs to a snapshot, which is complete') : request
      case 'delete':
        // Added or kept earlier in the same snapshot: it is gone now, whatever becomes of its removal.
        this.#named.delete(request.uid)
        return request
      case 'snapshot-sent':
        if (this.#hasSnapshot) return refuse('the snapshot of this connection is complete already')
        return { kind: 'reconcile', uids: new Set(this.#named), isComplete: this.#isComplete }
    }
  }
}

function refuse(problem: string): Task {
  return { kind: 'refuse', problem }
}

function uidOf(decoded: DecodedRequest): string | undefined {
  if (!decoded.ok) return decoded.uid
  const { request } = decoded
  if (request.kind === 'snapshot-sent') return undefined
  return request.kind === 'add' ? request.pod.uid : request.uid
}

function formatProblem({ problem }: DecodedRequest & { readonly ok: false }): string {
  const path = formatPath(problem.path)
  return path === '' ? problem.message : `${path} ${problem.message}`
}

function describe(kind: ZdsMessageKind, uid: string | undefined): string {
  if (kind === 'unknown') return 'a message'
  return uid === undefined ? kind : `${kind} of pod ${uid}`
}
