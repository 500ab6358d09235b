/**
 * The listening sockets of the pool: for each address one per worker, all of them on one port (SO_REUSEPORT). The main
 * thread owns the descriptors; a worker says when it has let go of one, and only then is it closed.
 */
import { PendingAnswers } from '../../core/pending-answers.ts'
import { withoutFilterChains } from '../../mesh/listener.ts'
import { releaseBy } from '../release.ts'

import type { Clock } from '../../core/clock.ts'
import type { SocketAddress } from '../../core/address.ts'
import type { ErrorCode } from '../../core/errors.ts'
import type { Listener, ListenerAddress } from '../../mesh/listener.ts'
import type { ListenOptions, ListenResult } from '../transport.ts'
import type { ToWorker } from './messages.ts'

/** More than there can be workers. */
const MAX_PLACES = 1_024

/** Sockets of one address that were opened together, or why they could not be. */
export type OpenedSockets =
  | { readonly ok: true; readonly address: SocketAddress; readonly fds: readonly number[] }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string }

/** Opens and closes listening descriptors. */
export interface OpenSockets {
  /** Opens `count` sockets that share an address; fails as a whole, and when others listen there already. */
  open(address: ListenerAddress, options: ListenOptions, count: number): OpenedSockets
  /** Ends the listening of a socket that cannot be closed yet: what it has queued is reset, what comes is refused. */
  stopListening(fd: number): void
  close(fd: number): void
}

export interface SharedSocketsDeps {
  readonly clock: Clock
  readonly sockets: OpenSockets
  /** Where the counters have a listener. */
  readonly entryOf: (listener: string) => number
  /** The workers that live. */
  readonly live: () => readonly number[]
  readonly post: (worker: number, message: ToWorker) => void
}

interface SharedSocket {
  readonly id: number
  readonly listener: Listener
  /** One for each worker, in their order. */
  readonly fds: readonly number[]
  /** Who accepts on each: the worker that it is for, or another one while that is away. */
  readonly servers: (number | undefined)[]
  /** Who has not let go yet, once it is being closed. */
  released: PendingAnswers<string> | undefined
}

export class SharedSockets {
  readonly #deps: SharedSocketsDeps
  readonly #workers: number
  readonly #sockets = new Map<number, SharedSocket>()
  #nextId = 1

  constructor(deps: SharedSocketsDeps, options: { readonly workers: number }) {
    this.#deps = deps
    this.#workers = options.workers
  }

  /** Binds one address of a listener for every worker. */
  listen(listener: Listener, address: ListenerAddress, options: ListenOptions): Promise<ListenResult> {
    const opened = this.#deps.sockets.open(address, options, this.#workers)
    if (!opened.ok) return Promise.resolve(opened)
    const { fds } = opened
    const servers: SharedSocket['servers'] = fds.map(() => undefined)
    const socket: SharedSocket = { id: this.#nextId++, listener, fds, servers, released: undefined }
    this.#sockets.set(socket.id, socket)
    for (const worker of this.#deps.live()) this.#serve(socket, worker)
    let closing: Promise<void> | undefined
    const close = (): Promise<void> => (closing ??= this.#close(socket))
    return Promise.resolve({ ok: true, socket: { address: opened.address, close } })
  }

  /** The listener that a socket was opened for, as long as there is one. */
  listenerOf(name: string): Listener | undefined {
    for (const { listener } of this.#sockets.values()) if (listener.name === name) return listener
    return undefined
  }

  /** A worker has started: it gets its own sockets back from those who stood in, and stands in for who is away. */
  workerStarted(worker: number): void {
    for (const socket of this.#open()) this.#serve(socket, worker)
  }

  /** A worker has let go of a descriptor. */
  unlistened(worker: number, id: number): void {
    this.#sockets.get(Math.floor(id / MAX_PLACES))?.released?.settle(holderOf(worker, id))
  }

  /** A worker has died: others take the descriptors on which it accepted, so that nobody waits for its return. */
  workerDied(worker: number): void {
    const [standIn] = this.#deps.live()
    for (const socket of this.#sockets.values()) {
      for (const place of socket.fds.keys()) {
        if (socket.servers[place] !== worker) continue
        socket.servers[place] = undefined
        socket.released?.settle(holderOf(worker, placeId(socket, place)))
        if (standIn !== undefined && socket.released === undefined) this.#hand(socket, place, standIn)
      }
    }
  }

  #open(): readonly SharedSocket[] {
    return [...this.#sockets.values()].filter(({ released }) => released === undefined)
  }

  #serve(socket: SharedSocket, worker: number): void {
    for (const [place, server] of socket.servers.entries()) {
      if (server !== undefined && place !== worker) continue
      if (server !== undefined) this.#deps.post(server, { kind: 'unlisten', socket: placeId(socket, place) })
      this.#hand(socket, place, worker)
    }
  }

  #hand(socket: SharedSocket, place: number, worker: number): void {
    const fd = socket.fds[place]
    if (fd === undefined) throw new TypeError(`socket ${socket.id} has no descriptor ${place}`)
    socket.servers[place] = worker
    const { listener } = socket
    const entry = this.#deps.entryOf(listener.name)
    this.#deps.post(worker, {
      kind: 'listen',
      socket: { id: placeId(socket, place), fd, listener: withoutFilterChains(listener), entry },
    })
  }

  #close(socket: SharedSocket): Promise<void> {
    const { clock, post, sockets } = this.#deps
    const held = socket.servers.flatMap((server, place) =>
      server === undefined ? [] : [{ server, id: placeId(socket, place) }],
    )
    const holders = held.map(({ server, id }) => holderOf(server, id))
    socket.released = new PendingAnswers(clock, holders)
    for (const { server, id } of held) post(server, { kind: 'unlisten', socket: id })
    return releaseBy(clock, socket.released, {
      late: () => {
        for (const fd of socket.fds) sockets.stopListening(fd)
      },
      released: () => {
        this.#sockets.delete(socket.id)
        for (const fd of socket.fds) sockets.close(fd)
      },
    })
  }
}

/** One of the descriptors of a socket, as messages name it. */
function placeId({ id }: SharedSocket, place: number): number {
  return id * MAX_PLACES + place
}

function holderOf(worker: number, id: number): string {
  return `${worker} ${id}`
}
