/** Reads the flags of `twinstack rules`, and the variables that the agent has as well; names all problems at once. */
import { parseIp } from '../../core/address.ts'
import { cidrContains, formatCidr, parseCidr } from '../../core/cidr.ts'
import { errorMessage } from '../../core/errors.ts'
import { FAMILIES } from '../../core/family.ts'
import { AMBIENT_MARK, PROBE_SOURCES } from '../settings/settings-schema.ts'
import { SettingsReader } from '../settings/settings-reader.ts'
import { CONNECTION_MARK, MARK_MASK } from './rule.ts'

import type { Cidr } from '../../core/cidr.ts'
import type { Family } from '../../core/family.ts'
import type { Problem, Result } from '../../core/result.ts'
import type { PerFamily } from './rule.ts'
import type { RulesFlagName } from './rules-flags.ts'
import type {
  CommonRulesOptions,
  InpodRulesOptions,
  NodeRulesOptions,
  RulesAction,
  RulesRequest,
} from './rules-options.ts'

type Values = Readonly<Record<string, string | boolean | undefined>>

const MODES = ['inpod', 'node'] as const
const BACKENDS = ['nft', 'iptables'] as const
const FLAGS_OF_MODES: Readonly<Record<(typeof MODES)[number], readonly RulesFlagName[]>> = {
  inpod: ['dns', 'bypass-inbound', 'virtual-interfaces', 'probe-ipv4', 'probe-ipv6'],
  node: ['pause', 'pod-cidrs', 'service-cidrs', 'exclude-cidrs', 'exclude-ports', 'node-ips'],
}

/** Reads the command line. `env` has the agent's settings, so that rules and listeners agree. */
export function readRulesRequest(flags: Values, env: Values): Result<RulesRequest> {
  return new RulesReader(flags, env).read()
}

class RulesReader {
  readonly #flags: Values
  readonly #settings: SettingsReader
  readonly #problems: Problem[] = []

  constructor(flags: Values, env: Values) {
    this.#flags = flags
    this.#settings = new SettingsReader(env, {})
  }

  read(): Result<RulesRequest> {
    const mode = this.#choice('mode', MODES) ?? 'inpod'
    const isModeKnown = this.#problems.length === 0
    for (const other of MODES.filter((each) => each !== mode && isModeKnown)) this.#refuseFlagsOf(other)
    const backend = this.#choice('backend', BACKENDS)
    const output = this.#flags['routes'] === true ? 'routes' : 'rules'
    const action = this.#action(output)
    const common: CommonRulesOptions = {
      families: this.#families(),
      outboundPort: this.#port('TWINSTACK_OUTBOUND_PORT'),
      inboundPort: this.#port('TWINSTACK_INBOUND_PORT'),
      packetMark: this.#packetMark(),
    }
    const options =
      mode === 'inpod' ? this.#inpod(common) : this.#node(common, action === 'install' && output === 'rules')
    const problems = [...this.#settings.problems, ...this.#problems]
    if (problems.length > 0) return { ok: false, problems }
    return {
      ok: true,
      value: {
        options,
        ...(backend !== undefined && { backend }),
        output,
        action,
      },
    }
  }

  #action(output: RulesRequest['output']): RulesAction {
    const [isRemoval, isPause] = [this.#flags['remove'] === true, this.#flags['pause'] === true]
    if (isPause && isRemoval) this.#report('flags --pause and --remove exclude each other (leave one out)')
    else if (isPause && output === 'routes')
      this.#report('flag --pause leaves the routes as they are (leave --routes out)')
    if (isRemoval) return 'remove'
    return isPause ? 'pause' : 'install'
  }

  #inpod(common: CommonRulesOptions): InpodRulesOptions {
    const virtualInterfaces = this.#list('virtual-interfaces')
    // The longest name that Linux has; what a shell or nft takes for more than a name is none.
    const isName = (name: string): boolean => /^[\w.@-]{1,15}$/.test(name)
    if (!virtualInterfaces.every(isName))
      this.#refuse('virtual-interfaces', 'write names of interfaces, as in net1,net2')
    return {
      ...common,
      mode: 'inpod',
      probes: {
        ipv4: this.#probe('ipv4', 'HOST_PROBE_SNAT_IP'),
        ipv6: this.#probe('ipv6', 'HOST_PROBE_SNAT_IPV6'),
      },
      capturesDns: this.#flags['dns'] === true,
      bypassesInbound: this.#flags['bypass-inbound'] === true,
      virtualInterfaces,
    }
  }

