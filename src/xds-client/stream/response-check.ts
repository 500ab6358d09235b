/**
 * What a response says against itself, found before anybody looks into its resources; and the text of a NACK.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
 */
import { readFirstText } from './discovery-messages.ts'
import { TYPE_URLS } from '../discovery.ts'
import { ITEMS_PER_STEP } from '../slices.ts'

import type { DiscoveryResponse } from './discovery-messages.ts'
import type { EncodedResource, Rejection } from '../discovery.ts'
import type { Steps } from '../slices.ts'

/** The longest text of a NACK, in UTF-16 units: it ends up in logs at both ends. */
export const MAX_NACK_LENGTH = 4_096

/** Of these the first field is the name, which the state-of-the-world protocol says nowhere else. */
const SELF_NAMED: ReadonlySet<string> = new Set([TYPE_URLS.listener, TYPE_URLS.cluster, TYPE_URLS.assignment])

/** Names with what is wrong about them. A name that is not in it is fine as far as can be seen here. */
export function* findContradictions(
  response: DiscoveryResponse,
  nameOf: (resource: EncodedResource) => string,
): Steps<ReadonlyMap<string, Rejection>> {
  const rejections = new Map<string, Rejection>()
  const seen = new Set<string>()
  const reject = (name: string, problem: string): void => {
    const earlier = rejections.get(name)?.problems ?? []
    if (!earlier.includes(problem)) rejections.set(name, { name, problems: [...earlier, problem] })
  }
  for (const [index, resource] of response.resources.entries()) {
    if (index % ITEMS_PER_STEP === 0) yield
    const name = nameOf(resource)
    if (name !== '' && seen.has(name)) reject(name, 'it is in the response twice')
    seen.add(name)
    if (resource.typeUrl !== response.typeUrl)
      reject(name, `it is ${describeType(resource.typeUrl)} in a response of ${response.typeUrl}`)
  }
  for (const name of response.removed)
    if (seen.has(name)) reject(name, 'it is both in the response and removed')
  return rejections
}

function describeType(typeUrl: string): string {
  return typeUrl === '' ? 'without a body' : `a ${typeUrl}`
}

/** The name of a resource; empty where it has none, or is damaged (its decoder says so with the path). */
export function resourceName(resource: EncodedResource): string {
  const { name, typeUrl } = resource
  if (name !== '' || !SELF_NAMED.has(typeUrl)) return name
  try {
    return readFirstText(resource.value)
  } catch {
    // Whoever decodes the resource reports it.
    return ''
  }
}

/** `name: problem, problem; name: problem`, cut at {@link MAX_NACK_LENGTH} with the number of those that are left out. */
export function formatRejections(rejections: readonly Rejection[]): string {
  let text = ''
  for (const [index, { name, problems }] of rejections.entries()) {
    const part = `${name === '' ? 'a resource without a name' : name}: ${problems.join(', ')}`
    const separator = text === '' ? '' : '; '
    const room = MAX_NACK_LENGTH - text.length - separator.length
    if (part.length <= room) text += separator + part
    else if (index === 0) return `${part.slice(0, MAX_NACK_LENGTH)}… and ${rejections.length - 1} more`
    else return `${text}; and ${rejections.length - index} more`
  }
  return text
}
