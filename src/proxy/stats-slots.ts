/**
 * Where each number of a thread's counters is in its Float64Array: one slot per member of the closed unions, and a
 * bounded number of entries for listeners. All threads of a process run one build, so a slot is the same in each.
 */
import { FAMILIES } from '../core/family.ts'
import { CLOSE_REASONS } from './close-reason.ts'
import { ATTEMPT_RESULTS, FALLBACK_REASONS } from './connection-record.ts'

import type { Family } from '../core/family.ts'
import type { CloseReason } from './close-reason.ts'
import type { AttemptResult, Fallback } from './connection-record.ts'

/** Upper bounds of the buckets of the time that a successful connect took, in seconds; the last bucket is +Inf. */
export const CONNECT_BUCKETS_SECONDS: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
]

/** Why bytes that could have been spliced were copied: no pipe was to be had. */
export const SPLICE_FALLBACK_REASONS = [
  'descriptors_exhausted',
  'resources_exhausted',
  'unsupported',
] as const

export type SpliceFallbackReason = (typeof SPLICE_FALLBACK_REASONS)[number]

/** The counters of bytes, seen from the proxy. */
export type ByteCounter = 'downstreamReceived' | 'downstreamSent' | 'upstreamReceived' | 'upstreamSent'

/** Listeners that are counted each for itself. Further ones share {@link OVERFLOW_ENTRY}. */
export const LISTENER_ENTRIES = 1_024

/** The entry of the listeners for which there is none. */
export const OVERFLOW_ENTRY = LISTENER_ENTRIES

const BUCKET_COUNT = CONNECT_BUCKETS_SECONDS.length + 1
const BYTE_COUNTERS = ['downstreamReceived', 'downstreamSent', 'upstreamReceived', 'upstreamSent'] as const

/** Every reason why connections end. */
export const CLOSE_REASON_NAMES: readonly CloseReason[] = Object.keys(CLOSE_REASONS).filter(isCloseReason)

const placeOfResult = placesOf<AttemptResult>(ATTEMPT_RESULTS)
const placeOfFallback = placesOf(FALLBACK_REASONS)
const placeOfClose = placesOf<CloseReason>(CLOSE_REASON_NAMES)
const placeOfSplice = placesOf<SpliceFallbackReason>(SPLICE_FALLBACK_REASONS)
const placeOfBytes = placesOf<ByteCounter>(BYTE_COUNTERS)

const ATTEMPTS = 0
const CONNECT_BUCKETS = ATTEMPTS + FAMILIES.length * ATTEMPT_RESULTS.length
const CONNECT_SECONDS = CONNECT_BUCKETS + FAMILIES.length * BUCKET_COUNT
const UPSTREAM_CONNECTIONS = CONNECT_SECONDS + FAMILIES.length
const FALLBACKS = UPSTREAM_CONNECTIONS + FAMILIES.length * FAMILIES.length
const CLOSED = FALLBACKS + FAMILIES.length * FALLBACK_REASONS.length
const BYTES = CLOSED + CLOSE_REASON_NAMES.length
const SPLICE_FALLBACKS = BYTES + FAMILIES.length * BYTE_COUNTERS.length
const ACCEPTED = SPLICE_FALLBACKS + SPLICE_FALLBACK_REASONS.length
const ACTIVE = ACCEPTED + FAMILIES.length * (LISTENER_ENTRIES + 1)

/** Seconds that a thread had something to do. */
export const BUSY_SECONDS_SLOT = ACTIVE + FAMILIES.length * (LISTENER_ENTRIES + 1)

/** Seconds that a thread has run. */
export const RUN_SECONDS_SLOT = BUSY_SECONDS_SLOT + 1

/** Length of the array of a thread. */
export const SLOT_COUNT = RUN_SECONDS_SLOT + 1

/** The first slot that is a gauge, and the one behind the last: what a thread has open, by listener and family. */
export const ACTIVE_SLOTS = { start: ACTIVE, end: BUSY_SECONDS_SLOT } as const

/** Attempts to connect that ended with a result. */
export function attemptSlot(family: Family, result: AttemptResult): number {
  return ATTEMPTS + placeOfFamily(family) * ATTEMPT_RESULTS.length + placeOfResult(result)
}

/** Successful connects of one bucket, the place of its bound in {@link CONNECT_BUCKETS_SECONDS}. */
export function connectBucketSlot(family: Family, bucket: number): number {
  return CONNECT_BUCKETS + placeOfFamily(family) * BUCKET_COUNT + bucket
}

/** Seconds that all successful connects took together. */
export function connectSecondsSlot(family: Family): number {
  return CONNECT_SECONDS + placeOfFamily(family)
}

/** Connections that reached an upstream. */
export function upstreamConnectionSlot(downstream: Family, upstream: Family): number {
  return UPSTREAM_CONNECTIONS + placeOfFamily(downstream) * FAMILIES.length + placeOfFamily(upstream)
}

/** Changes of family. The family that a connection went to is the other one, so it needs no slots of its own. */
export function fallbackSlot({ from, reason }: Pick<Fallback, 'from' | 'reason'>): number {
  return FALLBACKS + placeOfFamily(from) * FALLBACK_REASONS.length + placeOfFallback(reason)
}

/** Connections that ended for a reason. */
export function closedSlot(reason: CloseReason): number {
  return CLOSED + placeOfClose(reason)
}

/** Bytes of the sockets of one family. */
export function bytesSlot(family: Family, counter: ByteCounter): number {
  return BYTES + placeOfFamily(family) * BYTE_COUNTERS.length + placeOfBytes(counter)
}

/** Relays that had to copy. */
export function spliceFallbackSlot(reason: SpliceFallbackReason): number {
  return SPLICE_FALLBACKS + placeOfSplice(reason)
}

/** Connections accepted by the listener of an entry. */
export function acceptedSlot(entry: number, family: Family): number {
  return ACCEPTED + entry * FAMILIES.length + placeOfFamily(family)
}

/** Connections of the listener of an entry that are open. */
export function activeSlot(entry: number, family: Family): number {
  return ACTIVE + entry * FAMILIES.length + placeOfFamily(family)
}

/** The bucket that holds a time. */
export function bucketOf(seconds: number): number {
  const index = CONNECT_BUCKETS_SECONDS.findIndex((bound) => seconds <= bound)
  return index < 0 ? CONNECT_BUCKETS_SECONDS.length : index
}

function placeOfFamily(family: Family): number {
  return family === 'ipv4' ? 0 : 1
}

/** Gives the place of each member of a closed union. */
function placesOf<T extends string>(members: readonly T[]): (member: T) => number {
  const places = new Map(members.map((member, place) => [member, place]))
  return (member) => {
    const place = places.get(member)
    if (place === undefined) throw new TypeError(`there is no counter for ${member}`)
    return place
  }
}

function isCloseReason(text: string): text is CloseReason {
  return text in CLOSE_REASONS
}
