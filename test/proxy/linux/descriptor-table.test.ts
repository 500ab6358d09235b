import { existsSync } from 'node:fs'

import t from 'tap'

import { DescriptorTable } from '../../../src/proxy/linux/descriptor-table.ts'
import { loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'

const skip = (await whyNoLinuxEngine()) ?? false

t.test('closes what a dead owner left, and nothing of the others', { skip }, async (t) => {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const { syscalls } = loaded
  const memory = new SharedArrayBuffer(65_536)
  const tables = [0, 1].map((owner) => new DescriptorTable({ syscalls }, { memory, owner }))
  const [living, dead] = tables
  if (living === undefined || dead === undefined) throw new TypeError('there are two')
  const open = (table: DescriptorTable): number => table.opened(syscalls.eventfd(0, 0))
  const kept = open(living)
  const closed = open(dead)
  dead.close(closed)
  const left = [open(dead), open(dead)]

  const isOpen = (fd: number): boolean => existsSync(`/proc/self/fd/${fd}`)
  t.equal(dead.count, 2)
  t.strictSame([kept, ...left].map(isOpen), [true, true, true])
  const told: number[] = []
  t.equal(
    living.closeOwnedBy(1, (fd) => told.push(fd)),
    2,
  )
  t.strictSame(told, [...left].sort())
  t.strictSame([kept, ...left].map(isOpen), [true, false, false])
  t.equal(living.closeOwnedBy(1), 0)
  living.close(kept)
})

t.test('a failed call is given back and noted for nobody', { skip }, async (t) => {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const table = new DescriptorTable(loaded, { memory: new ArrayBuffer(8), owner: 0 })
  t.equal(table.opened(-1), -1)
  t.equal(table.count, 0)
})
