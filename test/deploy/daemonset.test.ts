/** Holds deploy/daemonset equal to the code: what the agent reads, listens on, and needs. */
import { existsSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { metricsRoutes, readinessRoutes } from '../../src/agent/admin/endpoints.ts'
import { Readiness } from '../../src/agent/admin/readiness.ts'
import { SETTINGS } from '../../src/agent/settings/settings-schema.ts'
import { drainDeadlineMs, readSettings } from '../../src/agent/settings/settings.ts'
import { VERSION } from '../../src/agent/version.ts'
import { arrayOf, recordOf, textOf } from '../fixtures/json.ts'
import {
  BASE,
  DEPLOY_FOLDER,
  NODE_CAPTURE,
  agentOf,
  capabilitiesIn,
  environmentOf,
  fieldOf,
  mountPathOf,
  named,
  objectIn,
  podOf,
  textAt,
} from './manifests.ts'

import type { Settings } from '../../src/agent/settings/settings.ts'

const DAEMON_SET = objectIn(BASE, 'daemonset.yaml')
const POD = podOf(DAEMON_SET)
const AGENT = agentOf(DAEMON_SET)
const POD_LABELS = fieldOf(DAEMON_SET, 'spec', 'template', 'metadata', 'labels')

/** A pod of the DaemonSet, as the downward API tells of it. */
const POD_FIELDS = {
  'spec.nodeName': 'worker-1',
  'spec.serviceAccountName': textOf(POD, 'serviceAccountName', ''),
  'metadata.name': 'ztunnel-abcde',
  'metadata.namespace': textOf(objectIn(BASE, 'kustomization.yaml'), 'namespace', ''),
  'status.podIPs': '10.244.1.7,fd00:10:244:1::7',
}

const ENVIRONMENT = environmentOf(AGENT, POD_FIELDS)

/** The variables that the ConfigMap of the overlay for nodes gives the agent and the rules. */
const CAPTURE_SETTINGS: Readonly<Record<string, string>> = Object.fromEntries(
  [...textAt(NODE_CAPTURE, 'kustomization.yaml').matchAll(/^ {6}- ([A-Z_]+)=(.*)$/gm)].map(
    ([, name = '', value = '']) => [name, value],
  ),
)

/** What the agent makes of its variables in a cluster. */
function settingsOf(env: Readonly<Record<string, string>>): Settings {
  const read = readSettings({ env: { KUBERNETES_SERVICE_HOST: '10.96.0.1', ...env } })
  if (!read.ok) throw new Error(read.problems.map(({ message }) => message).join('\n'))
  return read.value
}

/** The port of a setting where nothing sets it. */
function defaultOf(setting: string): unknown {
  return SETTINGS.find(({ name }) => name === setting)?.default
}

t.test('every variable is a setting, and together they are read without a complaint', async (t) => {
  const known: readonly string[] = SETTINGS.map(({ name }) => name)
  t.strictSame(
    Object.keys(ENVIRONMENT).filter((name) => !known.includes(name)),
    [],
  )
  const settings = settingsOf(ENVIRONMENT)
  t.strictSame(settings.warnings, [])
  t.equal(settings.dualStack.mode, 'on')
  t.equal(settings.dualStack.source, 'ISTIO_DUAL_STACK in proxyMetadata of PROXY_CONFIG')
  t.equal(settings.logFormat, 'json')
  t.strictSame(settings.allowPlaintext, [], 'nobody permits plain text by mistake')
  t.match(settings.node, {
    nodeName: 'worker-1',
    podName: 'ztunnel-abcde',
    podNamespace: 'istio-system',
    serviceAccount: 'ztunnel',
    clusterId: defaultOf('CLUSTER_ID'),
    instanceIps: [{ text: '10.244.1.7' }, { text: 'fd00:10:244:1::7' }],
  })
})

t.test('the control plane is the one that the agent takes in a pod where nothing is said', async (t) => {
  const { XDS_ADDRESS: named, ...others } = ENVIRONMENT
  t.ok(named)
  t.strictSame(settingsOf(ENVIRONMENT).source, settingsOf(others).source)
})

t.test('token and root certificate are mounted where the agent looks for them', async (t) => {
  const { source, credentials } = settingsOf(ENVIRONMENT)
  if (source.kind !== 'control-plane' || source.controlPlane.rootCertificate.kind !== 'file')
    throw new Error('the root certificate is no file')
  if (credentials.token.kind !== 'file') throw new Error('the token is no file')
  // The image has / as its working directory, see image.test.ts.
  const root = path.resolve('/', source.controlPlane.rootCertificate.path)
  const token = path.resolve('/', credentials.token.path)
  t.equal(path.dirname(root), mountPathOf(AGENT, 'istiod-ca-cert'))
  t.equal(path.basename(root), 'root-cert.pem', 'the key of the ConfigMap')
  t.equal(path.dirname(token), mountPathOf(AGENT, 'istio-token'))
  const volumes = arrayOf(POD, 'volumes')
  t.match(named(volumes, 'istiod-ca-cert'), { configMap: { name: 'istio-ca-root-cert' } })
  t.match(named(volumes, 'istio-token'), {
    projected: {
      sources: [{ serviceAccountToken: { path: path.basename(token), audience: 'istio-ca' } }],
    },
  })
})

t.test("the folder of istio-cni's socket is mounted where the agent looks for it", async (t) => {
  t.equal(ENVIRONMENT['INPOD_ENABLED'], 'true')
  const socket = String(defaultOf('INPOD_UDS'))
  t.equal(path.dirname(socket), mountPathOf(AGENT, 'cni-ztunnel-sock-dir'))
  t.match(named(arrayOf(POD, 'volumes'), 'cni-ztunnel-sock-dir'), {
    hostPath: { path: path.dirname(socket), type: 'DirectoryOrCreate' },
  })
})

t.test('probes, metrics and annotations have the ports and paths that the agent serves', async (t) => {
  const { ports } = settingsOf(ENVIRONMENT)
  t.equal(ports.readiness, defaultOf('TWINSTACK_READINESS_PORT'))
  const routes = readinessRoutes({ readiness: new Readiness(), listeners: () => [], pods: () => undefined })
  const served = routes.map(({ path }) => path)
  for (const probe of ['startupProbe', 'readinessProbe']) {
    const get = fieldOf(AGENT, probe, 'httpGet')
    t.equal(get['port'], ports.readiness, probe)
    t.ok(served.includes(textOf(get, 'path', '')), `${probe} has a path of the agent`)
  }
  t.notOk('livenessProbe' in AGENT)
  const containerPorts = arrayOf(AGENT, 'ports')
  t.equal(named(containerPorts, 'ztunnel-stats')['containerPort'], ports.metrics)
  t.equal(named(containerPorts, 'readiness')['containerPort'], ports.readiness)
  const annotations = fieldOf(DAEMON_SET, 'spec', 'template', 'metadata', 'annotations')
  t.equal(annotations['prometheus.io/port'], String(ports.metrics))
  t.equal(annotations['prometheus.io/scrape'], 'true')
})

t.test('the time to drain ends before the pod is killed', async (t) => {
  const graceSeconds = Number(POD['terminationGracePeriodSeconds'])
  t.equal(ENVIRONMENT['TERMINATION_GRACE_PERIOD_SECONDS'], String(graceSeconds))
  t.equal(settingsOf(ENVIRONMENT).drainDeadlineMs, drainDeadlineMs(graceSeconds))
  t.ok(drainDeadlineMs(graceSeconds) < graceSeconds * 1_000)
})

t.test('each capability names code that needs it', async (t) => {
  const given = {
    [`${BASE}/daemonset.yaml`]: ['NET_ADMIN', 'SYS_ADMIN'],
    [`${NODE_CAPTURE}/daemonset.yaml`]: ['NET_ADMIN', 'NET_ADMIN'],
  }
  for (const [file, expected] of Object.entries(given)) {
    const capabilities = capabilitiesIn(file)
    t.strictSame(
      capabilities.map(({ name }) => name),
      expected,
      file,
    )
    for (const { name, needs } of capabilities) {
      t.ok(needs.length > 0, `${name} of ${file} has a reference`)
      for (const reference of needs) {
        if (!t.ok(existsSync(reference.file), `${reference.file} is there`)) continue
        t.match(textAt(reference.file), new RegExp(`\\b${reference.name}\\b`), reference.file)
      }
    }
  }
  const explained = [...textAt('docs/DEPLOY.md').matchAll(/^\| ([A-Z_]+) \| .* \| (.*) \|$/gm)]
  for (const { name, needs } of capabilitiesIn(`${BASE}/daemonset.yaml`)) {
    const [, , where = ''] = explained.find(([, capability]) => capability === name) ?? []
    for (const { file } of needs) t.match(where, file, `docs/DEPLOY.md explains ${name}`)
  }
  t.match(AGENT['securityContext'], {
    runAsUser: 0,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'SYS_ADMIN'] },
  })
})

