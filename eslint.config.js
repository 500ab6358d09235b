// Lint is for what a reader cannot see at a glance: promises nobody waits for, hidden inputs, broken layers.
import eslint from '@eslint/js'
import tseslint from 'typescript-eslint'

const HIDDEN_INPUTS = [
  {
    object: 'process',
    property: 'env',
    message: 'Only src/agent reads the environment; take an option instead.',
  },
  { object: 'Date', property: 'now', message: 'Take a Clock, so that a test can drive time.' },
  { object: 'performance', property: 'now', message: 'Take a Clock, so that a test can drive time.' },
  { object: 'Math', property: 'random', message: 'Take a Random, so that a test can drive chance.' },
]
const HIDDEN_GLOBALS = ['setTimeout', 'setInterval', 'setImmediate', 'console'].map((name) => ({
  name,
  message: 'Take a Clock or a Logger as a collaborator.',
}))

export default tseslint.config(
  { ignores: ['dist*/', '.tap/', 'node_modules/'] },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'TSEnumDeclaration', message: 'Use a union of literals.' },
        { selector: 'ExportDefaultDeclaration', message: 'Name every export.' },
        { selector: 'ExportAllDeclaration', message: 'No barrels: import from where a thing is defined.' },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      // `return field.error(…)` reads as it means: report, and give nothing.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // Numbers and addresses are what most messages are made of.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // Each of tap's test functions returns a promise that tap itself waits for.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', package: '@tapjs/core', name: ['test', 'skip', 'todo'] },
          ],
        },
      ],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/agent/**', 'src/core/clock.ts', 'src/core/random.ts'],
    rules: {
      'no-restricted-properties': ['error', ...HIDDEN_INPUTS],
      'no-restricted-globals': ['error', ...HIDDEN_GLOBALS],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/no-floating-promises': 'off', '@typescript-eslint/require-await': 'off' },
  },
  { files: ['**/*.js'], languageOptions: { globals: { process: 'readonly' } } },
)
