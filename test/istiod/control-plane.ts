/**
 * The control plane of a cluster that has no nodes: etcd, kube-apiserver and an unmodified istiod, as processes in a
 * network namespace of their own, so that every port is the usual one. Nothing runs here that a controller manager or a
 * kubelet would do: see cluster.ts.
 */
import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

import { eventually } from '../fixtures/eventually.ts'
import { Daemon } from './daemon.ts'

import type { Test } from 'tap'
import type { Namespace } from '../fixtures/namespaces.ts'
import type { IstioBinaries } from './istio-binaries.ts'

/** Where istiod serves xDS, on every address of its namespace. */
export const XDS_PORTS = { plaintext: 15_010, tls: 15_012 } as const
/** The name in the certificate that istiod serves TLS with. */
export const ISTIOD_NAME = 'istiod.istio-system.svc'

/** How istiod is started. */
export interface IstiodFlags {
  /** ISTIO_DUAL_STACK */
  readonly isDualStack?: boolean
  /** PILOT_ENABLE_AMBIENT; without it no node proxy is served. */
  readonly isAmbient?: boolean
}

const SYSTEM_NAMESPACE = 'istio-system'
const ETCD_PORT = 2_379
const ETCD_PEER_PORT = 2_380
const APISERVER_PORT = 6_443
const ADMIN_TOKEN = 'admin'
/** The folder of what kube-apiserver makes for itself. */
const CERTIFICATES = 'certificates'
const CLUSTER_IP_RANGES = '10.96.0.0/16,fd00:10:96::/108'
const SERVICE_ACCOUNT_ISSUER = 'https://kubernetes.default.svc'
/** What istiod wants the tokens of its clients to be for. */
export const TOKEN_AUDIENCE = 'istio-ca'

const KUBECONFIG = `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:${APISERVER_PORT}", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: ${ADMIN_TOKEN}}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
`

const execute = promisify(execFile)

/** On two processors that others use too. */
const START_TIMEOUT_MS = 60_000
const COMMAND_TIMEOUT_MS = 30_000

export class ControlPlane {
  readonly #t: Test
  readonly #namespace: Namespace
  readonly #binaries: IstioBinaries
  readonly #folder: string
  #istiod: Daemon | undefined

  private constructor(t: Test, namespace: Namespace, binaries: IstioBinaries, folder: string) {
    this.#t = t
    this.#namespace = namespace
    this.#binaries = binaries
    this.#folder = folder
  }

