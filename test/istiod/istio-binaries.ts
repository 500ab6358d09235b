/** Finds the control planes that build-binaries.sh has built, and runs a test with each of them. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'

import type { Test } from 'tap'

/** The programs of one control plane. */
export interface IstioBinaries {
  /** The version of Istio. */
  readonly version: string
  readonly pilotDiscovery: string
  readonly istioctl: string
  /** A file with the custom resource definitions of that version. */
  readonly crds: string
  readonly kubeApiserver: string
  readonly kubectl: string
  readonly etcd: string
  /** A file with the custom resource definition of the Prometheus operator's PodMonitor. */
  readonly podMonitorCrd: string
}

/** As build-binaries.sh has it. */
const KUBERNETES_VERSION = '1.34.4'
const PROMETHEUS_OPERATOR_VERSION = '0.95.2'
const CACHE = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'twinstack')
const ISTIO_FOLDER = path.join(CACHE, 'istiod')
const KUBERNETES_FOLDER = path.join(CACHE, 'kubernetes', KUBERNETES_VERSION)
/** The longest that one subtest takes with one version, and the longest of a file with all of them. */
const LONGEST_MS = 180_000
const LONGEST_FILE_MS = 900_000

/**
 * Runs `body` as a subtest with each version that is in the cache, newest last, or only with those that ISTIO_VERSION
 * names (separated by commas). What is missing fails the test: it is not for machines that cannot run it.
 */
export function forEachIstio(
  t: Test,
  name: string,
  body: (t: Test, binaries: IstioBinaries) => Promise<void>,
): void {
  run(t, name, wantedVersions(), body)
}

/** The same once, with the newest of them: for what does not depend on the version of Istio. */
export function forNewestIstio(
  t: Test,
  name: string,
  body: (t: Test, binaries: IstioBinaries) => Promise<void>,
): void {
  run(t, name, wantedVersions().slice(-1), body)
}

function run(
  t: Test,
  name: string,
  versions: readonly string[],
  body: (t: Test, binaries: IstioBinaries) => Promise<void>,
): void {
  const problem = whyNot()
  if (problem !== undefined) {
    t.fail(problem)
    return
  }
  t.setTimeout(LONGEST_FILE_MS)
  for (const version of versions) {
    t.test(`${name} (Istio ${version})`, { timeout: LONGEST_MS }, (t) => body(t, binariesOf(version)))
  }
}

function wantedVersions(): readonly string[] {
  const named = process.env['ISTIO_VERSION'] ?? ''
  if (named !== '') return named.split(',')
  return existsSync(ISTIO_FOLDER) ? readdirSync(ISTIO_FOLDER).sort() : []
}

function whyNot(): string | undefined {
  const versions = wantedVersions()
  if (versions.length === 0) return `no Istio is in ${ISTIO_FOLDER}: run 'npm run istiod:build'`
  for (const { pilotDiscovery, kubectl } of versions.map(binariesOf)) {
    for (const file of [pilotDiscovery, kubectl])
      if (!existsSync(file)) return `there is no ${file}: run 'npm run istiod:build'`
  }
  const { error } = spawnSync('etcd', ['--version'])
  return error === undefined ? undefined : `etcd does not run (Debian: etcd-server): ${error.message}`
}

function binariesOf(version: string): IstioBinaries {
  const folder = path.join(ISTIO_FOLDER, version)
  return {
    version,
    pilotDiscovery: path.join(folder, 'pilot-discovery'),
    istioctl: path.join(folder, 'istioctl'),
    crds: path.join(folder, 'crds.yaml'),
    kubeApiserver: path.join(KUBERNETES_FOLDER, 'kube-apiserver'),
    kubectl: path.join(KUBERNETES_FOLDER, 'kubectl'),
    etcd: 'etcd',
    podMonitorCrd: path.join(CACHE, 'prometheus-operator', PROMETHEUS_OPERATOR_VERSION, 'podmonitors.yaml'),
  }
}
