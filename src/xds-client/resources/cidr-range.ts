/** Decodes envoy.config.core.v3.CidrRange. */
import { AddressError, isMappedIpv4Text } from '../../core/address.ts'
import { formatCidr, parseCidr } from '../../core/cidr.ts'

import type { Cidr } from '../../core/cidr.ts'
import type { Field } from '../reading/message-reader.ts'

/** Decodes a prefix. An absent prefix_len is 0, as in Envoy; an IPv4-mapped prefix becomes IPv4 with a warning. */
export function decodeCidrRange(field: Field): Cidr | undefined {
  const message = field.message('CidrRange')
  if (message === undefined) return undefined
  const place = message.require('address_prefix')
  const text = place?.string()
  const lengthPlace = message.take('prefix_len')
  const length = lengthPlace === undefined ? 0 : lengthPlace.integer({ min: 0, max: 128 })
  message.finish()
  if (place === undefined || text === undefined || length === undefined) return undefined
  try {
    const cidr = parseCidr(`${text}/${length}`)
    if (isMappedIpv4Text(text))
      place.warn(`'${text}/${length}' is IPv4 and is used as ${formatCidr(cidr)}; write ${formatCidr(cidr)}`)
    return cidr
  } catch (error) {
    if (error instanceof AddressError) return place.error(error.message)
    throw error
  }
}
