/**
 * Finds out why a connection cannot be made. gRPC says so in prose only; one connection of our own, after a failure, says
 * it in the codes of Node and OpenSSL, so that an operator reads the cause and the remedy.
 */
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'

import { AgentError } from '../../core/errors.ts'

import type { Socket } from 'node:net'
import type { PeerCertificate } from 'node:tls'

/** Says what is wrong with a certificate for a host; `undefined`: nothing. */
export type IdentityCheck = (host: string, certificate: PeerCertificate) => Error | undefined

const PROBE_TIMEOUT_MS = 5_000

/** Connects, with TLS where `tls` is given, and closes again. Resolves with what failed, `undefined` when nothing did. */
export async function probeConnection(
  address: { readonly host: string; readonly port: number },
  tls: { readonly root: Buffer | undefined; readonly verify: IdentityCheck } | undefined,
): Promise<unknown> {
  const { host, port } = address
  return new Promise((resolve) => {
    // Both families, each with 250 ms before the next address is tried too.
    const options = { host, port, autoSelectFamily: true }
    const socket: Socket =
      tls === undefined
        ? connectTcp(options)
        : connectTls({
            ...options,
            ALPNProtocols: ['h2'],
            checkServerIdentity: tls.verify,
            ...(tls.root !== undefined && { ca: tls.root }),
          })
    const finish = (failure: unknown): void => {
      socket.destroy()
      resolve(failure)
    }
    socket.on('error', finish)
    socket.on(tls === undefined ? 'connect' : 'secureConnect', () => {
      finish(undefined)
    })
    socket.setTimeout(PROBE_TIMEOUT_MS, () => {
      const message = `no answer within ${PROBE_TIMEOUT_MS} ms`
      finish(new AgentError({ code: 'timeout', source: 'control-plane', message }))
    })
  })
}