  #node(common: CommonRulesOptions, needsPods: boolean): NodeRulesOptions {
    const problemsBefore = this.#problems.length
    const podCidrs = this.#cidrs('pod-cidrs', common.families)
    const missing = common.families.filter((family) => podCidrs[family].length === 0)
    // A family without a range would stay uncaptured, which nobody would notice. One that is refused is told of already.
    if (needsPods && missing.length > 0 && this.#problems.length === problemsBefore) {
      this.#report(
        `--mode node needs --pod-cidrs with a range of ${missing.join(' and of ')} (see spec.podCIDRs of the Node; a cluster of one family has --families)`,
      )
    }
    const excludedPorts = this.#list('exclude-ports').map(Number)
    if (!excludedPorts.every((port) => Number.isInteger(port) && port > 0 && port < 65_536))
      this.#refuse('exclude-ports', 'write ports from 1 to 65535, as in 22,10250')
    const nodeIps = this.#nodeIps(common.families)
    return {
      ...common,
      mode: 'node',
      podCidrs,
      serviceCidrs: this.#cidrs('service-cidrs', common.families),
      excludedCidrs: this.#cidrs('exclude-cidrs', FAMILIES),
      excludedPorts,
      ...(nodeIps !== undefined && { nodeIps }),
    }
  }

  #refuseFlagsOf(mode: (typeof MODES)[number]): void {
    for (const flag of FLAGS_OF_MODES[mode]) {
      if (this.#flags[flag] !== undefined)
        this.#report(`flag --${flag} is of --mode ${mode} (leave it out, or write --mode ${mode})`)
    }
  }

  #families(): readonly Family[] {
    if (this.#flags['families'] === undefined) return FAMILIES
    const given = this.#list('families')
    const families = FAMILIES.filter((family) => given.includes(family))
    const isFine = families.length > 0 && given.every((each) => each === 'ipv4' || each === 'ipv6')
    if (!isFine) this.#refuse('families', 'write ipv4, ipv6 or ipv4,ipv6')
    return families.length > 0 ? families : FAMILIES
  }

  #port(name: 'TWINSTACK_OUTBOUND_PORT' | 'TWINSTACK_INBOUND_PORT'): number {
    const port = this.#settings.port(name)
    if (port === 0) this.#settings.refuse(name, 'rules need the number of the port; write 1 to 65535')
    return port
  }

  #packetMark(): number {
    const flag = this.#flags['packet-mark']
    const why = `write a number from 1 to ${MARK_MASK}, but not ${CONNECTION_MARK}, which answers are marked with`
    const isFine = (mark: number): boolean => mark > 0 && mark <= MARK_MASK && mark !== CONNECTION_MARK
    if (flag === undefined) {
      const mark = this.#settings.integer('PACKET_MARK') ?? AMBIENT_MARK
      if (!isFine(mark)) this.#settings.refuse('PACKET_MARK', why)
      return mark
    }
    const text = String(flag)
    const mark = /^(\d{1,10}|0x[\da-f]{1,8})$/i.test(text) ? Number(text) : 0
    if (!isFine(mark)) this.#refuse('packet-mark', why)
    return mark
  }

  #probe(family: Family, variable: 'HOST_PROBE_SNAT_IP' | 'HOST_PROBE_SNAT_IPV6'): string {
    const flag = `probe-${family}` as const
    const given = this.#flags[flag]
    const address = this.#address(String(given ?? this.#settings.text(variable)))
    if (address?.family === family) return address.text
    const why = `write one address of ${family === 'ipv4' ? 'IPv4' : 'IPv6'}, as in ${PROBE_SOURCES[family]}`
    if (given === undefined) this.#settings.refuse(variable, why)
    else this.#refuse(flag, why)
    return PROBE_SOURCES[family]
  }

  #nodeIps(families: readonly Family[]): PerFamily<string | undefined> | undefined {
    if (this.#flags['node-ips'] === undefined) return undefined
    const addresses = this.#list('node-ips').map((text) => this.#address(text))
    const of = (family: Family): readonly string[] =>
      addresses.flatMap((address) => (address?.family === family ? [address.text] : []))
    if (addresses.includes(undefined) || families.some((family) => of(family).length !== 1))
      this.#refuse('node-ips', `write one address of ${families.join(' and one of ')}`)
    return { ipv4: of('ipv4')[0], ipv6: of('ipv6')[0] }
  }

  /** `undefined` for what is no address that a rule can name. */
  #address(text: string): { readonly family: Family; readonly text: string } | undefined {
    try {
      const ip = parseIp(text)
      return ip.zone === undefined ? ip : undefined
    } catch {
      // The caller says what is expected.
      return undefined
    }
  }

  /** The prefixes of a flag by family; one of a family that is not in `families` is a contradiction. */
  #cidrs(
    flag: 'pod-cidrs' | 'service-cidrs' | 'exclude-cidrs',
    families: readonly Family[],
  ): PerFamily<readonly string[]> {
    const cidrs: Cidr[] = []
    for (const text of this.#list(flag)) {
      try {
        const cidr = parseCidr(text)
        const { family } = cidr.base
        if (cidr.prefixLength === 0) this.#refuse(flag, `${text} is every address, write a range`)
        else if (!families.includes(family))
          this.#refuse(flag, `${text} is of ${family}, add it to --families or leave it out`)
        else cidrs.push(cidr)
      } catch (error) {
        this.#refuse(flag, `${errorMessage(error)}; write ranges as in 10.244.0.0/24,fd00:10:244::/64`)
      }
    }
    // nft refuses a set in which one range is part of another.
    const widest = cidrs.filter((cidr, index) => !cidrs.some((other, at) => holds(other, cidr, at < index)))
    const of = (family: Family): readonly string[] =>
      widest.filter(({ base }) => base.family === family).map(formatCidr)
    return { ipv4: of('ipv4'), ipv6: of('ipv6') }
  }

  #choice<Choice extends string>(flag: RulesFlagName, choices: readonly Choice[]): Choice | undefined {
    const text = this.#flags[flag]
    if (text === undefined) return undefined
    const choice = choices.find((each) => each === text)
    if (choice === undefined) this.#refuse(flag, `write ${choices.join(' or ')}`)
    return choice
  }

  #list(flag: RulesFlagName): readonly string[] {
    const text = this.#flags[flag]
    if (typeof text !== 'string') return []
    return text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
  }

  #refuse(flag: RulesFlagName, why: string): void {
    this.#report(`invalid flag --${flag}=${String(this.#flags[flag])} (${why})`)
  }

  #report(message: string): void {
    this.#problems.push({ path: [], severity: 'error', message })
  }
}

/** True when a range makes another one needless; of two equal ones the first stays. */
function holds(wide: Cidr, narrow: Cidr, isBefore: boolean): boolean {
  const isWider = wide.prefixLength < narrow.prefixLength
  const isEqual = wide.prefixLength === narrow.prefixLength && isBefore
  return (isWider || isEqual) && cidrContains(wide, narrow.base)
}
