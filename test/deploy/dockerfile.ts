/**
 * Runs the stages of a Dockerfile as far as that needs no engine: each in a folder that stands for its root, COPY from the
 * build context without what .dockerignore leaves out, RUN in the working directory. What a stage takes of its base image
 * is what this machine has: Node.js and npm.
 *
 * https://docs.docker.com/reference/dockerfile/
 */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'

/** One instruction, with its continued lines in one. */
export interface Instruction {
  readonly name: string
  readonly text: string
}

export interface Stage {
  readonly name: string
  readonly base: string
  readonly instructions: readonly Instruction[]
}

/** Reads the stages of a Dockerfile, in order. What stands before the first is left out. */
export function parseStages(text: string): readonly Stage[] {
  const lines = text
    .split('\n')
    .filter((line) => !/^\s*(#|$)/.test(line))
    .join('\n')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
  const stages: { name: string; base: string; instructions: Instruction[] }[] = []
  for (const line of lines) {
    const [, name = '', rest = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? []
    if (name === '') throw new Error(`this is no instruction: ${line}`)
    if (name === 'FROM') {
      const [, base = '', stage = ''] = /(?:--platform=\S+ )?(\S+) AS (\S+)$/.exec(rest) ?? []
      if (stage === '') throw new Error(`this stage has no name: ${line}`)
      stages.push({ name: stage, base, instructions: [] })
    } else stages.at(-1)?.instructions.push({ name, text: rest })
  }
  return stages
}

/** The patterns of a .dockerignore that leaves out everything but some paths; another kind of file throws. */
export function keptPaths(dockerignore: string): readonly string[] {
  const [first, ...others] = dockerignore.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  const kept = others.filter((line) => /^![\w./-]+$/.test(line)).map((line) => line.slice(1))
  if (first !== '*' || kept.length !== others.length)
    throw new Error('only a list of what is kept is understood')
  return kept
}

/** The value of the last instruction of a name; empty where there is none. */
export function lastOf(stage: Stage, name: string): string {
  return stage.instructions.findLast((instruction) => instruction.name === name)?.text ?? ''
}

export interface BuildOptions {
  /** The build context. */
  readonly context: string
  /** The paths of it that .dockerignore leaves. */
  readonly kept: readonly string[]
  /** Gets a folder for each stage. */
  readonly target: string
  /** For the commands. */
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Runs stages in order and gives the folder that is the root of the last one. */
export function buildStages(stages: readonly Stage[], options: BuildOptions): string {
  let root = ''
  for (const stage of stages) {
    root = path.join(options.target, stage.name)
    runStage(stage, root, options)
  }
  return root
}

function runStage(stage: Stage, root: string, { context, kept, target, env }: BuildOptions): void {
  let workdir = root
  mkdirSync(root)
  for (const { name, text } of stage.instructions) {
    switch (name) {
      case 'WORKDIR':
        workdir = path.join(root, text)
        mkdirSync(workdir, { recursive: true })
        break
      case 'RUN':
        execFileSync('/bin/sh', ['-c', text], { cwd: workdir, env, stdio: 'pipe' })
        break
      case 'COPY':
        copy(text, root, workdir, (from, file) => {
          if (from !== undefined) return path.join(target, from, file)
          const isKept = kept.some((each) => file === each || file.startsWith(`${each}/`))
          if (!isKept) throw new Error(`.dockerignore leaves out ${file}`)
          return path.join(context, file)
        })
        break
      case 'ARG':
      case 'ENV':
      case 'LABEL':
      case 'USER':
      case 'ENTRYPOINT':
      case 'CMD':
        break
      default:
        throw new Error(`${name} is not understood`)
    }
  }
}

function copy(
  text: string,
  root: string,
  workdir: string,
  sourceOf: (from: string | undefined, file: string) => string,
): void {
  const words = text.split(' ')
  const from = words[0]?.startsWith('--from=') === true ? words.shift()?.slice('--from='.length) : undefined
  const destination = words.pop() ?? ''
  const to = destination.startsWith('/') ? path.join(root, destination) : path.join(workdir, destination)
  for (const file of words) {
    const source = sourceOf(from, file)
    if (!existsSync(source)) throw new Error(`there is no ${file} to copy`)
    // Of a folder the content is copied, into a folder that is told by a slash the file.
    cpSync(source, destination.endsWith('/') ? path.join(to, path.basename(file)) : to, {
      recursive: true,
      verbatimSymlinks: true,
    })
  }
}
