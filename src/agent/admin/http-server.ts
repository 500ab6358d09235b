/**
 * The agent's small HTTP servers: one socket per family, each with a state of its own (rule 2), a table of routes, and
 * limits on everything a client can hold on to. What the routes answer is not decided here.
 */
import http from 'node:http'

import { formatSocketAddress, parseIp } from '../../core/address.ts'
import { Backoff } from '../../core/backoff.ts'
import { errnoOf, errorCodeOf, errorMessage } from '../../core/errors.ts'

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { IpAddress, SocketAddress } from '../../core/address.ts'
import type { Clock, Timer } from '../../core/clock.ts'
import type { Family } from '../../core/family.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type { ListenerAddressStatus } from '../../proxy/listener-set.ts'

export interface HttpRequest {
  readonly path: string
  readonly query: URLSearchParams
}

export interface HttpResponse {
  /** Default 200. */
  readonly status?: number
  /** Default plain text. */
  readonly contentType?: string
  readonly body: string
}

/** One path. */
export interface HttpRoute {
  readonly path: string
  /** GET answers HEAD too. */
  readonly method: 'GET' | 'POST'
  /** One line for lists of endpoints. */
  readonly help: string
  readonly answer: (request: HttpRequest) => HttpResponse | Promise<HttpResponse>
}

export interface HttpServerDeps {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

export interface HttpServerOptions {
  /** What statuses and messages call the server: `admin`. */
  readonly name: string
  /** One per family. */
  readonly addresses: readonly IpAddress[]
  /** 0: the kernel chooses, one for each family. */
  readonly port: number
  readonly routes: readonly HttpRoute[]
}

const ABSENT_PROBE_MS = 30_000
const FAILED_BACKOFF = { initialMs: 1_000, maxMs: 30_000 } as const
const LIMITS = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  maxHeaderSize: 16_384,
}
const MAX_CONNECTIONS = 256
/** A client that neither sends nor reads for so long is cut. */
const SILENCE_MS = 30_000
/** How long responses may go on after `close`. */
const CLOSE_WAIT_MS = 1_000

/** The wildcard addresses of families: reached on every address of the pod. */
export function wildcardAddresses(families: readonly Family[]): readonly IpAddress[] {
  return families.map((family) => parseIp(family === 'ipv4' ? '0.0.0.0' : '::'))
}

/** The loopback addresses of families: reached from within the network namespace only. */
export function loopbackAddresses(families: readonly Family[]): readonly IpAddress[] {
  return families.map((family) => parseIp(family === 'ipv4' ? '127.0.0.1' : '::1'))
}

/** One server on both families. */
export class DualStackHttpServer {
  readonly #sockets: readonly ServerSocket[]

