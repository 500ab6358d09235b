/** Waits for what the control plane brings about. */
import { isDeepStrictEqual } from 'node:util'

import { eventually } from '../fixtures/eventually.ts'

import type { Test } from 'tap'

/** After an outage the next try of the agent may be half a minute away. */
const TIMEOUT_MS = 40_000

/** Asserts that what `read` gives becomes `expected`; the failure shows what it was last. */
export async function becomes<Value>(
  t: Test,
  what: string,
  read: () => Promise<Value>,
  expected: Value,
): Promise<void> {
  let seen: Value | undefined
  const reading = { isUnderWay: false }
  try {
    await eventually(
      what,
      async () => {
        reading.isUnderWay = true
        seen = await read()
        reading.isUnderWay = false
        return isDeepStrictEqual(seen, expected)
      },
      TIMEOUT_MS,
    )
  } catch (error) {
    if (reading.isUnderWay) throw error
    // It is the time that has passed: the difference says more.
  }
  t.strictSame(seen, expected, what)
}
