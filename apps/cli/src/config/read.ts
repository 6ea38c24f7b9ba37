/**
 * From a YAML file and `--set` overrides to a checked, complete configuration. Everything that can be wrong is said at
 * once, before anything is loaded.
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { parseDocument } from 'yaml'
import { ConfigError, messageOf } from '../errors.js'
import { describeIssues } from './issues.js'
import { crossFieldIssues } from './cross-checks.js'
import { defaultClip } from './rl-schema.js'
import { runConfig, type DataSourceConfig, type RunConfig, type StageConfig } from './schema.js'
import { applyOverride } from './set.js'

/** What an algorithm would set where there is none. */
function withDefaults(stage: StageConfig): StageConfig {
  if (stage.kind !== 'rl' || stage.algorithm !== null) return stage
  return { ...stage, clip: stage.clip ?? defaultClip, aggregation: stage.aggregation ?? 'token-mean' }
}

/** Checks a parsed document. `where` names it in errors. */
export function checkConfig(document: unknown, where: string): RunConfig {
  const result = runConfig.safeParse(document)
  const issues = result.success ? crossFieldIssues(result.data) : describeIssues(result.error, runConfig, document)
  if (result.success && issues.length === 0) return { ...result.data, stages: result.data.stages.map(withDefaults) }
  throw new ConfigError(`${where} is not a valid configuration:\n${issues.map((line) => `  ${line}`).join('\n')}`)
}

const withAbsolutePath =
  (base: string) =>
  (source: DataSourceConfig): DataSourceConfig =>
    'path' in source ? { ...source, path: resolve(base, source.path) } : source

function withAbsoluteRewards(base: string, stage: StageConfig): StageConfig {
  if (stage.kind !== 'rl') return stage
  const rewards = stage.rewards.map((reward) => {
    const [file = '', ...name] = reward.use.split('#')
    return file.startsWith('.') ? { ...reward, use: [resolve(base, file), ...name].join('#') } : reward
  })
  return { ...stage, rewards }
}

/** What lies beside the configuration, or is spelt as a path, is a folder; anything else a name on the hub. */
function modelPath(base: string, path: string): string {
  const folder = resolve(base, path)
  return existsSync(folder) || /^[./\\]/.test(path) ? folder : path
}

/** Makes every path absolute: those of inputs from the configuration's folder, the run folder from the working directory. */
function resolvePaths(config: RunConfig, base: string): RunConfig {
  return {
    ...config,
    out: resolve(config.out),
    model: 'path' in config.model ? { ...config.model, path: modelPath(base, config.model.path) } : config.model,
    stages: config.stages.map((stage) => ({
      ...withAbsoluteRewards(base, stage),
      data: stage.data.map(withAbsolutePath(base)),
    })),
  }
}

/**
 * Reads, overrides, checks and resolves a configuration.
 * @throws {ConfigError} when the file cannot be read or anything in it is wrong.
 */
export async function readConfig(path: string, overrides: readonly string[] = []): Promise<RunConfig> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`The configuration ${path} cannot be read: ${messageOf(error)}`)
  }
  const document = parseDocument(text)
  if (document.errors.length > 0) {
    throw new ConfigError(`${path} is not YAML:\n${document.errors.map(({ message }) => `  ${message}`).join('\n')}`)
  }
  const raw: unknown = document.toJS()
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw new ConfigError(`${path} must hold a mapping with the keys ${Object.keys(runConfig.shape).join(', ')}.`)
  }
  for (const override of overrides) applyOverride(raw as { [key: string]: unknown }, override)
  return resolvePaths(checkConfig(raw, path), dirname(resolve(path)))
}
