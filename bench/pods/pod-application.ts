/** The application of a bare pod: the same address in each, and nobody's beside. */
import type { Family } from '../../src/core/family.ts'

export const POD_APPLICATION: Readonly<Record<Family, string>> = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' }

export const POD_APPLICATION_PORT = 9_000
