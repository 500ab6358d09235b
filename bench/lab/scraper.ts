/**
 * What Prometheus does, in the node's namespace: `scraper.js URL INTERVAL_MS` reads the URL again and again, and answers
 * each line on stdin with how often it has. A scrape that fails ends it. Ends with stdin.
 */
import readline from 'node:readline'
import { setInterval } from 'node:timers'

const [url = '', intervalMs = ''] = process.argv.slice(2)

let scrapes = 0

async function scrape(): Promise<void> {
  const response = await fetch(url)
  await response.text()
  if (!response.ok) throw new Error(`${url} answers ${response.status}`)
  scrapes++
}

await scrape()
setInterval(() => void scrape(), Number(intervalMs))
process.stdout.write('{}\n')
const commands = readline.createInterface({ input: process.stdin })
commands.on('line', () => {
  process.stdout.write(`${JSON.stringify({ scrapes })}\n`)
})
commands.on('close', () => process.exit())
