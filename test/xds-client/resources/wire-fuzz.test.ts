/** Every decoder takes any bytes: recorded ones that were damaged, and random ones. No throw, no hang, no growth. */
import { inspect } from 'node:util'

import fc from 'fast-check'
import t from 'tap'

import { decodeNameTableResource } from '../../../src/xds-client/resources/name-table.ts'
import {
  decodeAddressResource,
  decodeWorkloadResource,
} from '../../../src/xds-client/resources/wire-address.ts'
import { decodeAuthorizationResource } from '../../../src/xds-client/resources/wire-authorization.ts'
import {
  decodeAssignmentResource,
  decodeClusterResource,
  decodeListenerResource,
} from '../../../src/xds-client/resources/wire-envoy.ts'
import { AmbientPools } from '../../../src/xds-client/resources/wire-values.ts'
import { SCHEMA } from '../../fixtures/envoy-wire.ts'
import { recordedResources } from '../../fixtures/recorded-xds.ts'
import { wireBytes } from '../../fixtures/wire-bytes.ts'

import type { Result } from '../../../src/core/result.ts'

interface Damage {
  readonly kind: 'flip' | 'insert' | 'cut' | 'end'
  readonly at: number
  readonly bytes: Uint8Array
}

/** Few enough for seconds; each run is a new damage. */
const RUNS = 200
/** A decoded resource is larger than its bytes by the words that it is made of, and never by more than that. */
const MAX_GROWTH = 1_000
const MAX_BASE = 100_000

const pools = new AmbientPools()
const SIDECAR = 'sidecar-tcp-echo-dual-stack.sotw'
const policy = wireBytes({
  1: 'p',
  2: 'ns',
  3: 2,
  4: 1,
  5: wireBytes({
    1: wireBytes({
      2: wireBytes({
        1: wireBytes({ 1: 'a' }),
        5: wireBytes({ 1: Uint8Array.of(10, 0, 0, 0), 2: 8 }),
        9: [80, 443],
        11: wireBytes({ 1: 'ns', 2: 'sa' }),
      }),
    }),
  }),
})

const decoders: readonly (readonly [
  string,
  (value: Uint8Array) => Result<unknown>,
  readonly Uint8Array[],
])[] = [
  ['Address', (value) => decodeAddressResource(value, pools), recorded('wds-dual-stack.delta', 'Address')],
  ['Workload', (value) => decodeWorkloadResource(value, pools), recorded('wds-dual-stack.delta', 'Address')],
  ['Authorization', decodeAuthorizationResource, [policy]],
  ['NameTable', decodeNameTableResource, recorded(SIDECAR, 'NameTable')],
  ['Cluster', (value) => decodeClusterResource(value, SCHEMA), recorded(SIDECAR, 'Cluster')],
  [
    'ClusterLoadAssignment',
    (value) => decodeAssignmentResource(value, SCHEMA),
    recorded(SIDECAR, 'ClusterLoadAssignment'),
  ],
  ['Listener', (value) => decodeListenerResource(value, SCHEMA), recorded(SIDECAR, 'Listener')],
]

const damages = fc.array(
  fc.record({
    kind: fc.constantFrom<Damage['kind']>('flip', 'insert', 'cut', 'end'),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
  }),
  { minLength: 1, maxLength: 4 },
)

for (const [typeName, decode, samples] of decoders) {
  t.test(`the decoder of ${typeName} takes damaged resources`, (t) => {
    fc.assert(
      fc.property(fc.constantFrom(...samples), damages, (sample, all) => {
        checkBounded(decode, all.reduce(damaged, sample))
      }),
      { numRuns: RUNS },
    )
    t.pass('without a throw')
    t.end()
  })

  t.test(`the decoder of ${typeName} takes random bytes`, (t) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 256 }), (bytes) => checkBounded(decode, bytes)),
      { numRuns: RUNS },
    )
    t.pass('without a throw')
    t.end()
  })

  t.test(`the decoder of ${typeName} takes messages nested without end`, (t) => {
    let nested = new Uint8Array()
    for (let depth = 0; depth < 2_000; depth++)
      nested = Uint8Array.from(wireBytes({ 1: nested, 3: nested.subarray(0, 8) }))
    checkBounded(decode, nested)
    // A group, which no message here has, inside a group, and so on.
    checkBounded(decode, new Uint8Array(10_000).fill((15 << 3) | 3))
    t.pass('without a throw')
    t.end()
  })
}

function recorded(
  recording: 'wds-dual-stack.delta' | typeof SIDECAR,
  typeName: string,
): readonly Uint8Array[] {
  return recordedResources(recording, typeName).map(({ value }) => value)
}

function damaged(value: Uint8Array, { kind, at, bytes }: Damage): Uint8Array {
  const place = Math.floor(at * value.length)
  switch (kind) {
    case 'flip':
      return value.map((byte, index) => (index === place ? byte ^ (bytes[0] ?? 1) : byte))
    case 'insert':
      return Uint8Array.from([...value.subarray(0, place), ...bytes, ...value.subarray(place)])
    case 'cut':
      return Uint8Array.from([...value.subarray(0, place), ...value.subarray(place + bytes.length)])
    case 'end':
      return value.slice(0, place)
  }
}

/** The result says that it is fine, or why not, in a size that is bounded by that of the bytes. */
function checkBounded(decode: (value: Uint8Array) => Result<unknown>, bytes: Uint8Array): void {
  const result = decode(bytes)
  if (!result.ok && result.problems.length === 0) throw new Error('refused without a problem')
  const size = inspect(result, { depth: 12, maxArrayLength: Infinity, maxStringLength: Infinity }).length
  if (size > MAX_BASE + MAX_GROWTH * bytes.length)
    throw new Error(`${size} characters of ${bytes.length} bytes`)
}
