/**
 * Who may import whom, as docs/architecture.md draws it; what is not allowed there fails here.
 *
 *   cli ──► everything
 *   bench, data, reward-math ──► verify        bench ──► data
 *   model ──► tensor                            (types of rl only)
 *   reward-* ──► types of rl only
 *   rl, verify, tensor ──► nothing of ours
 *
 * A package of ours is met in two shapes: its folder (a relative path, or a resolved workspace link) and, before the
 * first build, its unresolved name. OURS and of() match both.
 */
const OURS = '^(packages|apps)/[^/]+/|^@revisual/'
const of = (...names) => `^packages/(${names.join('|')})/|^@revisual/(${names.join('|')})(/|$)`
const ROOM = '^(packages|apps)/([^/]+)/(src|test)/'
const OWN = '^$1/$2/'

/** `from` may import only itself and `allowed` among our packages. */
const only = (name, from, allowed, comment) => ({
  name,
  severity: 'error',
  comment,
  from: { path: `^(packages)/(${from})/(src|test)/` },
  to: { path: OURS, pathNot: [OWN, ...(allowed.length > 0 ? [of(...allowed)] : [])] },
})

/** `from` may name types of rl, and nothing that is still there at run time. */
const typesOfRlOnly = (name, from) => ({
  name,
  severity: 'error',
  comment: `${from} may use the types of @revisual/rl only: write 'import type'`,
  from: { path: `^packages/(${from})/src/`, pathNot: '\\.test\\.ts$' },
  to: { path: of('rl'), dependencyTypesNot: ['type-only'] },
})

module.exports = {
  forbidden: [
    only('leaves-stand-alone', 'rl|verify|tensor', [], 'rl, verify and tensor import nothing of ours'),
    only('data-on-verify', 'data', ['verify'], 'data imports verify only'),
    only('bench-on-verify-and-data', 'bench', ['verify', 'data'], 'bench imports verify and data only'),
    only('model-on-tensor', 'model', ['tensor', 'rl'], 'model imports tensor, and types of rl'),
    only('reward-math-on-verify', 'reward-math', ['verify', 'rl'], 'reward-math imports verify, and types of rl'),
    only('rewards-on-nothing', 'reward-(?!math)[^/]+', ['rl'], 'a reward package imports types of rl only'),
    typesOfRlOnly('model-types-of-rl', 'model'),
    typesOfRlOnly('rewards-types-of-rl', 'reward-[^/]+'),
    {
      name: 'nothing-imports-the-cli',
      severity: 'error',
      comment: 'The command line assembles the packages; none of them knows of it',
      from: { path: '^packages/' },
      to: { path: '^apps/|^revisual$' },
    },
    {
      name: 'by-the-front-door',
      severity: 'error',
      comment: 'A package is imported by its name, never by a path into its sources',
      from: { path: ROOM },
      to: { path: '^(packages|apps)/[^/]+/src/', pathNot: OWN },
    },
    {
      name: 'rl-and-verify-without-dependencies',
      severity: 'error',
      comment: '@revisual/rl and @revisual/verify depend on nothing but Node',
      from: { path: '^packages/(rl|verify)/src/', pathNot: '\\.test\\.ts$' },
      to: { dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-peer', 'npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'no-tests-in-sources',
      severity: 'error',
      comment: 'What ships does not import tests',
      from: { path: '/src/', pathNot: '\\.test\\.ts$' },
      to: { path: '\\.test\\.ts$|^(packages|apps)/[^/]+/test/' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      comment: 'Modules that need each other at run time are one subject in two files',
      // A tensor has the operations as methods, and operations make tensors: one subject, in many files for their size.
      from: { path: ROOM, pathNot: '^packages/tensor/src/(graph/tensor|ops/[^/]+)\\.ts$' },
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'not-to-unresolvable',
      severity: 'error',
      comment: 'An import that leads nowhere',
      from: { path: ROOM },
      to: { couldNotResolve: true, pathNot: '^@revisual/' },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    doNotFollow: { path: 'node_modules|/dist/' },
    exclude: { path: '/dist/|/fixtures/|(tsup|vitest)\\.config\\.ts$' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['types', 'import', 'node', 'default'] },
  },
}
