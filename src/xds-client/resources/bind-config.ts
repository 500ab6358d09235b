/** Decodes envoy.config.core.v3.BindConfig: the addresses to connect from, one per family (rule 9). */
import { ipOf, readSocketAddress } from './address.ts'
import { decodeSocketOptionsOverride } from './socket-options.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

const MAX_SOURCE_ADDRESSES = 2

interface PlacedSource {
  readonly address: SocketAddress
  readonly place: Field
}

/** Decodes the source addresses; empty when the message names none. */
export function decodeBindConfig(field: Field): readonly SocketAddress[] {
  const message = field.message('BindConfig')
  if (message === undefined) return []
  const first = message.take('source_address')
  const extras = message.takeList('extra_source_addresses')
  const deprecated = message.takeList('additional_source_addresses')
  const sources = [
    ...(first === undefined ? [] : decodeSource(first)),
    ...extras.flatMap(decodeExtra),
    ...deprecated.flatMap(decodeSource),
  ]
  finishBindConfig(message)
  if (extras.length > 0 && deprecated.length > 0)
    deprecated[0]?.error('additional_source_addresses is the old name; move all to extra_source_addresses')
  if (first === undefined && extras.length + deprecated.length > 0)
    field.error('extra_source_addresses needs source_address; write the first address there')
  checkOnePerFamily(field, sources)
  return sources.map(({ address }) => address)
}

function checkOnePerFamily(field: Field, sources: readonly PlacedSource[]): void {
  if (sources.length > MAX_SOURCE_ADDRESSES)
    return field.error(`there are ${sources.length} source addresses; at most one per family can be used`)
  const [a, b] = sources
  if (a !== undefined && b !== undefined && a.address.ip.family === b.address.ip.family) {
    const other = b.address.ip.family === 'ipv4' ? 'IPv6' : 'IPv4'
    b.place.error(`the two source addresses are of one family; make one ${other} or remove it`)
  }
}

function decodeSource(field: Field): readonly PlacedSource[] {
  const text = readSocketAddress(field)
  const address = text && ipOf(text)
  return address === undefined ? [] : [{ address, place: text?.place ?? field }]
}

function decodeExtra(field: Field): readonly PlacedSource[] {
  const message = field.message('ExtraSourceAddress')
  const address = message?.require('address')
  const override = message?.takeMessage('socket_options', 'SocketOptionsOverride')
  if (override !== undefined && decodeSocketOptionsOverride(override).length > 0)
    override.field.unsupported(
      'ExtraSourceAddress.socket_options',
      'options of upstream sockets are not supported; remove socket_options',
      'key',
    )
  message?.finish()
  return address === undefined ? [] : decodeSource(address)
}

function finishBindConfig(message: MessageReader): void {
  message.finish({
    // Sockets are bound when a connection is made; a source that is not there fails that connection only.
    ignored: ['validate_network_namespaces'],
    unsupported: {
      freebind: 'a source address has to be one of the machine; remove it',
      socket_options: 'options of upstream sockets are not supported; remove them',
      local_address_selector: 'the source address in the family of the upstream is used; remove it',
    },
  })
}
