/** How many descriptors this process has open and may have (rule 14). Linux tells through /proc; others do not. */
import { readdirSync, readFileSync } from 'node:fs'

/** Open descriptors, `undefined` where the platform does not tell. Costs O(descriptors). */
export function countOpenDescriptors(): number | undefined {
  try {
    return readdirSync('/proc/self/fd').length
  } catch {
    // No /proc here: the budget then counts connections only.
    return undefined
  }
}

/** The limit in force; Node.js raised the soft one to the hard one when it started. Infinity where it is not known. */
export function descriptorLimit(): number {
  try {
    const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
    return line?.[1] === undefined || line[1] === 'unlimited' ? Infinity : Number(line[1])
  } catch {
    // No /proc here.
    return Infinity
  }
}
