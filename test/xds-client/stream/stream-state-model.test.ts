/** The machine of a stream against a model of a control plane, through random histories with drops. */
import fc from 'fast-check'
import t from 'tap'

import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { StreamState } from '../../../src/xds-client/stream/stream-state.ts'
import { Subscription } from '../../../src/xds-client/stream/subscription.ts'
import { ModelServer, readModelBody } from '../../fixtures/model-server.ts'

import type { XdsMode } from '../../../src/xds-client/stream/discovery-messages.ts'
import type { Rejection, TypeUpdate } from '../../../src/xds-client/discovery.ts'

const NAMES = ['a', 'b', 'c', 'd'] as const
/** A version that the client's sink does not accept. */
const BAD = 'bad'
const NODE = { id: 'node', metadata: {} }

type Step =
  | { readonly do: 'set'; readonly name: string; readonly version: string | undefined }
  | { readonly do: 'want'; readonly names: readonly string[] }
  | { readonly do: 'ask-again'; readonly name: string }
  | { readonly do: 'respond' | 'deliver-response' | 'deliver-request' | 'settle' | 'drop' | 'sync' }

/** What happens when nothing else does. */
const QUIET: readonly Step[] = [
  { do: 'deliver-request' },
  { do: 'respond' },
  { do: 'deliver-response' },
  { do: 'settle' },
]

/** A client, a server and what is on its way between them. */
class History {
  readonly server: ModelServer
  readonly subscription: Subscription
  readonly replica = new Map<string, string>()
  readonly #mode: XdsMode
  readonly #isNamed: boolean
  #stream: StreamState
  #toClient: Buffer[] = []
  #toServer: Uint8Array[] = []
  #applying: TypeUpdate | undefined

  constructor(mode: XdsMode, isNamed: boolean) {
    const typeUrl = isNamed ? TYPE_URLS.assignment : TYPE_URLS.cluster
    this.#mode = mode
    this.#isNamed = isNamed
    this.server = new ModelServer({ mode, typeUrl, isNamed })
    this.subscription = new Subscription({ typeUrl, interest: isNamed ? 'named' : 'wildcard' })
    this.#stream = this.#open()
  }

  step(step: Step): void {
    switch (step.do) {
      case 'set':
        this.server.set(step.name, step.version)
        break
      case 'want':
        for (const name of this.replica.keys())
          if (this.#isNamed && !step.names.includes(name)) this.replica.delete(name)
        this.subscription.setNames(step.names)
        break
      case 'ask-again':
        if (this.subscription.names.has(step.name)) this.subscription.subscribe([step.name])
        break
      case 'respond':
        this.#respond()
        break
      case 'deliver-response':
        this.#deliverResponse()
        break
      case 'deliver-request':
        this.#deliverRequest()
        break
      case 'settle':
        this.#settle()
        break
      case 'sync':
        for (const each of QUIET) this.step(each)
        break
      case 'drop':
        this.#settle()
        this.#stream = this.#open()
        break
    }
    this.#toServer.push(...this.#stream.takeRequests())
  }

  /** Lets everything arrive that is on its way, and everything that follows from it. */
  finish(): void {
    for (let round = 0; round < 200; round++) for (const step of QUIET) this.step(step)
    if (this.#toServer.length + this.#toClient.length > 0) throw new Error('they talk for ever')
  }

  #open(): StreamState {
    this.#toClient = []
    this.#toServer = []
    this.server.open()
    const stream = new StreamState({ mode: this.#mode, node: NODE, subscriptions: [this.subscription] })
    this.#toServer.push(...stream.takeRequests())
    return stream
  }

  #respond(): void {
    const response = this.server.respond()
    if (response !== undefined) this.#toClient.push(response)
  }

  #deliverRequest(): void {
    const request = this.#toServer.shift()
    if (request !== undefined) this.server.receive(request)
  }

  #deliverResponse(): void {
    const bytes = this.#applying === undefined ? this.#toClient.shift() : undefined
    if (bytes === undefined) return
    const received = this.#stream.receive(bytes)
    if (received.kind !== 'update') throw new Error(JSON.stringify(received))
    this.#applying = received.update
  }

