/** Addresses: one canonical form, whatever the text or bytes they come from. */
import fc from 'fast-check'
import t from 'tap'

import {
  formatSocketAddress,
  ipFromBytes,
  isLinkLocalIpv6,
  isLoopback,
  isMappedIpv4Text,
  isSameSocketAddress,
  isUnspecified,
  parseIp,
  parseSocketAddress,
  tryParseIp,
} from '../../src/core/address.ts'

const bytes4 = fc.uint8Array({ minLength: 4, maxLength: 4 })
const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 })
const ip = fc.oneof(bytes4, bytes16).map((bytes) => ipFromBytes(bytes))
const port = fc.integer({ min: 0, max: 65_535 })

const texts: readonly (readonly [string, string])[] = [
  ['10.0.0.1', '10.0.0.1'],
  ['FD00:0:0:0::1', 'fd00::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['::', '::'],
  ['fe80::1%eth0', 'fe80::1%eth0'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::ffff:a00:1', '10.0.0.1'],
  ['0:0:0:0:0:FFFF:10.0.0.1', '10.0.0.1'],
]
t.test('rule 3: gives each address one text', (t) => {
  for (const [text, canonical] of texts) t.equal(parseIp(text).text, canonical, text)
  t.end()
})

const notAddresses = [
  '',
  'x',
  '10.0.0',
  '10.0.0.256',
  '010.0.0.1',
  '10.0.0.1.1',
  '0x7f.1',
  '1::2::3',
  '[::1]',
  ' ::1',
]
t.test('refuses text that is no address, octal and short forms among it', (t) => {
  for (const text of notAddresses) {
    t.throws(() => parseIp(text), { name: 'AddressError' }, text)
    t.equal(tryParseIp(text), undefined)
  }
  t.throws(() => ipFromBytes([1, 2, 3]), { name: 'AddressError' })
  t.end()
})

t.test('reads back the text of every address as the same address', (t) => {
  fc.assert(
    fc.property(ip, (address) => {
      t.strictSame(parseIp(address.text), address)
    }),
    { numRuns: 200 },
  )
  t.end()
})

t.test('rule 3: holds an IPv4-mapped address as IPv4, from bytes and from both of its texts', (t) => {
  fc.assert(
    fc.property(bytes4, (bytes) => {
      const plain = ipFromBytes(bytes)
      const mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...bytes]
      const [a = 0, b = 0, c = 0, d = 0] = bytes
      const hex = `::ffff:${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
      t.strictSame(ipFromBytes(mapped), plain)
      t.strictSame(parseIp(`::ffff:${plain.text}`), plain)
      t.strictSame(parseIp(hex), plain)
      t.ok(isMappedIpv4Text(hex))
      t.notOk(isMappedIpv4Text(plain.text))
    }),
    { numRuns: 100 },
  )
  t.end()
})

t.test('rule 3: never holds an IPv6 address that is IPv4-mapped, and keeps the zone of the others', (t) => {
  fc.assert(
    fc.property(ip, (address) => {
      t.notOk(isMappedIpv4Text(address.text))
      t.equal(address.bytes.length, address.family === 'ipv4' ? 4 : 16)
    }),
    { numRuns: 200 },
  )
  t.strictSame(parseIp('fe80::1%eth0').zone, 'eth0')
  t.not(parseIp('fe80::1%eth0').text, parseIp('fe80::1%eth1').text)
  t.end()
})

t.test('reads back the text of every socket address as the same socket address', (t) => {
  fc.assert(
    fc.property(ip, port, (address, number) => {
      const socketAddress = { ip: address, port: number }
      t.ok(isSameSocketAddress(parseSocketAddress(formatSocketAddress(socketAddress)), socketAddress))
    }),
    { numRuns: 200 },
  )
  t.end()
})

t.test('refuses text that is no socket address', (t) => {
  for (const text of ['10.0.0.1', '::1:80', '[::1]', '10.0.0.1:65536', '10.0.0.1:', ':80', 'host:80'])
    t.throws(() => parseSocketAddress(text), { name: 'AddressError' }, text)
  t.end()
})

t.test('tells equal socket addresses from those that differ in address or port', (t) => {
  const a = parseSocketAddress('[::ffff:10.0.0.1]:80')
  t.ok(isSameSocketAddress(a, parseSocketAddress('10.0.0.1:80')))
  t.notOk(isSameSocketAddress(a, parseSocketAddress('10.0.0.1:81')))
  t.notOk(isSameSocketAddress(a, parseSocketAddress('10.0.0.2:80')))
  t.end()
})

const kinds: readonly (readonly [string, boolean, boolean, boolean])[] = [
  ['0.0.0.0', true, false, false],
  ['::', true, false, false],
  ['127.0.0.1', false, true, false],
  ['127.9.9.9', false, true, false],
  ['::1', false, true, false],
  ['fe80::1%eth0', false, false, true],
  ['febf::1', false, false, true],
  ['fec0::1', false, false, false],
  ['169.254.0.1', false, false, false],
  ['10.0.0.1', false, false, false],
]
t.test('knows unspecified, loopback and link-local addresses', (t) => {
  for (const [text, unspecified, loopback, linkLocal] of kinds) {
    const address = parseIp(text)
    t.strictSame(
      [isUnspecified(address), isLoopback(address), isLinkLocalIpv6(address)],
      [unspecified, loopback, linkLocal],
      text,
    )
  }
  t.end()
})
