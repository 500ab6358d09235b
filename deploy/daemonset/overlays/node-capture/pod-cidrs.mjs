/**
 * Prints the pod CIDRs of the node NODE_NAME, separated by commas, as the API server has them (spec.podCIDRs). The argument is
 * the folder with the token and the root certificate of a service account.
 */
import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import path from 'node:path'
import process from 'node:process'

const TIMEOUT_MS = 10_000

const [, , accountFolder = '.'] = process.argv
const { NODE_NAME: nodeName = '', KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env

function fail(message) {
  process.stderr.write(`pod-cidrs: ${message}\n`)
  process.exit(1)
}

/** Resolves with the status and the text of the answer. */
function get(url) {
  return new Promise((resolve, reject) => {
    const token = readFileSync(path.join(accountFolder, 'token'), 'utf8').trim()
    const ca = readFileSync(path.join(accountFolder, 'ca.crt'))
    const headers = { authorization: `Bearer ${token}`, accept: 'application/json' }
    const asked = request({ host, port, path: url, ca, headers, timeout: TIMEOUT_MS }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (part) => (text += part))
      answer.on('end', () => resolve({ status: answer.statusCode, text }))
      answer.on('error', reject)
    })
    asked.on('timeout', () => asked.destroy(new Error(`no answer for ${TIMEOUT_MS / 1_000} s`)))
    asked.on('error', reject)
    asked.end()
  })
}

try {
  const { status, text } = await get(`/api/v1/nodes/${encodeURIComponent(nodeName)}`)
  if (status !== 200) fail(`the API server does not tell of the node '${nodeName}': ${status} ${text}`)
  const cidrs = JSON.parse(text).spec.podCIDRs ?? []
  if (cidrs.length === 0)
    fail(`the node ${nodeName} has no spec.podCIDRs: this cluster hands out pod addresses in another way`)
  process.stdout.write(`${cidrs.join(',')}\n`)
} catch (error) {
  fail(`the API server cannot be asked: ${error.message}`)
}
