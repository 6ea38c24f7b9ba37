/**
 * A library under test in a process of its own: one request, one answer, each a JSON message. If it crashes, hangs or runs
 * out of time it is killed, the request fails with the reason, and the next request starts a new process.
 */
import { fork } from 'node:child_process'

/** Characters of a child's last words that are kept. */
const stderrTail = 2000

export class PeerProcess {
  #child = null
  #pending = null
  #stderr = ''
  #opened = null

  /** @param {string} name @param {string} script module run in the child @param {string[]} args */
  constructor(name, script, args) {
    this.name = name
    this.script = script
    this.args = args
  }

  /** What the peer says of itself; starts it. */
  async open(timeout) {
    if (!this.#opened) this.#opened = this.#request({ type: 'open' }, timeout)
    try {
      return await this.#opened
    } catch (error) {
      this.#opened = null
      throw error
    }
  }

  async request(message, timeout) {
    await this.open(timeout)
    return this.#request(message, timeout)
  }

  #start() {
    const child = fork(this.script, this.args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], serialization: 'json' })
    this.#stderr = ''
    child.stderr.on('data', (chunk) => {
      this.#stderr = (this.#stderr + chunk).slice(-stderrTail)
    })
    child.on('message', (answer) => this.#settle(child, answer))
    child.on('error', (error) => this.#settle(child, { error: error.message }))
    child.on('exit', (code, signal) => {
      const last = this.#stderr.trim().split('\n').at(-1) ?? ''
      this.#settle(child, { error: `the process ended (${signal ?? `code ${code}`})${last ? `: ${last}` : ''}` })
      if (this.#child === child) this.#forget()
    })
    this.#child = child
  }

  #forget() {
    this.#child = null
    this.#opened = null
  }

  #settle(child, answer) {
    if (this.#child !== child || !this.#pending) return
    const { resolve, reject } = this.#pending
    this.#pending = null
    if (answer.error === undefined) resolve(answer.value)
    else reject(new Error(answer.error))
  }

  #request(message, timeout) {
    if (!this.#child) this.#start()
    const child = this.#child
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(child, { error: `no answer within ${Math.round(timeout / 1000)} s` })
        child.kill('SIGKILL')
        this.#forget()
      }, timeout)
      const ended = (settle) => (value) => {
        clearTimeout(timer)
        settle(value)
      }
      this.#pending = { resolve: ended(resolve), reject: ended(reject) }
      child.send(message, (error) => {
        if (error) this.#settle(child, { error: error.message })
      })
    })
  }

  close() {
    this.#child?.kill('SIGKILL')
    this.#forget()
  }
}
