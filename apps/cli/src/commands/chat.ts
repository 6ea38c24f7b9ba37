/**
 * `revisual chat <model>`: a conversation in the terminal. Lines are messages, or commands that begin with a slash; answers
 * come as they are made, and Ctrl-C ends an answer, not the program. Works through a pipe as well: one message a line.
 */
import { readFile } from 'node:fs/promises'
import { createInterface, type Interface } from 'node:readline'
import { GenerationEngine, samplingMask, type ChatMessage, type VisionLanguageModel } from '@revisual/model'
import { messageOf } from '../errors.js'
import { openModel } from '../train/model.js'
import { withDevice } from './session.js'

export interface ChatOptions {
  readonly system: string | null
  readonly maxTokens: number
  readonly temperature: number
  readonly topP: number
  readonly topK: number
  readonly seed: number
}

const help = `/image PATH   add an image to the next message
/system TEXT  set the system turn and begin anew; without text: none
/reset        begin anew
/help         this list
/exit         leave (Ctrl-D as well); Ctrl-C ends an answer`

/** What has been said. */
class Conversation {
  #messages: ChatMessage[] = []
  #images: Uint8Array[] = []
  /** Images of the message that comes next. */
  #added: Uint8Array[] = []

  constructor(private system: string | null) {}

  addImage(image: Uint8Array): number {
    return this.#added.push(image)
  }

  reset(system = this.system): void {
    this.system = system
    this.#messages = []
    this.#images = []
    this.#added = []
  }

  /** The conversation with one more message of the user, not yet part of it. */
  asking(question: string): { readonly messages: readonly ChatMessage[]; readonly images: readonly Uint8Array[] } {
    const content = [...this.#added.map(() => ({ type: 'image' }) as const), { type: 'text', text: question } as const]
    const user: ChatMessage = { role: 'user', content: this.#added.length > 0 ? content : question }
    const system: ChatMessage[] = this.system === null ? [] : [{ role: 'system', content: this.system }]
    return { messages: [...system, ...this.#messages, user], images: [...this.#images, ...this.#added] }
  }

  /** Makes a question and its answer part of the conversation. */
  take(question: string, answer: string): void {
    const asked = this.asking(question)
    this.#messages = [...asked.messages.filter(({ role }) => role !== 'system'), { role: 'assistant', content: answer }]
    this.#images = [...asked.images]
    this.#added = []
  }
}

/** A chat over one engine. */
class Chat {
  readonly #conversation: Conversation
  #turn = 0
  #abort: (() => void) | null = null

  constructor(
    private readonly model: VisionLanguageModel,
    private readonly engine: GenerationEngine,
    private readonly options: ChatOptions,
  ) {
    this.#conversation = new Conversation(options.system)
  }

  /** Ends the answer under way. @returns false when there is none. */
  interrupt(): boolean {
    this.#abort?.()
    return this.#abort !== null
  }

  /** Obeys a line. @returns false to leave. */
  async line(line: string): Promise<boolean> {
    const [, command, rest = ''] = /^\/(\w+)(?:\s+(.*))?$/.exec(line) ?? []
    if (line === '') return true
    if (command === undefined) await this.#answer(line)
    else if (command === 'exit' || command === 'quit') return false
    else if (command === 'image') await this.#addImage(rest.trim())
    else if (command === 'reset') this.#begin()
    else if (command === 'system') this.#begin(rest.trim() === '' ? null : rest.trim())
    else if (command === 'help') note(help)
    else note(`There is no command /${command}.\n${help}`)
    return true
  }

  #begin(system?: string | null): void {
    this.#conversation.reset(system)
    note(system === undefined ? 'A new conversation.' : system === null ? 'No system turn.' : 'The system turn is set.')
  }

  async #addImage(path: string): Promise<void> {
    try {
      const count = this.#conversation.addImage(await readFile(path))
      note(`${count === 1 ? 'One image goes' : `${count} images go`} with the next message.`)
    } catch (error) {
      note(`The image ${path} cannot be read: ${messageOf(error)}`)
    }
  }

  async #answer(question: string): Promise<void> {
    const { system: _, seed, ...sampling } = this.options
    try {
      const prompt = await this.model.preparePrompt(this.#conversation.asking(question))
      const request = { ...sampling, prompt, n: 1, seed: seed + this.#turn }
      const generation = this.engine.submit(request, { onEvent: ({ text }) => process.stdout.write(text) })
      this.#abort = () => generation.abort()
      const [sequence] = await generation.result
      process.stdout.write('\n')
      if (sequence?.finishReason === 'length') note(`(ended after ${sequence.ids.length} tokens: --max-tokens)`)
      if (sequence?.finishReason === 'aborted') note('(stopped)')
      this.#conversation.take(question, sequence?.text ?? '')
      this.#turn++
    } catch (error) {
      note(messageOf(error))
    } finally {
      this.#abort = null
    }
  }
}

/** Remarks go to stderr, answers to stdout. */
const note = (text: string) => process.stderr.write(`${text}\n`)

export async function chat(path: string, options: ChatOptions): Promise<void> {
  await withDevice(async (device) => {
    const model = await openModel(path, device)
    const engine = new GenerationEngine(model.network, {
      tokenizer: model.tokenizer,
      mask: samplingMask(model),
      stopIds: model.parts.generation.stopIds,
    })
    const isTerminal = process.stdin.isTTY
    const lines = createInterface({
      input: process.stdin,
      ...(isTerminal ? { output: process.stdout, prompt: '> ' } : {}),
    })
    const session = new Chat(model, engine, options)
    if (isTerminal) note('Write a message, or /help.')
    const interrupted = () => {
      if (!session.interrupt()) lines.close()
    }
    // A terminal's Ctrl-C comes through readline, that of a pipe as a signal.
    lines.on('SIGINT', interrupted)
    process.on('SIGINT', interrupted)
    try {
      await converse(lines, session, isTerminal)
    } finally {
      process.off('SIGINT', interrupted)
      lines.close()
      await engine.close()
    }
  })
}

async function converse(lines: Interface, session: Chat, isTerminal: boolean): Promise<void> {
  if (isTerminal) lines.prompt()
  for await (const line of lines) {
    if (!(await session.line(line.trim()))) return
    if (isTerminal) lines.prompt()
  }
}
