import t from 'tap'

import { AgentLogger } from '../../src/agent/logging.ts'

import type { LoggingOptions } from '../../src/agent/logging.ts'

function bench(options: LoggingOptions): { readonly logger: AgentLogger; readonly lines: string[] } {
  const lines: string[] = []
  const destination = { write: (line: string) => lines.push(line) }
  return { logger: new AgentLogger({ destination, wallTimeMs: () => 0 }, options), lines }
}

t.test('writes plain lines of time, level, message and fields', async (t) => {
  const { logger, lines } = bench({ level: 'info', format: 'plain' })
  logger.log('warn', 'two\nlines', { port: 80, name: 'a b', gone: undefined, cause: new Error('no') })
  logger.log('info', 'bare')
  t.strictSame(lines, [
    '1970-01-01T00:00:00.000Z\twarn\ttwo\\nlines\tport=80 name="a b" cause="no"\n',
    '1970-01-01T00:00:00.000Z\tinfo\tbare\n',
  ])
})

t.test('writes JSON with the level by name', async (t) => {
  const { logger, lines } = bench({ level: 'info', format: 'json' })
  logger.log('error', 'it failed', { port: 80 })
  t.strictSame(JSON.parse(lines[0] ?? ''), {
    level: 'error',
    time: '1970-01-01T00:00:00.000Z',
    port: 80,
    message: 'it failed',
  })
})

for (const format of ['plain', 'json'] as const) {
  t.test(`writes only what the level in force lets through, as ${format}`, async (t) => {
    const { logger, lines } = bench({ level: 'warn', format })
    logger.log('info', 'unheard')
    t.notOk(logger.isEnabled('info'))
    logger.setLevel('debug')
    logger.log('debug', 'heard')
    t.equal(lines.length, 1)
    logger.setLevel('error')
    logger.log('warn', 'unheard')
    t.equal(lines.length, 1)
    t.equal(logger.level, 'error')
  })
}

t.test('writes values that JSON cannot hold', async (t) => {
  const { logger, lines } = bench({ level: 'info', format: 'plain' })
  logger.log('info', 'big', { count: 5n })
  t.match(lines[0], /count="5"\n$/)
})
