/** Programs that run to their end. */
import { execFile } from 'node:child_process'

export interface CommandOptions {
  /** Given to the program on stdin. */
  readonly input?: string
}

/** Runs a program; resolves with what it printed, rejects with what it said when it failed. */
export function runCommand(
  command: string,
  args: readonly string[],
  { input }: CommandOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(command, [...args], (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${command} ${args.join(' ')}: ${stderr.trim() || error.message}`))
    })
    child.stdin?.on('error', () => {
      // The program ended without reading; its exit code says whether that is a failure.
    })
    child.stdin?.end(input ?? '')
  })
}

/** Whether a program is on the PATH. */
export async function hasCommand(name: string): Promise<boolean> {
  return await runCommand('sh', ['-c', 'command -v "$0"', name]).then(
    () => true,
    () => false,
  )
}
