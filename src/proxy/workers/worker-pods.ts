/** A worker's side of the captured pods: accepts on their sockets, which all workers share, and knows where they are. */
import { reachesPodListener } from '../own-addresses.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { Listener } from '../../mesh/listener.ts'
import type { CapturedPod } from '../../mesh/pod.ts'
import type { PodMessage } from '../pods/pod-messages.ts'
import type { PodPlace } from '../pods/pod-place.ts'
import type { ListenEvents } from '../transport.ts'

interface Stoppable {
  stop(how?: 'accept' | 'leave'): void
}

export interface WorkerPodsDeps {
  readonly acceptOn: (fd: number, events: ListenEvents, options: { readonly isShared: boolean }) => Stoppable
  readonly accept: (
    socket: Parameters<ListenEvents['accepted']>[0],
    listener: Listener,
    place: PodPlace,
  ) => void
  readonly acceptFailed: ListenEvents['acceptFailed']
}

type PodUpdate = Extract<PodMessage, { kind: 'pod' }>

interface HeldPod {
  place: PodPlace
  /** By the index of the socket. */
  readonly acceptors: Map<number, Stoppable>
}

export class WorkerPods {
  readonly #deps: WorkerPodsDeps
  readonly #listeners = new Map<string, Listener>()
  readonly #ports = new Set<number>()
  /** By the id of the network namespace: a pod that came back is another one there. */
  readonly #pods = new Map<number, HeldPod>()

  constructor(deps: WorkerPodsDeps) {
    this.#deps = deps
  }

  /** What pods listen on. */
  setListeners(listeners: readonly Listener[]): void {
    for (const listener of listeners) {
      this.#listeners.set(listener.name, listener)
      for (const { address } of listener.addresses) this.#ports.add(address.port)
    }
  }

  /** A pod is new, has more sockets than before, or other addresses. */
  update({ pod, namespace, sockets }: PodUpdate): void {
    let held = this.#pods.get(namespace.id)
    if (held === undefined) {
      held = { place: { pod, namespace }, acceptors: new Map() }
      this.#pods.set(namespace.id, held)
    }
    held.place = { pod, namespace }
    for (const { index, fd, listener } of sockets) {
      if (!held.acceptors.has(index)) held.acceptors.set(index, this.#acceptOn(held, fd, listener))
    }
  }

  /** A pod is gone. What its sockets have queued is left to be reset. */
  remove(namespaceId: number): void {
    const held = this.#pods.get(namespaceId)
    this.#pods.delete(namespaceId)
    for (const acceptor of held?.acceptors.values() ?? []) acceptor.stop('leave')
  }

  /** Accepts what is queued, and then nothing more. The pods stay for their connections. */
  stopAccepting(): void {
    for (const { acceptors } of this.#pods.values()) {
      for (const acceptor of acceptors.values()) acceptor.stop()
      acceptors.clear()
    }
  }

  /** True when connecting to the address from within the pod would reach one of its listeners here. */
  isOwnAddress(address: SocketAddress, pod: CapturedPod): boolean {
    return reachesPodListener(address, pod, this.#ports)
  }

  #acceptOn(held: HeldPod, fd: number, name: string): Stoppable {
    const listener = this.#listeners.get(name)
    if (listener === undefined) throw new TypeError(`a pod has a socket of listener ${name}, never sent`)
    return this.#deps.acceptOn(
      fd,
      {
        accepted: (socket) => {
          this.#deps.accept(socket, listener, held.place)
        },
        acceptFailed: this.#deps.acceptFailed,
      },
      { isShared: true },
    )
  }
}