  /**
   * Starts etcd and kube-apiserver and resolves when istiod can be started; the end of the test ends all of them.
   * `address` is one that the namespace has.
   */
  static async start(
    t: Test,
    namespace: Namespace,
    binaries: IstioBinaries,
    address: string,
  ): Promise<ControlPlane> {
    const folder = mkdtempSync(path.join(tmpdir(), 'twinstack-istiod-'))
    t.teardown(() => {
      rmSync(folder, { recursive: true, force: true })
    })
    const controlPlane = new ControlPlane(t, namespace, binaries, folder)
    controlPlane.#writeFiles()
    controlPlane.#startDaemon('etcd', [binaries.etcd, ...etcdFlags(path.join(folder, 'etcd'))])
    const apiserver = controlPlane.#startDaemon('kube-apiserver', [
      binaries.kubeApiserver,
      ...apiserverFlags(folder, address),
    ])
    await controlPlane.#becomesReady('kube-apiserver', apiserver, async () => {
      if (!controlPlane.#listensOn(APISERVER_PORT)) return false
      try {
        return (await controlPlane.kubectl(['get', '--raw', '/readyz'])) === 'ok'
      } catch {
        return false
      }
    })
    await controlPlane.kubectl(['create', 'namespace', SYSTEM_NAMESPACE])
    await controlPlane.kubectl(['create', '--filename', binaries.crds])
    return controlPlane
  }

  /** Starts istiod and resolves when it serves xDS, which it does from when it knows the cluster. */
  async startIstiod({ isDualStack = true, isAmbient = true }: IstiodFlags = {}): Promise<void> {
    if (this.#istiod?.hasExited === false) throw new TypeError('istiod runs already')
    const istiod = this.#startDaemon(
      'istiod',
      [this.#binaries.pilotDiscovery, ...istiodFlags(this.#folder)],
      istiodEnvironment(isDualStack, isAmbient),
    )
    this.#istiod = istiod
    // The plaintext port is the last that it opens.
    await this.#becomesReady('istiod', istiod, () => this.#listensOn(XDS_PORTS.plaintext))
  }

  /** Kills istiod, and leaves everything else. */
  async killIstiod(): Promise<void> {
    if (this.#istiod === undefined) throw new TypeError('istiod was not started')
    await this.#istiod.stop()
  }

  /** The certificate of the API server, which it has signed itself; 127.0.0.1 is one of its names. */
  get apiServerCertificate(): string {
    return readFileSync(path.join(this.#folder, CERTIFICATES, 'apiserver.crt'), 'utf8')
  }

  /** Runs kubectl as an administrator of the cluster and gives what it printed. */
  kubectl(args: readonly string[], input = ''): Promise<string> {
    return this.#run(this.#binaries.kubectl, args, input)
  }

  /** The same with the istioctl of the version. */
  istioctl(args: readonly string[], input = ''): Promise<string> {
    return this.#run(this.#binaries.istioctl, args, input)
  }

  async #run(program: string, args: readonly string[], input: string): Promise<string> {
    const [command = '', ...rest] = [...this.#namespace.prefix, program, ...args]
    const kubeconfig = path.join(this.#folder, 'kubeconfig')
    const running = execute(command, rest, {
      env: { PATH: process.env['PATH'], HOME: this.#folder, KUBECONFIG: kubeconfig },
      timeout: COMMAND_TIMEOUT_MS,
    })
    // It may have ended before it has read all; what it printed says why.
    running.child.stdin?.on('error', () => undefined).end(input)
    return (await running).stdout
  }

  #writeFiles(): void {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', {
      modulusLength: 2_048,
      privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    })
    const files = {
      'service-account.key': privateKey,
      'service-account.pub': publicKey,
      'tokens.csv': `${ADMIN_TOKEN},admin,admin,"system:masters"\n`,
      kubeconfig: KUBECONFIG,
      // Empty: the defaults of the mesh.
      'mesh.yaml': '',
    }
    for (const [name, text] of Object.entries(files))
      writeFileSync(path.join(this.#folder, name), text, { mode: 0o600 })
  }

  #listensOn(port: number): boolean {
    return this.#namespace.run('ss', '-Hltn', 'sport', '=', `:${port}`) !== ''
  }

  #startDaemon(name: string, program: readonly string[], env: Readonly<Record<string, string>> = {}): Daemon {
    const logFile = path.join(this.#folder, `${name}.log`)
    return Daemon.start(this.#t, this.#namespace, program, { env, cwd: this.#folder, logFile })
  }

  async #becomesReady(name: string, daemon: Daemon, probe: () => boolean | Promise<boolean>): Promise<void> {
    try {
      await eventually(`${name} is ready`, () => daemon.hasExited || probe(), START_TIMEOUT_MS)
    } catch (error) {
      throw new Error(`${name} is not ready:\n${daemon.lastLines}`, { cause: error })
    }
    if (daemon.hasExited) throw new Error(`${name} has ended:\n${daemon.lastLines}`)
  }
}

function etcdFlags(dataFolder: string): readonly string[] {
  return [
    `--data-dir=${dataFolder}`,
    `--listen-client-urls=http://127.0.0.1:${ETCD_PORT}`,
    `--advertise-client-urls=http://127.0.0.1:${ETCD_PORT}`,
    `--listen-peer-urls=http://127.0.0.1:${ETCD_PEER_PORT}`,
    // It is gone after the test: what is not written to the disk is not missed.
    '--unsafe-no-fsync',
  ]
}

function apiserverFlags(folder: string, address: string): readonly string[] {
  return [
    `--etcd-servers=http://127.0.0.1:${ETCD_PORT}`,
    '--bind-address=127.0.0.1',
    `--advertise-address=${address}`,
    `--secure-port=${APISERVER_PORT}`,
    `--cert-dir=${path.join(folder, CERTIFICATES)}`,
    `--service-cluster-ip-range=${CLUSTER_IP_RANGES}`,
    `--service-account-issuer=${SERVICE_ACCOUNT_ISSUER}`,
    `--service-account-key-file=${path.join(folder, 'service-account.pub')}`,
    `--service-account-signing-key-file=${path.join(folder, 'service-account.key')}`,
    `--api-audiences=${SERVICE_ACCOUNT_ISSUER},${TOKEN_AUDIENCE}`,
    `--token-auth-file=${path.join(folder, 'tokens.csv')}`,
    '--authorization-mode=RBAC',
    // It would wait for a controller that gives each namespace its default account.
    '--disable-admission-plugins=ServiceAccount',
  ]
}

function istiodFlags(folder: string): readonly string[] {
  return [
    'discovery',
    `--kubeconfig=${path.join(folder, 'kubeconfig')}`,
    '--registries=Kubernetes',
    '--clusterID=Kubernetes',
    `--meshConfig=${path.join(folder, 'mesh.yaml')}`,
    `--grpcAddr=:${XDS_PORTS.plaintext}`,
    `--secureGRPCAddr=:${XDS_PORTS.tls}`,
    '--httpAddr=127.0.0.1:8080',
    '--httpsAddr=',
    '--monitoringAddr=127.0.0.1:15014',
  ]
}

function istiodEnvironment(isDualStack: boolean, isAmbient: boolean): Readonly<Record<string, string>> {
  return {
    ISTIO_DUAL_STACK: String(isDualStack),
    PILOT_ENABLE_AMBIENT: String(isAmbient),
    POD_NAMESPACE: SYSTEM_NAMESPACE,
    POD_NAME: 'istiod-0',
    CA_TRUSTED_NODE_ACCOUNTS: `${SYSTEM_NAMESPACE}/ztunnel`,
    INJECT_ENABLED: 'false',
  }
}
