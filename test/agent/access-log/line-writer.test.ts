import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

import t from 'tap'

import { LineWriter, openFileSink } from '../../../src/agent/access-log/line-writer.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'

import type { ByteSink } from '../../../src/agent/access-log/line-writer.ts'
import type { Logger } from '../../../src/core/logger.ts'

/** A sink that takes at most `maxBytes` per write, once `gate` lets it. */
class FakeSink implements ByteSink {
  text = ''
  isClosed = false
  maxBytes = Infinity
  failure: Error | undefined
  gate: Promise<void> = Promise.resolve()

  async write(bytes: Uint8Array): Promise<number> {
    await this.gate
    if (this.failure !== undefined) throw this.failure
    const taken = bytes.subarray(0, this.maxBytes)
    this.text += Buffer.from(taken).toString()
    return taken.length
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}

function bench(
  sink: FakeSink,
  options: { readonly maxChars?: number; readonly logger?: Logger } = {},
): { readonly clock: FakeClock; readonly writer: LineWriter } {
  const { logger = silentLogger, ...rest } = options
  const clock = new FakeClock()
  const writer = new LineWriter({ clock, logger, open: async () => sink }, { name: 'x', ...rest })
  return { clock, writer }
}

/** Lets promises that are ready run. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

t.test('writes lines in order, whatever part of them a write takes', async (t) => {
  const sink = new FakeSink()
  sink.maxBytes = 3
  const { writer, clock } = bench(sink)
  writer.write('one\n')
  writer.write('zwölf\n')
  await writer.close()
  t.equal(sink.text, 'one\nzwölf\n')
  t.ok(sink.isClosed)
  t.equal(clock.pendingTimers, 0)
})

t.test('drops and counts what does not fit while the sink does not take anything', async (t) => {
  const sink = new FakeSink()
  let open = (): void => undefined
  sink.gate = new Promise((resolve) => (open = resolve))
  const { writer } = bench(sink, { maxChars: 4 })
  writer.write('1\n')
  await settle()
  for (const line of ['2\n', '3\n', '4\n', '5\n']) writer.write(line)
  t.equal(writer.dropped, 2)
  open()
  await writer.close()
  t.equal(sink.text, '1\n2\n3\n')
  writer.write('late\n')
  t.equal(writer.dropped, 3, 'a line after the close is dropped')
})

t.test('takes the lines of a batch all or not at all', async (t) => {
  const sink = new FakeSink()
  const { writer } = bench(sink, { maxChars: 6 })
  writer.write('1\n2\n', 2)
  writer.write('3\n4\n', 2)
  writer.write('5\n')
  t.equal(writer.dropped, 2)
  await writer.close()
  t.equal(sink.text, '1\n2\n5\n')
})

t.test('writes more than one write takes in their order', async (t) => {
  const sink = new FakeSink()
  const { writer } = bench(sink)
  const lines = Array.from({ length: 5_000 }, (_, index) => `${index} ${'x'.repeat(100)}\n`)
  for (const line of lines) writer.write(line)
  await writer.close()
  t.equal(sink.text, lines.join(''))
})

t.test('waits a moment for the reader of a full pipe', async (t) => {
  const sink = new FakeSink()
  sink.failure = Object.assign(new Error('full'), { code: 'EAGAIN' })
  const { writer, clock } = bench(sink)
  writer.write('1\n')
  await settle()
  sink.failure = undefined
  t.notOk(sink.isClosed, 'a full pipe is not broken')
  clock.advance(10)
  await settle()
  t.equal(sink.text, '1\n')
  await writer.close()
})

t.test('tells once of a sink that fails, and goes on when it works again', async (t) => {
  const sink = new FakeSink()
  sink.failure = Object.assign(new Error('no space'), { code: 'ENOSPC' })
  const messages: string[] = []
  const logger: Logger = { isEnabled: () => true, log: (_, message) => messages.push(message) }
  const { writer, clock } = bench(sink, { logger })
  writer.write('1\n')
  await settle()
  clock.advance(1_000)
  await settle()
  t.strictSame(messages, ['cannot write to x: no space; lines are kept, then dropped'])
  sink.failure = undefined
  clock.advance(1_000)
  await settle()
  t.equal(sink.text, '1\n')
  await writer.close()
})

t.test('gives up on a reader that does not read when it is closed', async (t) => {
  const sink = new FakeSink()
  sink.gate = new Promise(() => undefined)
  const { writer, clock } = bench(sink)
  writer.write('1\n')
  await settle()
  const closed = writer.close()
  clock.advance(1_000)
  await closed
  t.ok(sink.isClosed)
})

t.test('goes on in a new file after a rotation', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'twinstack-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = path.join(folder, 'access.log')
  const writer = new LineWriter(
    { clock: new FakeClock(), logger: silentLogger, open: () => openFileSink(file) },
    { name: file },
  )
  const hasText = (name: string, text: string) => () => {
    try {
      return readFileSync(name, 'utf8') === text
    } catch {
      return false
    }
  }
  writer.write('old\n')
  await eventually('the first line is in the file', hasText(file, 'old\n'))
  renameSync(file, `${file}.1`)
  writer.reopen()
  writer.write('new\n')
  await eventually('the second line is in the new file', hasText(file, 'new\n'))
  await writer.close()
  t.equal(readFileSync(`${file}.1`, 'utf8'), 'old\n')
})