t.test('istio-cni, istiod and istioctl find the agent by names and labels', async (t) => {
  t.match(DAEMON_SET, { kind: 'DaemonSet', metadata: { name: 'ztunnel' } })
  t.strictSame(fieldOf(DAEMON_SET, 'spec', 'selector', 'matchLabels'), { app: 'ztunnel' })
  t.match(POD_LABELS, {
    app: 'ztunnel',
    'istio.io/dataplane-mode': 'none',
    'sidecar.istio.io/inject': 'false',
  })
  t.match(objectIn(BASE, 'service-account.yaml'), { metadata: { name: POD['serviceAccountName'] } })
  t.match(fieldOf(DAEMON_SET, 'spec', 'updateStrategy'), {
    rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
  })
})

t.test('the image has the version of the program', async (t) => {
  t.equal(AGENT['image'], `twinstack:${VERSION}`)
  t.match(objectIn(NODE_CAPTURE, 'kustomization.yaml'), {
    images: [{ name: 'twinstack', newTag: `${VERSION}-node-capture` }],
  })
})

t.test('the components select the pods and ports of the DaemonSet', async (t) => {
  const { ports } = settingsOf(ENVIRONMENT)
  const monitor = objectIn(DEPLOY_FOLDER, 'components/pod-monitor/pod-monitor.yaml')
  const policy = objectIn(DEPLOY_FOLDER, 'components/network-policy/network-policy.yaml')
  t.match(POD_LABELS, fieldOf(monitor, 'spec', 'selector', 'matchLabels'))
  t.match(POD_LABELS, fieldOf(policy, 'spec', 'podSelector', 'matchLabels'))
  const scraped = () => Promise.resolve({ contentType: '', text: '' })
  const served = metricsRoutes(scraped).map(({ path }) => path)
  for (const endpoint of arrayOf(recordOf(monitor, 'spec'), 'podMetricsEndpoints')) {
    t.equal(named(arrayOf(AGENT, 'ports'), textOf(endpoint, 'port', ''))['containerPort'], ports.metrics)
    t.ok(served.includes(textOf(endpoint, 'path', '')))
  }
  t.strictSame(recordOf(policy, 'spec')['ingress'], [
    {
      ports: [ports.metrics, ports.readiness].map((port) => ({ protocol: 'TCP', port })),
    },
  ])
})

