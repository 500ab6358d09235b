/** What deploy/daemonset asks of a cluster, before a real API server that takes or refuses it without keeping it. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'

import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { VERSION } from '../../src/agent/version.ts'
import { DEPLOY_FOLDER, NODE_CAPTURE, agentOf, fieldOf, named, podOf, textAt } from '../deploy/manifests.ts'
import { eventually } from '../fixtures/eventually.ts'
import { arrayOf } from '../fixtures/json.ts'
import { createNamespace, requireNamespaces } from '../fixtures/namespaces.ts'
import { MAIN_PATH } from '../fixtures/program.ts'
import { ControlPlane } from './control-plane.ts'
import { forNewestIstio } from './istio-binaries.ts'

import type { Test } from 'tap'
import type { Json } from '../fixtures/json.ts'
import type { Namespace } from '../fixtures/namespaces.ts'

const CONTROL_ADDRESS = '10.244.0.2'
const NODE = { name: 'worker-1', podCidrs: ['10.244.7.0/24', 'fd00:10:244:7::/64'] } as const
const DRY_RUN = ['apply', '--dry-run=server'] as const

const execute = promisify(execFile)

/** What kubectl says to objects that the API server would take. */
function dryRun(controlPlane: ControlPlane, folder: string): Promise<readonly string[]> {
  return controlPlane.kubectl([...DRY_RUN, '--kustomize', folder]).then(linesOf)
}

function linesOf(text: string): readonly string[] {
  // Names of generated ConfigMaps end in a hash of their content.
  const lines = text.trimEnd().split('\n')
  return lines.map((line) => line.replace(/-[a-z0-9]{10} created/, ' created')).sort()
}

/** The DaemonSet of a folder after kustomize, as JSON that kubectl makes of it. */
async function daemonSetOf(controlPlane: ControlPlane, folder: string): Promise<Json> {
  const yaml = await controlPlane.kubectl(['kustomize', folder])
  const text = await controlPlane.kubectl(
    ['create', '--dry-run=client', '--output=json', '--filename=-'],
    yaml,
  )
  // One object after the other.
  for (const object of text.split(/^(?=\{)/m)) {
    const value: unknown = JSON.parse(object)
    const found = [value].flatMap((each) =>
      typeof each === 'object' && each !== null && 'kind' in each && each.kind === 'DaemonSet' ? [each] : [],
    )
    if (found[0] !== undefined) return Object.fromEntries(Object.entries(found[0]))
  }
  throw new Error(`${folder} has no DaemonSet`)
}

/** A pod as the DaemonSet's controller would make it. */
async function podFrom(controlPlane: ControlPlane, folder: string): Promise<string> {
  const daemonSet = await daemonSetOf(controlPlane, folder)
  const metadata = { ...fieldOf(daemonSet, 'spec', 'template', 'metadata'), name: 'ztunnel-abcde' }
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, namespace: 'istio-system' },
    spec: podOf(daemonSet),
  })
}

/** A folder with the kustomization that docs/DEPLOY.md shows. */
function documentedOverlay(t: Test): string {
  const [, yaml = ''] = /```yaml\n(.*?)```/s.exec(textAt('docs/DEPLOY.md')) ?? []
  const folder = t.testdir({ 'kustomization.yaml': '' })
  const deploy = path.relative(folder, DEPLOY_FOLDER)
  const text = yaml.replaceAll(`../twinstack/${DEPLOY_FOLDER}`, deploy)
  writeFileSync(path.join(folder, 'kustomization.yaml'), text)
  return folder
}

/** The files that the capture script finds in its pod, and the program as the image has it. */
async function captureFiles(t: Test, controlPlane: ControlPlane): Promise<string> {
  const folder = t.testdir()
  mkdirSync(path.join(folder, 'bin'))
  const program = `#!/bin/sh\nexec "${process.execPath}" "${MAIN_PATH}" "$@"\n`
  writeFileSync(path.join(folder, 'bin/twinstack'), program, { mode: 0o755 })
  const token = await controlPlane.kubectl(['create', 'token', 'ztunnel', '--namespace', 'istio-system'])
  writeFileSync(path.join(folder, 'token'), token)
  writeFileSync(path.join(folder, 'ca.crt'), controlPlane.apiServerCertificate)
  return folder
}

/** As the overlay gives them: root with one capability. */
const WITH_NET_ADMIN = ['setpriv', '--bounding-set=-all,+net_admin', '--inh-caps=-all,+net_admin']