  constructor(deps: HttpServerDeps, options: HttpServerOptions) {
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      void respond(options, deps.logger, request, response)
    }
    this.#sockets = options.addresses.map(
      (ip) => new ServerSocket(deps, { name: options.name, address: { ip, port: options.port } }, answer),
    )
  }

  /** Resolves when each address has been tried once; what failed is tried again until `close`. Never rejects. */
  async start(): Promise<void> {
    await Promise.all(this.#sockets.map((socket) => socket.open()))
  }

  /** Each address with what became of it; the listener's name is that of the server. */
  get statuses(): readonly ListenerAddressStatus[] {
    return this.#sockets.map((socket) => socket.status)
  }

  /** Stops; responses that are under way have a second. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(this.#sockets.map((socket) => socket.close()))
  }
}

/** One address. */
class ServerSocket {
  readonly #deps: HttpServerDeps
  readonly #name: string
  readonly #address: SocketAddress
  readonly #answer: http.RequestListener
  readonly #backoff: Backoff
  #bound: { readonly server: Server; readonly port: number } | undefined
  #failure: { readonly state: 'absent' | 'failed'; readonly reason: string } | undefined
  #retry: Timer | undefined
  #isClosed = false

  constructor(
    deps: HttpServerDeps,
    options: { readonly name: string; readonly address: SocketAddress },
    answer: http.RequestListener,
  ) {
    this.#deps = deps
    this.#name = options.name
    this.#address = options.address
    this.#answer = answer
    this.#backoff = new Backoff(deps, FAILED_BACKOFF)
  }

  get status(): ListenerAddressStatus {
    const { ip, port } = this.#address
    return {
      listener: this.#name,
      family: ip.family,
      address: { ip, port: this.#bound?.port ?? port },
      state: this.#bound === undefined ? (this.#failure?.state ?? 'failed') : 'bound',
      reason: this.#bound === undefined ? (this.#failure?.reason ?? 'not tried yet') : '',
    }
  }

  async open(): Promise<void> {
    const server = http.createServer(LIMITS, this.#answer)
    server.maxConnections = MAX_CONNECTIONS
    server.setTimeout(SILENCE_MS)
    const error = await listen(server, this.#address)
    if (error !== undefined) {
      if (!this.#isClosed) this.#fail(error)
      return
    }
    server.on('error', (late) => {
      this.#deps.logger.log('warn', `the ${this.#name} server lost a connection: ${errorMessage(late)}`)
    })
    const bound = server.address()
    const port = bound !== null && typeof bound === 'object' ? bound.port : this.#address.port
    this.#failure = undefined
    this.#bound = { server, port }
    if (this.#isClosed) await this.close()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#retry?.cancel()
    const server = this.#bound?.server
    this.#bound = undefined
    if (server === undefined) return
    await new Promise<void>((resolve) => {
      const cut = this.#deps.clock.setTimer(CLOSE_WAIT_MS, () => {
        server.closeAllConnections()
      })
      server.close(() => {
        cut.cancel()
        resolve()
      })
      server.closeIdleConnections()
    })
  }

  #fail(error: Error): void {
    const code = errorCodeOf(error)
    const isAbsent = code === 'family_absent' || code === 'address_unavailable'
    const reason = `cannot listen on ${formatSocketAddress(this.#address)}: ${errnoOf(error) ?? errorMessage(error)}`
    if (this.#failure?.reason !== reason) {
      this.#deps.logger.log('warn', `the ${this.#name} server ${reason}`, { code })
    }
    this.#failure = { state: isAbsent ? 'absent' : 'failed', reason }
    const delayMs = isAbsent ? ABSENT_PROBE_MS : this.#backoff.nextDelayMs()
    this.#retry = this.#deps.clock.setTimer(delayMs, () => void this.open())
  }
}

function listen(server: Server, { ip, port }: SocketAddress): Promise<Error | undefined> {
  return new Promise((resolve) => {
    server.once('error', resolve)
    server.listen({ host: ip.text, port, ipv6Only: ip.family === 'ipv6' }, () => {
      server.off('error', resolve)
      resolve(undefined)
    })
  })
}

async function respond(
  options: HttpServerOptions,
  logger: Logger,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  // Nothing here reads a body; unread it would stop the connection.
  request.resume()
  let answer: HttpResponse & { readonly allow?: string }
  try {
    answer = await answerOf(options, request)
  } catch (error) {
    logger.log('error', `the ${options.name} server could not answer ${request.url ?? ''}`, { error })
    answer = { status: 500, body: `${errorMessage(error)}\n` }
  }
  const body = Buffer.from(answer.body)
  response.writeHead(answer.status ?? 200, {
    'content-type': answer.contentType ?? 'text/plain; charset=utf-8',
    'content-length': body.length,
    'cache-control': 'no-cache, max-age=0',
    'x-content-type-options': 'nosniff',
    ...(answer.allow !== undefined && { allow: answer.allow }),
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

function answerOf(
  { routes }: HttpServerOptions,
  { method = 'GET', url = '/' }: IncomingMessage,
): Promise<HttpResponse> | (HttpResponse & { readonly allow?: string }) {
  const question = url.indexOf('?')
  const path = question < 0 ? url : url.slice(0, question)
  const matching = routes.filter((route) => route.path === path)
  if (matching.length === 0) return { status: 404, body: 'not found\n' }
  const route = matching.find((each) => each.method === (method === 'HEAD' ? 'GET' : method))
  if (route === undefined) {
    const allow = matching.map((each) => each.method).join(', ')
    return { status: 405, body: `use ${allow}\n`, allow }
  }
  const query = new URLSearchParams(question < 0 ? '' : url.slice(question + 1))
  return Promise.resolve(route.answer({ path, query }))
}
