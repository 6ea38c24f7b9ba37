/** `revisual serve <model>`: an OpenAI-compatible server for a model folder. */
import { basename, resolve } from 'node:path'
import { AdapterError } from '@revisual/tensor'
import { messageOf, UserError } from '../errors.js'
import { startServer, type ServerOptions } from '../serve/server.js'
import { openModel } from '../train/model.js'
import { adapterName, withDevice } from './session.js'

export interface ServeOptions extends Omit<ServerOptions, 'modelName' | 'maxContext' | 'log'> {
  /** Default: the name of the folder. */
  readonly modelName: string | null
  /** Default: what the model was made for. */
  readonly maxContext: number | null
  /** How long requests may take to finish after SIGTERM or Ctrl-C. */
  readonly shutdownTimeoutMs: number
  readonly isQuiet: boolean
}

const loopback = new Set(['127.0.0.1', '::1', 'localhost'])

/** Positions a model was made for. */
function contextOf(json: { readonly [key: string]: unknown }): number {
  const nested = json['text_config']
  const text: { readonly [key: string]: unknown } = { ...json, ...(nested as object | undefined) }
  const positions = text['max_position_embeddings']
  return typeof positions === 'number' ? positions : 32_768
}

export async function serveModel(path: string, options: ServeOptions): Promise<void> {
  await withDevice(async (device) => {
    const model = await openModel(path, device)
    const say = (line: string) => process.stderr.write(`${line}\n`)
    if (!loopback.has(options.host) && options.apiKey === null) {
      say(
        `revisual: ${options.host} can be reached from other machines and there is no API key: anyone may use the model.`,
      )
    }
    const server = await startServer(model, {
      ...options,
      modelName: options.modelName ?? basename(resolve(path)),
      maxContext: Math.min(options.maxContext ?? Infinity, contextOf(model.parts.config.json)),
      log: options.isQuiet ? () => {} : say,
    }).catch((error: unknown) => {
      if (error instanceof AdapterError) throw error
      throw new UserError(`Cannot listen on ${options.host}:${options.port}: ${messageOf(error)}`)
    })
    const { maxCacheTokens } = server.engine.status
    say(`revisual: serving on ${adapterName(device)}, ${maxCacheTokens} cache tokens`)
    // What scripts wait for.
    process.stdout.write(`listening on ${server.url}/v1\n`)
    const signal = await interruption()
    say(`revisual: ${signal}, finishing requests`)
    if (!(await server.close(options.shutdownTimeoutMs)))
      say('revisual: some requests were ended before they were done')
  })
}

/** Resolves at the first request to end; a second one ends the process at once. */
function interruption(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let isEnding = false
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (isEnding) process.exit(signal === 'SIGINT' ? 130 : 143)
        isEnding = true
        resolve(signal)
      })
    }
  })
}
