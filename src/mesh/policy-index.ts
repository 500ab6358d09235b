/** Finds the authorization policies of a snapshot that apply to a workload. */
import { ShardedMultimapDraft, ShardedMultimap } from './collections/sharded-multimap.ts'

import type { AuthorizationPolicy, Workload } from './workload.ts'

/** Policies by where they apply. Immutable; changed through {@link PolicyIndexDraft}. */
export class PolicyIndex {
  /** By the scope that {@link scopeKey} names; for the draft of the successor. */
  readonly byScope: ShardedMultimap<string, AuthorizationPolicy>
  readonly #byKey: ReadonlyMap<string, AuthorizationPolicy>

  constructor(
    byKey: ReadonlyMap<string, AuthorizationPolicy> = new Map(),
    byScope = new ShardedMultimap<string, AuthorizationPolicy>(),
  ) {
    this.#byKey = byKey
    this.byScope = byScope
  }

  /** The policies that apply to a workload, and the keys that it names and that are not there. */
  applicableTo(workload: Workload): {
    readonly policies: ReadonlySet<AuthorizationPolicy>
    readonly missing: readonly string[]
  } {
    const policies = new Set([
      ...this.byScope.get(namespaceScope(workload.namespace)),
      ...this.byScope.get(GLOBAL_SCOPE),
    ])
    const missing: string[] = []
    for (const key of workload.authorizationPolicies) {
      const policy = this.#byKey.get(key)
      if (policy === undefined) missing.push(key)
      else policies.add(policy)
    }
    return { policies, missing }
  }
}

/** Makes the successor of a {@link PolicyIndex}, at a cost of the policies that change. */
export class PolicyIndexDraft {
  readonly #byScope: ShardedMultimapDraft<string, AuthorizationPolicy>

  constructor(base: PolicyIndex) {
    this.#byScope = new ShardedMultimapDraft(base.byScope)
  }

  /** Puts `after` in the place of `before`; without the one it is new, without the other it goes. */
  replace(before: AuthorizationPolicy | undefined, after: AuthorizationPolicy | undefined): void {
    const scopeBefore = before && scopeKey(before)
    const scopeAfter = after && scopeKey(after)
    if (
      before !== undefined &&
      after !== undefined &&
      scopeBefore !== undefined &&
      scopeBefore === scopeAfter
    ) {
      this.#byScope.replace(scopeBefore, before, after)
      return
    }
    if (before !== undefined && scopeBefore !== undefined) this.#byScope.remove(scopeBefore, before)
    if (after !== undefined && scopeAfter !== undefined) this.#byScope.add(scopeAfter, after)
  }

  /** The successor, for the policies of `byKey`. The draft must not be written to afterwards. */
  seal(byKey: ReadonlyMap<string, AuthorizationPolicy>): PolicyIndex {
    return new PolicyIndex(byKey, this.#byScope.seal())
  }
}

const GLOBAL_SCOPE = 'global'

/** Where a policy applies; `undefined` where workloads name it themselves. */
function scopeKey({ scope, namespace }: AuthorizationPolicy): string | undefined {
  switch (scope) {
    case 'global':
      return GLOBAL_SCOPE
    case 'namespace':
      return namespaceScope(namespace)
    case 'workload-selector':
      return undefined
  }
}

function namespaceScope(namespace: string): string {
  return `namespace ${namespace}`
}
