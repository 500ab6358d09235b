/** A node proxy on the TLS port of a real istiod, with the token that the cluster gives its pod. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { eventually } from '../fixtures/eventually.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { knownWorkloads } from './ambient-state.ts'
import { becomes } from './becomes.ts'
import { ISTIOD_NAME, TOKEN_AUDIENCE, XDS_PORTS } from './control-plane.ts'
import { forEachIstio } from './istio-binaries.ts'
import { startNodeProxy, startRefusedNodeProxy } from './mesh-agents.ts'
import { ISTIOD, createMeshLab } from './mesh-lab.ts'
import { PODS, PROXY, uidOf } from './scenario.ts'

import type { ControlPlane } from './control-plane.ts'
import type { MeshLab } from './mesh-lab.ts'

/** A token of the proxy's service account that is bound to its pod, as a kubelet projects it. */
function createToken(controlPlane: ControlPlane, audience: string): Promise<string> {
  const { app, namespace, name } = PROXY
  const pod = ['--bound-object-kind', 'Pod', '--bound-object-name', name]
  return controlPlane.kubectl([
    'create',
    'token',
    app,
    '--namespace',
    namespace,
    '--audience',
    audience,
    ...pod,
  ])
}

/** The root that istiod publishes, once it leads. */
async function readRoot(controlPlane: ControlPlane): Promise<string> {
  const name = ['configmap', 'istio-ca-root-cert', '--namespace', PROXY.namespace]
  const output = ['--ignore-not-found', '--output', 'jsonpath={.data.root-cert\\.pem}']
  let root = ''
  await eventually(
    'istiod has published its root certificate',
    async () => {
      root = await controlPlane.kubectl(['get', ...name, ...output])
      return root !== ''
    },
    20_000,
  )
  return root
}

/** The lab, its node with a hosts file that has both addresses of istiod by its name. */
function withHosts(lab: MeshLab, file: string): MeshLab {
  writeFileSync(file, FAMILIES.map((family) => `${ISTIOD[family]} ${ISTIOD_NAME}\n`).join(''))
  // ip-netns gives each program mounts of its own.
  const mount = ['sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', file]
  return { ...lab, node: { ...lab.node, prefix: [...lab.node.prefix, ...mount] } }
}

if (requireNamespaces(t)) {
  forEachIstio(t, 'a node proxy on the TLS port', async (t, binaries) => {
    const folder = t.testdir()
    const lab = withHosts(await createMeshLab(t, binaries), path.join(folder, 'hosts'))
    const { controlPlane, control, nodeHost } = lab
    await controlPlane.startIstiod()
    const [rootFile, tokenFile] = [path.join(folder, 'root-cert.pem'), path.join(folder, 'istio-token')]
    writeFileSync(rootFile, await readRoot(controlPlane))
    const env = {
      XDS_ADDRESS: `https://${ISTIOD_NAME}:${XDS_PORTS.tls}`,
      XDS_ROOT_CA: rootFile,
      AUTH_TOKEN: tokenFile,
    }
    const isKnown = async (): Promise<boolean> => uidOf(PODS.dual[0]) in (await knownWorkloads(nodeHost))

    await t.test('is served with the token of its pod', async (t) => {
      writeFileSync(tokenFile, await createToken(controlPlane, TOKEN_AUDIENCE))
      await startNodeProxy(t, lab, env)
      await becomes(t, 'it knows the pods', isKnown, true)
    })

    await t.test('is served by an address whose name it is told', async (t) => {
      await startNodeProxy(t, lab, {
        ...env,
        XDS_ADDRESS: `https://${ISTIOD.ipv4}:${XDS_PORTS.tls}`,
        ALT_XDS_HOSTNAME: ISTIOD_NAME,
      })
      await becomes(t, 'it knows the pods', isKnown, true)
    })

    for (const family of FAMILIES) {
      await t.test(`is served over the other family when istiod is not reached over ${family}`, async (t) => {
        control.nft(`
table inet silence {
  chain input {
    type filter hook input priority filter; policy accept;
    meta nfproto ${family} tcp dport ${XDS_PORTS.tls} drop
  }
}`)
        t.teardown(() => {
          control.nft('delete table inet silence\n')
        })
        await startNodeProxy(t, lab, env)
        await becomes(t, 'it knows the pods', isKnown, true)
      })
    }

    await t.test('is refused with a token for others, until it has the right one', async (t) => {
      writeFileSync(tokenFile, await createToken(controlPlane, 'https://kubernetes.default.svc'))
      const agent = startRefusedNodeProxy(t, lab, env)
      await agent.logged('has the audience istio-ca', 20_000)
      writeFileSync(tokenFile, await createToken(controlPlane, TOKEN_AUDIENCE))
      await becomes(t, 'it knows the pods', isKnown, true)
    })

    await t.test('is refused in a namespace that is not that of its token', async (t) => {
      const agent = startRefusedNodeProxy(t, lab, { ...env, POD_NAMESPACE: 'default' })
      await agent.logged('that POD_NAMESPACE and SERVICE_ACCOUNT are its own', 20_000)
    })
  })
}
