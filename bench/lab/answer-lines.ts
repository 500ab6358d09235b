/** The other end of LineProcess: a program that does what each line of its stdin says, and answers with a line of JSON. */
import readline from 'node:readline'

/** What a program does for a word, with the numbers that follow it. */
export type Commands = Readonly<Record<string, (numbers: readonly number[]) => unknown>>

/** Says that the program is ready, and serves one line after the other until stdin ends; then the process is over. */
export async function answerLines(ready: unknown, commands: Commands): Promise<void> {
  write(ready)
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [word = '', ...rest] = line.split(' ')
    const command = commands[word]
    if (command === undefined) throw new TypeError(`nobody knows what ${word} means`)
    write(await command(rest.map(Number)))
  }
  process.exit()
}

function write(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}
