/** How wire bytes become the JSON form of proto3. */
import t from 'tap'

import { jsonForm } from '../../../src/xds-client/reading/json-form.ts'
import { DecodeReport } from '../../../src/xds-client/reading/message-reader.ts'
import { readerOf } from '../../../src/xds-client/reading/wire-message.ts'
import { SCHEMA, any, envoyBytes } from '../../fixtures/envoy-wire.ts'
import { wireBytes } from '../../fixtures/wire-bytes.ts'

const CLUSTER = 'envoy.config.cluster.v3.Cluster'
const METADATA = 'envoy.config.core.v3.Metadata'
const FILTER = 'envoy.config.listener.v3.Filter'

/** The JSON form, and what has been listed as ignored. */
function form(
  typeName: string,
  bytes: Uint8Array,
): { readonly json: unknown; readonly ignored: readonly string[] } {
  const report = new DecodeReport(undefined, 'wire')
  const message = jsonForm(readerOf(bytes), typeName, { schema: SCHEMA, report })
  // Without prototypes, which are no part of the form.
  return { json: JSON.parse(JSON.stringify(message)) as unknown, ignored: report.ignoredFields }
}

const durations: readonly (readonly [{ seconds?: number; nanos?: number }, string])[] = [
  [{}, '0s'],
  [{ seconds: 10 }, '10s'],
  [{ nanos: 250_000_000 }, '0.25s'],
  [{ seconds: 3, nanos: 1 }, '3.000000001s'],
]

for (const [duration, text] of durations) {
  t.test(`writes a duration as ${text}`, (t) => {
    t.strictSame(form(CLUSTER, envoyBytes(CLUSTER, { connect_timeout: duration })).json, {
      connect_timeout: text,
    })
    t.end()
  })
}

t.test('writes enums by name, wrappers as their value, bytes as base64, lists as lists', (t) => {
  const bytes = envoyBytes(CLUSTER, {
    type: 'EDS',
    per_connection_buffer_limit_bytes: { value: 0 },
    health_checks: [Uint8Array.of(1), Uint8Array.of(2)],
  })
  t.strictSame(form(CLUSTER, bytes).json, {
    type: 'EDS',
    per_connection_buffer_limit_bytes: 0,
    health_checks: ['AQ==', 'Ag=='],
  })
  t.end()
})

t.test('writes a Struct as what it holds, under any key', (t) => {
  const struct = {
    fields: {
      text: { stringValue: 'a' },
      truth: { boolValue: false },
      nothing: { nullValue: 0 },
      list: { listValue: { values: [{ numberValue: 1.5 }] } },
      deep: { structValue: { fields: { constructor: { stringValue: 'b' } } } },
    },
  }
  t.strictSame(form(METADATA, envoyBytes(METADATA, { filter_metadata: { istio: struct } })).json, {
    filter_metadata: {
      istio: { text: 'a', truth: false, nothing: null, list: [1.5], deep: { constructor: 'b' } },
    },
  })
  t.end()
})

t.test(
  'writes an Any with the fields of its message, and one of an unknown type with its type alone',
  (t) => {
    const known = any('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', { cluster: 'web' })
    t.strictSame(form(FILTER, envoyBytes(FILTER, { typed_config: known })).json, {
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
        cluster: 'web',
      },
    })
    t.strictSame(form(FILTER, envoyBytes(FILTER, { typed_config: any('new.Filter') })).json, {
      typed_config: { '@type': 'type.googleapis.com/new.Filter' },
    })
    t.end()
  },
)

t.test('takes a TypedStruct for the message that it names', (t) => {
  const rules = { fields: { action: { stringValue: 'DENY' } } }
  const typed = any('udpa.type.v1.TypedStruct', { type_url: 'x/envoy.Rbac', value: rules })
  t.strictSame(form(FILTER, envoyBytes(FILTER, { typed_config: typed })).json, {
    typed_config: { '@type': 'x/envoy.Rbac', action: 'DENY' },
  })
  t.end()
})

t.test('lists what the schema does not know', (t) => {
  const { json, ignored } = form(CLUSTER, wireBytes({ 1: 'web', 2: 99, 4: 7, 9_999: 'x' }))
  t.strictSame(json, { name: 'web' })
  t.strictSame(ignored, ['Cluster.type(99)', 'Cluster.connect_timeout', 'Cluster.#9999'])
  t.end()
})

t.test('ends at messages that are nested deeper than any real one', (t) => {
  let value = new Uint8Array()
  // google.protobuf.Value.list_value=6, ListValue.values=1.
  for (let depth = 0; depth < 200; depth++) value = Uint8Array.from(wireBytes({ 6: wireBytes({ 1: value }) }))
  const entry = wireBytes({ 1: 'a', 2: wireBytes({ 1: wireBytes({ 1: 'b', 2: value }) }) })
  t.throws(() => form(METADATA, wireBytes({ 1: entry })), { message: 'messages are nested deeper than 100' })
  t.end()
})
