/**
 * The commands and their flags. Parsing only: what a command does is in `commands/`.
 */
import { cac } from 'cac'
import { createRequire } from 'node:module'
import { createPackage } from './commands/create.js'
import { doctor, examine } from './commands/doctor.js'
import { evaluateModel } from './commands/evaluate.js'
import { chat } from './commands/chat.js'
import { generateText } from './commands/generate.js'
import { rewardCommand } from './commands/reward.js'
import { serveModel } from './commands/serve.js'
import { train } from './commands/train.js'
import { didYouMean } from './config/nearest.js'
import { messageOf, UserError } from './errors.js'

type Flags = { readonly [flag: string]: unknown }

/** A flag that may be given several times; absent: none. */
function list(flags: Flags, name: string): string[] {
  const value = flags[name]
  return value === undefined ? [] : [value].flat().map(String)
}

function flagName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

interface Range {
  readonly least: number
  readonly most?: number
  readonly whole?: boolean
}

/** A number within bounds. */
function number(flags: Flags, name: string, fallback: number, range: Range): number {
  return optionalNumber(flags, name, range) ?? fallback
}

function optionalNumber(
  flags: Flags,
  name: string,
  { least, most = Infinity, whole = false }: Range,
): number | undefined {
  const value = flags[name]
  if (value === undefined) return undefined
  const parsed = typeof value === 'number' ? value : Number.NaN
  if (parsed >= least && parsed <= most && (!whole || Number.isInteger(parsed))) return parsed
  const kind = whole ? 'a whole number' : 'a number'
  const bounds = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`
  throw new UserError(`${flagName(name)} ${JSON.stringify(value)} is not allowed; it must be ${kind} ${bounds}.`)
}

function text(flags: Flags, name: string): string | null {
  const value = flags[name]
  if (value === undefined) return null
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  throw new UserError(`${flagName(name)} needs a value.`)
}

const samplingFlags = (flags: Flags) => ({
  temperature: number(flags, 'temperature', 1, { least: 0 }),
  topP: number(flags, 'topP', 1, { least: 0.000001, most: 1 }),
  topK: number(flags, 'topK', 0, { least: 0, whole: true }),
  seed: number(flags, 'seed', 0, { least: 0, most: 0xffffffff, whole: true }),
})

function version(): string {
  const manifest = createRequire(import.meta.url)('../package.json') as { readonly version: string }
  return manifest.version
}

function build() {
  const cli = cac('revisual')
  cli
    .command('doctor', 'Examine the machine: adapter, features, limits, driver, speed')
    .option('--in-process', 'Do not examine in a child process')
    .action((flags: Flags) => (flags['inProcess'] === true ? examine() : doctor()))
  cli
    .command('train <config>', 'Train as a YAML configuration says')
    .option('--dry-run', 'Print the resolved configuration and a memory plan, and stop')
    .option('--resume', 'Continue the run in its folder; start it if there is none')
    .option('--overwrite', 'Delete the run folder and start afresh')
    .option('--profile <file>', 'Time the first kernels: a Chrome trace, and a table')
    .option('--set <key=value>', 'Override one value of the configuration; may be repeated')
    .example('revisual train run.yaml --set stages.mrl.steps=10 --set seed=2')
    .action((config: string, flags: Flags) =>
      train(config, {
        overrides: list(flags, 'set'),
        dryRun: flags['dryRun'] === true,
        profile: text(flags, 'profile'),
        mode: flags['overwrite'] === true ? 'overwrite' : flags['resume'] === true ? 'resume' : 'fresh',
      }),
    )
  cli
    .command('eval <model>', 'Measure a model folder on held-out tasks')
    .option('--task <name>', 'Task to run; may be repeated')
    .option('--n <count>', 'Problems per task')
    .option('--seed <seed>', 'Seed of problems and sampling')
    .option('--samples <count>', 'Completions per problem')
    .option('--temperature <t>', '0 is greedy; default 1')
    .option('--top-p <p>', 'Nucleus mass')
    .option('--top-k <k>', 'Likeliest tokens kept; 0 keeps all')
    .option('--max-tokens <count>', 'Longest completion')
    .option('--system <text>', 'System turn')
    .option('--suffix <text>', 'Put after every question')
    .option('--out <file>', 'Write all samples as JSONL')
    .action((model: string, flags: Flags) => {
      const n = optionalNumber(flags, 'n', { least: 1, whole: true })
      const maxTokens = optionalNumber(flags, 'maxTokens', { least: 1, whole: true })
      const out = text(flags, 'out')
      return evaluateModel(model, {
        tasks: list(flags, 'task'),
        samplesPerProblem: number(flags, 'samples', 1, { least: 1, whole: true }),
        system: text(flags, 'system'),
        suffix: text(flags, 'suffix') ?? '',
        ...(n === undefined ? {} : { n }),
        ...(maxTokens === undefined ? {} : { maxTokens }),
        ...(out === null ? {} : { out }),
        ...samplingFlags(flags),
      })
    })
  cli
    .command('generate <model> <prompt>', 'Complete a prompt, with images if given')
    .option('--image <file>', 'Image of the prompt; may be repeated')
    .option('--system <text>', 'System turn')
    .option('--n <count>', 'Completions')
    .option('--seed <seed>', 'Seed of the sampling')
    .option('--temperature <t>', '0 is greedy; default 1')
    .option('--top-p <p>', 'Nucleus mass')
    .option('--top-k <k>', 'Likeliest tokens kept; 0 keeps all')
    .option('--max-tokens <count>', 'Longest completion; default 256')
    .option('--json', 'Print records instead of text')
    .example('revisual generate runs/quickstart/model --image digits.png "what is the sum ?"')
    .action((model: string, prompt: string, flags: Flags) =>
      generateText(model, prompt, {
        images: list(flags, 'image'),
        system: text(flags, 'system'),
        n: number(flags, 'n', 1, { least: 1, whole: true }),
        maxTokens: number(flags, 'maxTokens', 256, { least: 1, whole: true }),
        json: flags['json'] === true,
        ...samplingFlags(flags),
      }),
    )
  cli
    .command('chat <model>', 'Talk to a model in the terminal, with images')
    .option('--system <text>', 'System turn')
    .option('--seed <seed>', 'Seed of the sampling')
    .option('--temperature <t>', '0 is greedy; default 1')
    .option('--top-p <p>', 'Nucleus mass')
    .option('--top-k <k>', 'Likeliest tokens kept; 0 keeps all')
    .option('--max-tokens <count>', 'Longest answer; default 1024')
    .example('revisual chat runs/quickstart/model')
    .action((model: string, flags: Flags) =>
      chat(model, {
        system: text(flags, 'system'),
        maxTokens: number(flags, 'maxTokens', 1024, { least: 1, whole: true }),
        ...samplingFlags(flags),
      }),
    )
  cli
    .command('serve <model>', 'Serve a model over HTTP, as OpenAI does')
    .option('--host <address>', 'Address to listen on; default 127.0.0.1')
    .option('--port <port>', 'Port; 0 takes a free one; default 8000')
    .option('--api-key <key>', 'Bearer key clients must send; better given as REVISUAL_API_KEY')
    .option('--model-name <name>', 'Name of the model in requests; default: its folder')
    .option('--max-sequences <count>', 'Samples that run at once; default 16')
    .option('--max-cache-tokens <count>', 'Tokens the key-value cache may hold')
    .option('--max-context <count>', 'Prompt and answer together; default: what the model was made for')
    .option('--max-tokens <count>', 'Answer of a request that does not say; default 1024')
    .option('--max-choices <count>', "Most 'n'; default 16")
    .option('--max-requests <count>', 'Requests in work or waiting, more get 429; default 64')
    .option('--max-body-mib <size>', 'Request body; default 32')
    .option('--max-images <count>', 'Images of a request; default 8')
    .option('--max-image-mib <size>', 'Bytes of an image; default 16')
    .option('--max-image-pixels <count>', 'Pixels of an image; default 33554432')
    .option('--allow-image-host <host>', 'Host (with port) images may be fetched from; may be repeated; default none')
    .option('--allow-origin <origin>', 'Origin browsers may call from; may be repeated; default none')
    .option('--shutdown-timeout <seconds>', 'Time for requests to finish after SIGTERM; default 30')
    .option('--quiet', 'No line per request')
    .example('revisual serve runs/quickstart/model --port 8000')
    .action((model: string, flags: Flags) => {
      const count = (name: string, fallback: number) => number(flags, name, fallback, { least: 1, whole: true })
      const mebibytes = (name: string, fallback: number) =>
        Math.ceil(number(flags, name, fallback, { least: 0.001 }) * 2 ** 20)
      return serveModel(model, {
        host: text(flags, 'host') ?? '127.0.0.1',
        port: number(flags, 'port', 8000, { least: 0, most: 65_535, whole: true }),
        apiKey: text(flags, 'apiKey') ?? (process.env['REVISUAL_API_KEY'] || null),
        modelName: text(flags, 'modelName'),
        version: version(),
        maxSequences: count('maxSequences', 16),
        maxCacheTokens: optionalNumber(flags, 'maxCacheTokens', { least: 1, whole: true }) ?? null,
        maxContext: optionalNumber(flags, 'maxContext', { least: 2, whole: true }) ?? null,
        defaultMaxTokens: count('maxTokens', 1024),
        maxChoices: count('maxChoices', 16),
        maxRequests: count('maxRequests', 64),
        maxBodyBytes: mebibytes('maxBodyMib', 32),
        maxImages: number(flags, 'maxImages', 8, { least: 0, whole: true }),
        maxImageBytes: mebibytes('maxImageMib', 16),
        maxImagePixels: count('maxImagePixels', 2 ** 25),
        allowedImageHosts: list(flags, 'allowImageHost'),
        imageTimeoutMs: 10_000,
        allowedOrigins: list(flags, 'allowOrigin'),
        shutdownTimeoutMs: 1000 * number(flags, 'shutdownTimeout', 30, { least: 0 }),
        isQuiet: flags['quiet'] === true,
      })
    })
  cli
    .command('create <kind> <name>', "Make a package of one's own to publish; kind: reward")
    .option('--dir <folder>', 'Folder to make; default: the name without its scope')
    .example('revisual create reward my-reward')
    .action((kind: string, name: string, flags: Flags) => createPackage(kind, name, { folder: text(flags, 'dir') }))
  cli
    .command('reward <action> <reference>', 'Put a reward to the contract test; action: test')
    .option('--cases <file>', 'JSONL of { completion, prompt, row, expected, tolerance }')
    .option('--options <json>', 'Options of the reward')
    .option('--timeout <seconds>', 'Wall clock of one call; default 60')
    .option('--max-ms <time>', 'Milliseconds a completion may take on average; default 1000')
    .example('revisual reward test ./mine.js#score --cases cases.jsonl --options \'{ "words": 60 }\'')
    .action((action: string, reference: string, flags: Flags) =>
      rewardCommand(action, reference, {
        cases: text(flags, 'cases'),
        options: text(flags, 'options'),
        timeout: 1000 * number(flags, 'timeout', 60, { least: 0.001, most: 86_400 }),
        timePerCompletion: number(flags, 'maxMs', 1000, { least: 0 }),
      }),
    )
  cli.help()
  cli.version(version())
  return cli
}

/** Runs one command. Returns the exit code; errors a user can mend are printed without a stack. */
export async function runCommandLine(argv: string[]): Promise<number> {
  try {
    const cli = build()
    cli.parse(argv, { run: false })
    const asked = cli.options['help'] === true || cli.options['version'] === true
    if (!cli.matchedCommand && !asked) {
      const names = cli.commands.map(({ name }) => name)
      const [word] = cli.args
      if (word !== undefined)
        throw new UserError(`There is no command '${word}'; allowed: ${names.join(', ')}.${didYouMean(word, names)}`)
      cli.outputHelp()
      return 1
    }
    if (!asked) await cli.runMatchedCommand()
    return Number(process.exitCode ?? 0)
  } catch (error) {
    // Mistakes in flags, found by cac, are the user's too.
    const isUsers = error instanceof UserError || (error instanceof Error && error.name === 'CACError')
    process.stderr.write(
      `revisual: ${isUsers ? messageOf(error) : error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    )
    return 1
  }
}
