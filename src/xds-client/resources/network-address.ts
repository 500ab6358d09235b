/**
 * The values that the ambient dialect's resources are made of, for both of their forms (ztunnel's local file and the
 * messages of istio.workload and istio.security): addresses, keys, ports and enum spellings, each checked once.
 */
import { AddressError, isLinkLocalIpv6, isMappedIpv4Text, tryParseIp } from '../../core/address.ts'
import { formatCidr, parseCidr } from '../../core/cidr.ts'
import { HBONE_PORT } from '../../mesh/workload.ts'
import { describe } from '../reading/message-reader.ts'

import type { IpAddress } from '../../core/address.ts'
import type { Cidr } from '../../core/cidr.ts'
import type { GatewayAddress, NetworkAddress } from '../../mesh/workload.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

const MAX_PORT = 65_535
const KEY = /^[^/]+\/[^/]+$/
const ANY_PORT = { min: 0, max: MAX_PORT }

/** A port that can be connected to. */
export const REAL_PORT = { min: 1, max: MAX_PORT }

/** Reads an IP literal that can be connected to; IPv4-mapped text becomes IPv4 with a warning. */
export function usableIp(text: string, place: Field): IpAddress | undefined {
  const ip = tryParseIp(text)
  if (ip === undefined) return place.error(`'${text}' is not an IP address; write it as 10.0.0.1 or fd00::1`)
  if (isMappedIpv4Text(text)) place.warn(`'${text}' is IPv4 and is used as ${ip.text}; write ${ip.text}`)
  const problem = reachabilityProblem(ip)
  return problem === undefined ? ip : place.error(problem)
}

/** Why an address names no host by itself. */
export function reachabilityProblem(ip: IpAddress): string | undefined {
  if (!isLinkLocalIpv6(ip) || ip.zone !== undefined) return undefined
  return `${ip.text} is link-local and names no host without its interface; append it, as ${ip.text}%eth0`
}

/** Reads a prefix, or a bare address as the prefix of just it; an IPv4-mapped one becomes IPv4 with a warning. */
export function readCidr(place: Field): Cidr | undefined {
  const text = place.string()
  if (text === undefined) return undefined
  try {
    const cidr = parseCidr(text)
    const isMapped = isMappedIpv4Text(text.split('/', 1)[0] ?? '')
    if (isMapped)
      place.warn(`'${text}' is IPv4 and is used as ${formatCidr(cidr)}; write ${formatCidr(cidr)}`)
    return cidr
  } catch (error) {
    if (error instanceof AddressError) return place.error(error.message)
    throw error
  }
}

/** Reads `network/ip`. A bare address, or an empty network, belongs to the default network. */
export function readNetworkAddress(place: Field): NetworkAddress | undefined {
  const text = place.string()
  if (text === undefined) return undefined
  const slash = text.indexOf('/')
  const ipText = text.slice(slash + 1)
  if (slash >= 0 && /^\d{1,3}$/.test(ipText) && tryParseIp(text.slice(0, slash)) !== undefined) {
    return place.error(`'${text}' is a range; write one address as network/ip, and a range in cidrVips`)
  }
  const ip = usableIp(ipText, place)
  return ip && { network: slash < 0 ? '' : text.slice(0, slash), ip }
}

/** Reads a gateway or waypoint of the local file: `destination` is `network/ip` or `namespace/hostname`. */
export function readGateway(field: Field): GatewayAddress | undefined {
  const message = field.message('GatewayAddress')
  if (message === undefined) return undefined
  const place = message.require('destination')
  const text = place?.string()
  const hbonePort = message.take('hbone_mtls_port')?.integer(REAL_PORT) ?? HBONE_PORT
  message.finish()
  if (place === undefined || text === undefined) return undefined
  const slash = text.indexOf('/')
  const rest = text.slice(slash + 1)
  // No host name has a colon or ends in a digits-only label, so what looks like an address is meant as one.
  if (slash < 0 || rest.includes(':') || /^(?:.*\.)?\d+$/.test(rest)) {
    const address = readNetworkAddress(place)
    return address && { kind: 'address', address, hbonePort }
  }
  const problem = keyProblem(text, 'hostname')
  if (problem !== undefined) return place.error(problem)
  return { kind: 'hostname', namespace: text.slice(0, slash), hostname: rest, hbonePort }
}

/** What is wrong with a key that should be `namespace/name`; `what` is what its second half is called. */
export function keyProblem(text: string, what: 'hostname' | 'name'): string | undefined {
  return KEY.test(text) ? undefined : `'${text}' must have the form namespace/${what}`
}

/** Reads a map of service port to target port, as the local file writes ports. */
export function readPortMap(field: Field | undefined): ReadonlyMap<number, number> {
  const ports = new Map<number, number>()
  for (const [key, place] of field?.entries() ?? []) {
    const servicePort = Number(key)
    const targetPort = place.integer(ANY_PORT)
    if (targetPort === undefined) continue
    const problem = portProblem(ports, servicePort, targetPort)
    if (problem === undefined) ports.set(servicePort, targetPort)
    else if (problem.at === 'key') place.errorAtKey(problem.message)
    else place.error(problem.message)
  }
  return ports
}

/** What is wrong with a port mapping that is to join `ports`, and whether it is its service port (the key). */
export function portProblem(
  ports: ReadonlyMap<number, number>,
  servicePort: number,
  targetPort: number,
): { readonly message: string; readonly at?: 'key' } | undefined {
  if (!isPort(servicePort, 1))
    return { message: `a service port is a whole number from 1 to ${MAX_PORT}`, at: 'key' }
  if (!isPort(targetPort, 0)) return { message: `a target port is a whole number from 0 to ${MAX_PORT}` }
  return ports.has(servicePort)
    ? { message: `service port ${servicePort} is given twice`, at: 'key' }
    : undefined
}

/**
 * Reads an enum value by the spelling of ztunnel's dump, whatever its case. `spellings` maps each spelling to the value
 * of the model.
 */
export function readSpelling<Value extends string>(
  field: Field,
  spellings: Readonly<Record<string, Value>>,
): Value | undefined {
  const wanted = typeof field.value === 'string' ? field.value.toLowerCase() : undefined
  const found = Object.entries(spellings).find(([spelling]) => spelling.toLowerCase() === wanted)
  const names = Object.keys(spellings).join(', ')
  return found?.[1] ?? field.error(`must be one of ${names}, not ${describe(field.value)}`)
}

/** The text in a field; empty when it is absent. */
export function takeText(message: MessageReader, name: string): string {
  return message.take(name)?.string() ?? ''
}

/** The text in a field that must be there and not be empty. */
export function requireText(message: MessageReader, name: string): string | undefined {
  const place = message.require(name)
  const text = place?.string()
  return text === '' ? place?.error(`${message.name} needs a ${name} that is not empty`) : text
}

/** The items of a list of texts, those that are texts. */
export function takeTexts(message: MessageReader, name: string): readonly string[] {
  return message.takeList(name).flatMap((item) => item.string() ?? [])
}

function isPort(value: number, min: 0 | 1): boolean {
  return Number.isInteger(value) && value >= min && value <= MAX_PORT
}