t.test('the overlay without istio-cni is in the network of the node and does not ask for pods', async (t) => {
  const patch = objectIn(NODE_CAPTURE, 'daemonset.yaml')
  const env = { ...ENVIRONMENT, ...CAPTURE_SETTINGS, ...environmentOf(agentOf(patch), POD_FIELDS) }
  t.equal(env['INPOD_ENABLED'], 'false')
  t.equal(settingsOf(env).preservesSource, true, 'the agent of another node sees who the client is')
  t.strictSame(settingsOf(env).warnings, [])
  t.match(podOf(patch), { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' })
  t.match(fieldOf(patch, 'spec', 'updateStrategy', 'rollingUpdate'), { maxSurge: 0, maxUnavailable: 1 })
  t.match(fieldOf(agentOf(patch), 'securityContext', 'capabilities'), { add: ['NET_ADMIN'] })
})

t.test('the agent and the rules of its node read their settings from one place', async (t) => {
  const patch = objectIn(NODE_CAPTURE, 'daemonset.yaml')
  const capture = named(arrayOf(podOf(patch), 'initContainers'), 'capture')
  t.ok(Object.keys(CAPTURE_SETTINGS).length > 0)
  for (const container of [agentOf(patch), capture])
    t.strictSame(arrayOf(container, 'envFrom'), [{ configMapRef: { name: 'ztunnel-capture-settings' } }])
  const script = textAt(NODE_CAPTURE, 'capture.sh')
  for (const name of Object.keys(CAPTURE_SETTINGS)) t.match(script, name)
  const preStop = fieldOf(agentOf(patch), 'lifecycle', 'preStop', 'exec')
  t.strictSame(preStop['command'], ['/bin/sh', '/etc/twinstack/capture.sh', 'pause'])
})
