/**
 * What a stream presents and trusts: the root certificate, the token and the headers. Read from their files at each
 * stream, so that a rotated one is in use from the next one on and nobody has to watch them.
 */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'

import { AgentError, errorMessage } from '../../core/errors.ts'

/** Where credentials come from. */
export interface CredentialSources {
  /** `system`: the roots that Node ships. */
  readonly root: { readonly path: string } | { readonly pem: string } | 'system'
  /** Absent: no token is sent. */
  readonly token?: { readonly path: string } | { readonly text: string }
  /** Sent as `clusterid`; empty: not sent. */
  readonly clusterId: string
  /** Further headers, by lower-case name. */
  readonly headers: Readonly<Record<string, string>>
}

/** What one stream presents and trusts. */
export interface Credentials {
  /** PEM; absent: the roots that Node ships. */
  readonly root?: Buffer
  readonly headers: Readonly<Record<string, string>>
}

/**
 * Reads what a stream needs.
 *
 * @throws {AgentError} `credentials_unreadable` with the file and the remedy
 */
export async function readCredentials(sources: CredentialSources, isTls: boolean): Promise<Credentials> {
  const root = isTls ? await readRoot(sources.root) : undefined
  const token = await readToken(sources.token)
  const headers = {
    ...(sources.clusterId !== '' && { clusterid: sources.clusterId }),
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
    ...sources.headers,
  }
  return { headers, ...(root !== undefined && { root }) }
}

async function readRoot(source: CredentialSources['root']): Promise<Buffer | undefined> {
  if (source === 'system') return undefined
  const remedy = 'mount the ConfigMap istio-ca-root-cert, or set XDS_ROOT_CA to a file with its root-cert.pem'
  const isFile = 'path' in source
  const root = isFile
    ? await readCredential(source.path, 'root certificate', remedy)
    : Buffer.from(source.pem)
  try {
    // TLS takes what is no certificate without a word, and then trusts nobody.
    new X509Certificate(root)
  } catch (cause) {
    const what = isFile ? `the root certificate in ${source.path}` : 'the root certificate of XDS_ROOT_CA'
    throw unreadable(`${what} is no PEM certificate: ${errorMessage(cause)}; ${remedy}`, cause)
  }
  return root
}

async function readToken(source: CredentialSources['token']): Promise<string | undefined> {
  if (source === undefined) return undefined
  if ('text' in source) return source.text
  const remedy = 'mount a projected service account token with the audience istio-ca there, or set AUTH_TOKEN'
  const token = (await readCredential(source.path, 'token', remedy)).toString('utf8').trim()
  if (token === '') throw unreadable(`the token in ${source.path} is empty; ${remedy}`)
  // A line break in a header would be a bug of ours at the next layer; here it is a wrong file.
  if (!/^[\x21-\x7e]+$/.test(token)) throw unreadable(`${source.path} holds no token; ${remedy}`)
  return token
}

async function readCredential(path: string, what: string, remedy: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw unreadable(`the ${what} cannot be read: ${errorMessage(cause)}; ${remedy}`, cause)
  }
}

function unreadable(message: string, cause?: unknown): AgentError {
  return new AgentError({ code: 'credentials_unreadable', source: 'config', message, cause })
}
