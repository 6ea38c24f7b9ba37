/** The commands that stay open, as processes: `chat` through a pipe, `serve` until it is told to end. */
import { spawn, type ChildProcess } from 'node:child_process'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { png } from './png.js'

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url))
const base = fileURLToPath(new URL('../../../examples/quickstart/base', import.meta.url))

class Process {
  stdout = ''
  stderr = ''
  readonly ended: Promise<number | null>
  private readonly child: ChildProcess
  private wake: () => void = () => {}

  constructor(args: readonly string[]) {
    this.child = spawn(process.execPath, [main, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
      this.wake()
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
      this.wake()
    })
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject)
      this.child.once('close', (code) => resolve(code))
    })
  }

  /** Waits until what was printed holds the pattern. */
  async until(stream: 'stdout' | 'stderr', pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this[stream])
      if (found) return found
      const printed = new Promise<'printed'>((resolve) => (this.wake = () => resolve('printed')))
      const outcome = await Promise.race([printed, this.ended])
      if (outcome !== 'printed') throw new Error(`The process ended (${outcome}) without ${pattern}:\n${this.stderr}`)
    }
  }

  say(line: string): void {
    this.child.stdin?.write(`${line}\n`)
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }
}

describe('chat', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'revisual-chat-'))
    await writeFile(join(folder, 'digits.png'), png(56, 28, 90))
  })
  afterAll(() => rm(folder, { recursive: true }))

  it('answers lines of a pipe, with images, from the beginning when told so', async () => {
    const chat = new Process(['chat', base, '--temperature', '0', '--max-tokens', '12'])
    for (const line of [
      'the digits are 3 , 5 . what is the sum ?',
      '/reset',
      'the digits are 3 , 5 . what is the sum ?',
      '/image nowhere.png',
      `/image ${join(folder, 'digits.png')}`,
      'what is the sum ?',
      '/wrong',
      '/system be short .',
      '/exit',
      'never reached',
    ]) {
      chat.say(line)
    }
    expect(await chat.ended, chat.stderr).toBe(0)
    const answers = chat.stdout.trimEnd().split('\n')
    expect(answers.length).toBe(3)
    expect(answers[0]).toMatch(/\S/)
    expect(answers[1]).toBe(answers[0])
    expect(chat.stderr).toMatch(/nowhere\.png cannot be read/)
    expect(chat.stderr).toMatch(/One image goes with the next message/)
    expect(chat.stderr).toMatch(/no command \/wrong/)
    expect(chat.stderr).toMatch(/The system turn is set/)
  })

  it('stops an answer on Ctrl-C and goes on', async () => {
    // A model that knows no end.
    const endless = join(folder, 'endless')
    await cp(base, endless, { recursive: true })
    await writeFile(join(endless, 'generation_config.json'), JSON.stringify({ eos_token_id: 6, pad_token_id: 0 }))
    const chat = new Process(['chat', endless, '--temperature', '0', '--max-tokens', '4000'])
    chat.say('the digits are 3 , 5 . what is the sum ?')
    await chat.until('stdout', /\S/)
    chat.kill('SIGINT')
    await chat.until('stderr', /\(stopped\)/)
    chat.say('/help')
    await chat.until('stderr', /\/image PATH/)
    chat.say('/exit')
    expect(await chat.ended, chat.stderr).toBe(0)
  })
})

describe('serve', () => {
  it('says where it listens, answers, and ends in order', async () => {
    const server = new Process(['serve', base, '--port', '0', '--model-name', 'nano'])
    const [, url = ''] = await server.until('stdout', /^listening on (http:\/\/127\.0\.0\.1:\d+)\/v1$/m)
    const answer = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'nano', messages: [{ role: 'user', content: 'the sum ?' }], max_tokens: 3 }),
    })
    expect(answer.status).toBe(200)
    server.kill('SIGTERM')
    expect(await server.ended, server.stderr).toBe(0)
    expect(server.stderr).toMatch(/POST \/v1\/chat\/completions 200/)
    expect(server.stderr).toMatch(/SIGTERM, finishing requests/)
  })

  it('says why it cannot listen', async () => {
    const server = new Process(['serve', base, '--host', '192.0.2.1', '--api-key', 'k'])
    expect(await server.ended).toBe(1)
    expect(server.stderr).toMatch(/Cannot listen on 192\.0\.2\.1:8000/)
    expect(server.stderr).not.toMatch(/\n\s+at /)
  })
})
