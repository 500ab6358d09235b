/** What rules leave alone, and what is left of them: printed commands, a pause, a removal that cannot do all. */
import t from 'tap'

import { createNamespace, requireNamespaces } from '../fixtures/namespaces.ts'
import { MAIN_PATH } from '../fixtures/program.ts'
import { applyRules, forEachBackend, kernelState, pipeRules, removeRules } from '../fixtures/rules-lab.ts'

import type { Namespace } from '../fixtures/namespaces.ts'

const NODE = '--mode node --pod-cidrs 10.244.0.0/24,fd00:10:244::/64'

if (requireNamespaces(t)) {
  t.test('the commands that nft rules name make their routes, and remove them', (t) => {
    for (const scope of ['', '--mode node', '--mode node --families ipv6']) {
      const pods = scope.includes('ipv6') ? 'fd00:10:244::/64' : '10.244.0.0/24,fd00:10:244::/64'
      const flags = scope.includes('node') ? `${scope} --pod-cidrs ${pods}` : scope
      const [given, printed] = [createNamespace(t, 'given'), createNamespace(t, 'printed')]
      const before = kernelState(printed)
      applyRules(given, 'nft', flags)
      asPrinted(printed, `${flags} --backend nft`)
      t.equal(kernelState(printed), kernelState(given), flags)
      asPrinted(printed, `${scope} --backend nft --remove`)
      t.equal(kernelState(printed), before, `${scope} --remove`)
    }
    t.end()
  })

  forEachBackend(t, "somebody else's routes of the same mark and priority stay beside ours", (t, backend) => {
    const namespace = createNamespace(t, 'host')
    for (const family of ['-4', '-6'])
      namespace.run('ip', family, ...'rule add pref 32764 fwmark 0x111/0xfff lookup 100'.split(' '))
    const rules = (): readonly string[] =>
      ['-4', '-6'].map((family) => namespace.run('ip', family, 'rule', 'show', 'fwmark', '0x111/0xfff'))
    const theirs = rules()
    applyRules(namespace, backend, NODE)
    for (const rule of rules()) t.match(rule, /lookup 100\n[^]*lookup 1337\n/)
    removeRules(namespace, backend, '--mode node')
    t.strictSame(rules(), theirs)
    return Promise.resolve()
  })

  forEachBackend(t, 'what cannot be removed of one family keeps nothing of the other', (t, backend) => {
    const namespace = createNamespace(t, 'host')
    applyRules(namespace, backend, NODE)
    // What nft removes is of both families anyway.
    const remove =
      backend === 'nft' ? '--mode node --remove --routes' : '--mode node --remove --backend iptables'
    const failing = 'ip() { [ "$1 $2 $3" != "-4 rule del" ] && command ip "$@"; }\n'
    const text = pipeRules(namespace, remove, 'cat')
    t.throws(() => namespace.run('sh', '-c', `${failing}${text}`), 'and it is a failure')
    t.match(namespace.run('ip', '-4', 'rule'), /lookup 1337\n/)
    t.notMatch(namespace.run('ip', '-6', 'rule'), '1337')
    return Promise.resolve()
  })

  forEachBackend(t, 'a pause redirects nothing and leaves the marks and the routes', (t, backend) => {
    const namespace = createNamespace(t, 'host')
    applyRules(namespace, backend, NODE)
    const running = kernelState(namespace)
    const pause = (): void => {
      pipeRules(namespace, `--mode node --pause --backend ${backend}`, backend === 'nft' ? 'nft -f -' : 'sh')
    }
    pause()
    const paused = kernelState(namespace)
    t.notMatch(paused, /15001|15006/)
    for (const kept of [/lookup 1337/, /table 1337/, /mark .*0x0*111/]) t.match(paused, kept)
    pause()
    t.equal(kernelState(namespace), paused, 'a second time changes nothing')
    applyRules(namespace, backend, NODE)
    t.equal(kernelState(namespace), running)
    const bare = createNamespace(t, 'bare')
    t.doesNotThrow(() => {
      pipeRules(bare, `--mode node --pause --backend ${backend}`, backend === 'nft' ? 'nft -f -' : 'sh')
    }, 'nor is it an error where nothing is')
    return Promise.resolve()
  })
}

/** Applies nft rules, then runs the command that they name for the routes, as it stands there. */
function asPrinted(namespace: Namespace, flags: string): void {
  const text = pipeRules(namespace, flags, 'cat')
  namespace.nft(text)
  const [, command = 'false'] = /^# {3}(twinstack rules .*\| sh)$/m.exec(text) ?? []
  namespace.run('sh', '-c', `twinstack() { '${process.execPath}' '${MAIN_PATH}' "$@"; }\n${command}`)
}
