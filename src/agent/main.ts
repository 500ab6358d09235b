#!/usr/bin/env node
/** The program: hands the process to the command line and ends with its exit code. */
import { runCli } from './cli.ts'

const exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => process.stdout.write(text),
  stderr: (text) => process.stderr.write(text),
  onStopRequest: (callback) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        callback(signal)
      })
    }
  },
  onReopenRequest: (callback) => {
    process.on('SIGUSR1', callback)
  },
})
// A listener or timer that a failed start left open must not keep the process alive. What is written to a pipe is
// flushed first.
process.exitCode = exitCode
process.stdout.write('', () => process.exit(exitCode))
