/** The table of settings as text: for docs/CONFIGURATION.md, for `twinstack help settings`, and for parseArgs. */
import { SETTING_GROUPS, SETTINGS, UNSUPPORTED_VARIABLES } from './settings-schema.ts'

import type { SettingDefinition } from './settings-schema.ts'

/** The settings as Markdown tables, one per group. docs/CONFIGURATION.md holds exactly this. */
export function renderSettingsTable(): string {
  const sections = SETTING_GROUPS.map((group) => {
    const rows = definitions()
      .filter((setting) => setting.group === group)
      .map(
        (setting) =>
          `| \`${setting.name}\` | ${cell(flagsOf(setting), true)} | ${cell(kindOf(setting))} | ${cell(defaultOf(setting))} | ${cell(setting.help)} |`,
      )
    return [
      `### ${group}`,
      '',
      '| variable | flag | value | default | |',
      '|---|---|---|---|---|',
      ...rows,
    ].join('\n')
  })
  const unsupported = UNSUPPORTED_VARIABLES.map(
    ({ name, harmless, why }) => `| \`${name}\` | ${harmless.join(', ')} | ${cell(why)} |`,
  )
  const refused = [
    '### Refused',
    '',
    '| variable | accepted values | why no other |',
    '|---|---|---|',
    ...unsupported,
  ]
  return `${[...sections, refused.join('\n')].join('\n\n')}\n`
}

/** The settings as plain text. */
export function renderSettingsHelp(): string {
  const lines = SETTING_GROUPS.flatMap((group) => [
    `${group}:`,
    ...definitions()
      .filter((setting) => setting.group === group)
      .flatMap((setting) => {
        const flags = flagsOf(setting)
        const title = flags === '' ? setting.name : `${setting.name}, ${flags}`
        const value = defaultOf(setting)
        const facts = value === '' ? kindOf(setting) : `${kindOf(setting)}; default ${value}`
        return [`  ${title}`, `      ${setting.help}`, `      ${facts}`]
      }),
    '',
  ])
  return lines.join('\n')
}

/** The flags of the table as node:util parseArgs takes them. */
export function settingFlags(): Readonly<
  Record<string, { readonly type: 'string'; readonly short?: string }>
> {
  const flags: Record<string, { type: 'string'; short?: string }> = {}
  for (const { flag, short } of definitions()) {
    if (flag !== undefined) flags[flag] = { type: 'string', ...(short !== undefined && { short }) }
  }
  return flags
}

function definitions(): readonly SettingDefinition[] {
  return SETTINGS
}

function flagsOf({ flag, short }: SettingDefinition): string {
  if (flag === undefined) return ''
  return short === undefined ? `--${flag}` : `-${short}, --${flag}`
}

function kindOf(setting: SettingDefinition): string {
  switch (setting.type) {
    case 'text':
      return 'text'
    case 'boolean':
      return 'true, false'
    case 'integer':
      return setting.unit === 'port'
        ? 'port'
        : `${setting.min}–${setting.max}${setting.unit === undefined ? '' : ` ${setting.unit}`}`
    case 'duration':
      return 'duration'
    case 'choice':
      return setting.choices.filter((choice) => choice !== '').join(', ')
    case 'list':
      return setting.choices === undefined ? 'list' : `list of ${setting.choices.join(', ')}`
  }
}

function defaultOf(setting: SettingDefinition): string {
  return setting.defaultText ?? String(setting.default ?? '')
}

function cell(text: string, isCode = false): string {
  const escaped = text.replaceAll('|', '\\|')
  return isCode && escaped !== '' ? `\`${escaped}\`` : escaped
}