  #settle(): void {
    const update = this.#applying
    if (update === undefined) return
    this.#applying = undefined
    const rejections: Rejection[] = []
    const seen = new Set<string>()
    for (const { value } of update.resources) {
      const { name, version } = readModelBody(value)
      seen.add(name)
      if (version === BAD) rejections.push({ name, problems: ['bad'] })
      else if (!this.#isNamed || this.subscription.names.has(name)) this.replica.set(name, version)
    }
    for (const name of update.removed) this.replica.delete(name)
    if (update.isWholeState && !this.#isNamed)
      for (const name of this.replica.keys()) if (!seen.has(name)) this.replica.delete(name)
    this.#stream.settle(rejections)
  }
}

const steps = (versions: readonly string[]): fc.Arbitrary<readonly Step[]> =>
  fc.array(
    fc.oneof(
      fc.record({
        do: fc.constant('set' as const),
        name: fc.constantFrom(...NAMES),
        version: fc.constantFrom(undefined, ...versions),
      }),
      fc.record({ do: fc.constant('want' as const), names: fc.subarray([...NAMES]) }),
      fc.record({ do: fc.constant('ask-again' as const), name: fc.constantFrom(...NAMES) }),
      fc.record({
        do: fc.constantFrom(
          'respond' as const,
          'deliver-response' as const,
          'deliver-request' as const,
          'settle' as const,
        ),
      }),
      fc.record({ do: fc.constantFrom('sync' as const, 'drop' as const) }),
    ),
    { maxLength: 60 },
  )

for (const mode of ['delta', 'sotw'] as const)
  for (const isNamed of [false, true]) {
    const what = `${isNamed ? 'named' : 'wildcard'} ${mode}`

    t.test(`ends with the state of the server through any history, ${what}`, (t) => {
      fc.assert(
        fc.property(steps(['1', '2', '3']), (history) => {
          const lab = new History(mode, isNamed)
          for (const step of history) lab.step(step)
          lab.finish()
          const { server, subscription, replica } = lab
          const isWanted = (name: string): boolean => !isNamed || subscription.names.has(name)
          const truth = [...server.state].filter(([name]) => isWanted(name)).sort()
          // Of named types the state-of-the-world protocol cannot say that one is gone.
          const cannotRemove = mode === 'sotw' && isNamed
          const has = [...replica].filter(([name]) => !cannotRemove || server.state.has(name)).sort()
          if (JSON.stringify(has) !== JSON.stringify(truth))
            throw new Error(`client ${JSON.stringify(has)}, server ${JSON.stringify(truth)}`)
          if (isNamed && server.subscribed.join() !== [...subscription.names].sort().join())
            throw new Error(`the server sends ${server.subscribed.join()}`)
          if (server.complaints.length > 0) throw new Error(server.complaints.join('; '))
          if (server.unanswered > 0) throw new Error(`${server.unanswered} responses without an answer`)
        }),
        { numRuns: 500 },
      )
      t.end()
    })

    t.test(`keeps the last good version of what is rejected, ${what}`, (t) => {
      fc.assert(
        fc.property(steps(['1', BAD]), (history) => {
          const lab = new History(mode, isNamed)
          for (const step of history) lab.step(step)
          lab.finish()
          const { server, replica } = lab
          const isBad = (name: string): boolean => server.state.get(name) === BAD
          for (const [name, version] of replica)
            if (!isBad(name) && server.state.has(name) && server.state.get(name) !== version)
              throw new Error(`${name} is ${version}`)
          if ([...replica.values()].includes(BAD)) throw new Error('a rejected version was kept')
          if (server.complaints.length > 0) throw new Error(server.complaints.join('; '))
          if (server.unanswered > 0) throw new Error(`${server.unanswered} responses without an answer`)
        }),
        { numRuns: 300 },
      )
      t.end()
    })
  }
