/** Holds ARCHITECTURE.md's table of layers: who may import whom, which packages, and no cycles. */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

const SOURCE_ROOT = 'src'

/** For each folder, more specific ones first: the folders of src that it may import, and the packages. */
const LAYERS = [
  { folder: 'core', folders: [], packages: ['ipaddr.js'] },
  { folder: 'mesh', folders: ['core'], packages: [] },
  { folder: 'proxy/linux', folders: ['core', 'mesh', 'proxy'], packages: ['koffi'] },
  { folder: 'proxy', folders: ['core', 'mesh'], packages: [] },
  {
    folder: 'xds-client',
    folders: ['core', 'mesh'],
    packages: [
      '@grpc/grpc-js',
      // Its inside: see message-assembly.ts for what it is needed for. The version is pinned.
      '@grpc/grpc-js/build/src/stream-decoder.js',
      'protobufjs',
      'protobufjs/minimal.js',
    ],
  },
  { folder: 'zds-client', folders: ['core', 'mesh'], packages: ['protobufjs/minimal.js'] },
  {
    folder: 'agent',
    folders: ['core', 'mesh', 'proxy', 'proxy/linux', 'xds-client', 'zds-client'],
    packages: ['pino', 'prom-client', 'yaml'],
  },
] as const

interface Import {
  readonly from: string
  readonly specifier: string
}

function sourceFiles(): readonly string[] {
  return readdirSync(SOURCE_ROOT, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort()
}

function importsOf(file: string): readonly Import[] {
  const text = readFileSync(file, 'utf8')
  const pattern =
    /(?:^|\n)(?:import|export)\s(?:[^'"]*?\sfrom\s)?['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/g
  return [...text.matchAll(pattern)].map((match) => ({ from: file, specifier: match[1] ?? match[2] ?? '' }))
}

function layerOf(file: string): (typeof LAYERS)[number] | undefined {
  const place = path.relative(SOURCE_ROOT, file)
  return LAYERS.find(({ folder }) => place.startsWith(`${folder}/`))
}

t.test('every source file belongs to a layer', async (t) => {
  const files = sourceFiles()
  t.ok(files.length > 10, 'the test sees the sources')
  t.strictSame(
    files.filter((file) => layerOf(file) === undefined),
    [],
  )
})

t.test('imports go down the layers only', async (t) => {
  const offences = sourceFiles()
    .flatMap(importsOf)
    .filter(({ from, specifier }) => {
      const layer = layerOf(from)
      if (layer === undefined) return true
      if (specifier.startsWith('node:')) return false
      if (!specifier.startsWith('.')) return !(layer.packages as readonly string[]).includes(specifier)
      const target = layerOf(path.join(path.dirname(from), specifier))
      if (target === undefined) return true
      if (target.folder === layer.folder) return false
      return !(layer.folders as readonly string[]).includes(target.folder)
    })
    .map(({ from, specifier }) => `${from} imports ${specifier}`)
  // proxy does not import its engines' native parts: the composition root chooses them.
  t.strictSame(offences, [])
})

t.test('no file imports itself through others', async (t) => {
  const graph = new Map(
    sourceFiles().map((file) => [
      file,
      importsOf(file)
        .filter(({ specifier }) => specifier.startsWith('.'))
        .map(({ specifier }) => path.join(path.dirname(file), specifier)),
    ]),
  )
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (file: string, trail: readonly string[]): void => {
    if (trail.includes(file)) {
      cycles.push([...trail.slice(trail.indexOf(file)), file].join(' -> '))
      return
    }
    if (done.has(file)) return
    for (const next of graph.get(file) ?? []) visit(next, [...trail, file])
    done.add(file)
  }
  for (const file of graph.keys()) visit(file, [])
  t.strictSame(cycles, [])
})

t.test('no two folders of the agent import each other', async (t) => {
  const agent = path.join(SOURCE_ROOT, 'agent')
  const pairs = new Set(
    sourceFiles()
      .flatMap(importsOf)
      .filter(({ specifier }) => specifier.startsWith('.'))
      .map(({ from, specifier }) => [
        path.dirname(from),
        path.dirname(path.join(path.dirname(from), specifier)),
      ])
      // Files of the agent itself put its folders together, and have what several of them need.
      .filter((folders) => folders.every((folder) => folder.startsWith(`${agent}/`)))
      .filter(([from, to]) => from !== to)
      .map((folders) => folders.join(' ')),
  )
  t.ok(pairs.size > 5, 'the test sees the folders')
  t.strictSame(
    [...pairs].filter((pair) => pairs.has(pair.split(' ').reverse().join(' '))),
    [],
  )
})