/** Runs the capture script in the network of a node and gives what it printed. */
async function capture(
  { prefix }: Namespace,
  folder: string,
  action: 'install' | 'pause',
  nodeName: string = NODE.name,
): Promise<string> {
  const script = ['/bin/sh', `${NODE_CAPTURE}/capture.sh`, action]
  const [command = '', ...rest] = [...prefix, ...WITH_NET_ADMIN, ...script]
  const { stdout } = await execute(command, rest, {
    env: {
      PATH: `${path.join(folder, 'bin')}:${path.dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
      TMPDIR: folder,
      ACCOUNT_FOLDER: folder,
      NODE_NAME: nodeName,
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: '6443',
      CAPTURE_EXCLUDE_PORTS: '15010,15012,15017',
    },
  })
  return stdout
}

async function createNode(
  controlPlane: ControlPlane,
  name: string,
  podCIDRs: readonly string[],
): Promise<void> {
  const spec = podCIDRs.length === 0 ? {} : { podCIDR: podCIDRs[0], podCIDRs }
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec }
  await controlPlane.kubectl(['create', '--filename=-'], JSON.stringify(node))
}

if (requireNamespaces(t)) {
  forNewestIstio(t, 'an API server', async (t, binaries) => {
    const control = createNamespace(t, 'control')
    control.ip(`addr add ${CONTROL_ADDRESS}/32 dev lo`)
    const controlPlane = await ControlPlane.start(t, control, binaries, CONTROL_ADDRESS)
    const base = [
      'daemonset.apps/ztunnel created (server dry run)',
      'serviceaccount/ztunnel created (server dry run)',
    ]

    await t.test('takes the entry', async (t) => {
      t.strictSame(await dryRun(controlPlane, DEPLOY_FOLDER), base)
    })

    await t.test('takes the overlay without istio-cni', async (t) => {
      t.strictSame(
        await dryRun(controlPlane, NODE_CAPTURE),
        [
          ...base,
          'clusterrole.rbac.authorization.k8s.io/ztunnel-pod-cidrs created (server dry run)',
          'clusterrolebinding.rbac.authorization.k8s.io/ztunnel-pod-cidrs created (server dry run)',
          'configmap/ztunnel-capture created (server dry run)',
          'configmap/ztunnel-capture-settings created (server dry run)',
        ].sort(),
      )
    })

    for (const folder of [DEPLOY_FOLDER, NODE_CAPTURE]) {
      await t.test(`takes a pod of ${folder}`, async (t) => {
        const pod = await podFrom(controlPlane, folder)
        const told = await controlPlane.kubectl([...DRY_RUN, '--filename=-'], pod)
        t.equal(told, 'pod/ztunnel-abcde created (server dry run)\n')
      })
    }

    await t.test('refuses a field that does not exist, and a value that is none', async (t) => {
      const yaml = await controlPlane.kubectl(['kustomize', DEPLOY_FOLDER])
      const mistakes = {
        'unknown field "spec.template.spec.priorityClass"': ['priorityClassName:', 'priorityClass:'],
        'may not be set when maxUnavailable is non-zero': ['maxUnavailable: 0', 'maxUnavailable: 1'],
        'must be between 1 and 65535': ['port: 15021', 'port: 150210'],
      } as const
      for (const [message, [right, wrong]] of Object.entries(mistakes)) {
        const refused = controlPlane.kubectl([...DRY_RUN, '--filename=-'], yaml.replaceAll(right, wrong))
        await t.rejects(refused, { message: new RegExp(message.replaceAll(/[".]/g, '.')) }, message)
      }
    })

    await t.test(
      'takes the kustomization of docs/DEPLOY.md, with the CRD of the Prometheus operator',
      async (t) => {
        const { podMonitorCrd } = binaries
        if (!t.ok(existsSync(podMonitorCrd), `${podMonitorCrd} is there, else run 'npm run istiod:build'`))
          return
        await controlPlane.kubectl(['create', '--filename', podMonitorCrd])
        const crd = 'customresourcedefinition/podmonitors.monitoring.coreos.com'
        await controlPlane.kubectl(['wait', '--for=condition=established', '--timeout=20s', crd])
        // What is established is discovered a while later.
        await eventually('the API server has PodMonitors', async () => {
          try {
            await controlPlane.kubectl(['get', 'podmonitors', '--all-namespaces'])
            return true
          } catch {
            return false
          }
        })
        const folder = documentedOverlay(t)
        t.strictSame(await dryRun(controlPlane, folder), [
          ...base.slice(0, 1),
          'networkpolicy.networking.k8s.io/ztunnel created (server dry run)',
          'podmonitor.monitoring.coreos.com/ztunnel created (server dry run)',
          ...base.slice(1),
        ])
        const agent = agentOf(await daemonSetOf(controlPlane, folder))
        t.equal(agent['image'], `registry.example/twinstack:${VERSION}`)
        t.ok(named(arrayOf(agent, 'env'), 'TWINSTACK_ALLOW_PLAINTEXT'))
      },
    )

    await t.test('tells the overlay the pod CIDRs of its node, which the rules then have', async (t) => {
      await controlPlane.kubectl(['apply', '--kustomize', NODE_CAPTURE])
      await createNode(controlPlane, NODE.name, NODE.podCidrs)
      await createNode(controlPlane, 'worker-2', [])
      const folder = await captureFiles(t, controlPlane)
      const routing = (): string => control.run('ip', '-4', 'rule') + control.run('ip', '-6', 'rule')
      const before = routing()
      await t.rejects(capture(control, folder, 'install', 'worker-2'), {
        message: /the node worker-2 has no spec\.podCIDRs/,
      })
      await t.rejects(capture(control, folder, 'install', 'worker-3'), {
        message: /the API server does not tell of the node 'worker-3': 404/,
      })
      t.match(await capture(control, folder, 'install'), NODE.podCidrs.join(','))
      const rules = control.run('nft', 'list', 'ruleset')
      for (const part of [...NODE.podCidrs, ':15001', ':15006', '15012']) t.match(rules, part)
      const added = routing()
        .split('\n')
        .filter((line) => !before.includes(line))
      t.equal(added.length, FAMILIES.length, 'answers find their way in each family')
      await capture(control, folder, 'install')
      t.equal(control.run('nft', 'list', 'ruleset'), rules, 'a second time changes nothing')
      const installed = routing()
      await capture(control, folder, 'pause')
      await capture(control, folder, 'pause')
      t.notMatch(control.run('nft', 'list', 'ruleset'), /:15001|:15006/, 'nothing is redirected')
      t.equal(routing(), installed, 'answers on open connections find their way')
      control.ip('link add kube-ipvs0 type bridge')
      await t.rejects(capture(control, folder, 'install'), { message: /set CAPTURE_SERVICE_CIDRS/ })
    })
  })
}
