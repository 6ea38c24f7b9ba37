/**
 * The server's life: listens, and ends in order. Asked to end, it takes no more requests, lets those it has finish until a
 * deadline, then ends them with what they have.
 */
import { createHash } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { serve, type ServerType } from '@hono/node-server'
import { GenerationEngine, samplingMask, type VisionLanguageModel } from '@revisual/model'
import { createApp, ServerState, type AppOptions } from './app.js'
import type { CompletionLimits } from './completion.js'
import { TokenTexts } from './token-text.js'

export interface ServerOptions extends Omit<AppOptions, 'fingerprint'>, CompletionLimits {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  readonly version: string
  readonly maxSequences: number
  readonly maxCacheTokens: number | null
}

export interface RunningServer {
  /** Without a path: `http://127.0.0.1:8000`. */
  readonly url: string
  readonly engine: GenerationEngine
  /** Ends in order within `timeoutMs`. Resolves when everything is closed; true when all requests could finish. */
  close(timeoutMs: number): Promise<boolean>
}

/** Starts listening. @throws the error of the socket, e.g. a port in use. */
export async function startServer(model: VisionLanguageModel, options: ServerOptions): Promise<RunningServer> {
  const { maxSequences, maxCacheTokens } = options
  const engine = new GenerationEngine(model.network, {
    tokenizer: model.tokenizer,
    mask: samplingMask(model),
    stopIds: model.parts.generation.stopIds,
    maxSequences,
    ...(maxCacheTokens !== null && { maxCacheTokens }),
  })
  const state = new ServerState()
  const { info } = model.device
  const build = [options.version, options.modelName, info.vendor, info.device, info.description].join('\n')
  const fingerprint = `fp_${createHash('sha256').update(build).digest('hex').slice(0, 10)}`
  const context = { model, engine, texts: new TokenTexts(model.tokenizer), limits: options }
  const app = createApp(context, { ...options, fingerprint }, state)
  const server = await listen(app.fetch, options.host, options.port)
  const { port } = server.address() as AddressInfo
  const host = options.host.includes(':') ? `[${options.host}]` : options.host
  return {
    url: `http://${host}:${port}`,
    engine,
    close: (timeoutMs) => close(server, engine, state, timeoutMs),
  }
}

function listen(fetch: Parameters<typeof serve>[0]['fetch'], hostname: string, port: number): Promise<ServerType> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch, hostname, port }, () => {
      server.off('error', reject)
      resolve(server)
    })
    server.once('error', reject)
  })
}

async function close(
  server: ServerType,
  engine: GenerationEngine,
  state: ServerState,
  timeoutMs: number,
): Promise<boolean> {
  state.isDraining = true
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  const deadline = performance.now() + timeoutMs
  while (state.inFlight > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20))
  const isOrderly = state.inFlight === 0
  // Ends what is still running: its clients get what there is so far.
  await engine.close()
  if ('closeIdleConnections' in server) server.closeIdleConnections()
  const force = setTimeout(() => 'closeAllConnections' in server && server.closeAllConnections(), 1000)
  await closed
  clearTimeout(force)
  return isOrderly
}
