/**
 * Messages into the text a model was trained on, by the checkpoint's own Jinja template (or Qwen2.5-VL's as a fallback).
 * Content that spells a control token, or an end of one that its neighbour might complete, goes through the template as a
 * placeholder and is put back as plain text, so that it stays what the user wrote.
 */
import { Template } from '@huggingface/jinja'
import type { TextRun, Tokenizer } from './tokenizer.js'

export type ContentPart =
  { readonly type: 'text'; readonly text: string } | { readonly type: 'image' } | { readonly type: 'video' }

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string | readonly ContentPart[]
}

/** What Qwen2-VL's and Qwen2.5-VL's template prints. */
export const qwenChatTemplate =
  `{% for message in messages %}` +
  `{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}` +
  `<|im_start|>{{ message['role'] }}\n` +
  `{% if message['content'] is string %}{{ message['content'] }}{% else %}` +
  `{% for part in message['content'] %}` +
  `{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>` +
  `{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}` +
  `{% endfor %}{% endif %}<|im_end|>\n{% endfor %}` +
  `{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}`

/** The nano preset's: the user turns without role words, then the answer. Every token counts at this size. */
export const nanoChatTemplate =
  `{% for message in messages %}` +
  `{% if message['role'] == 'assistant' %}<|im_start|>{% endif %}` +
  `{% if message['content'] is string %}{{ message['content'] }}{% else %}` +
  `{% for part in message['content'] %}` +
  `{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}` +
  `{% endfor %}{% endif %}{% if message['role'] == 'assistant' %}<|im_end|>{% endif %}{% endfor %}` +
  `{% if add_generation_prompt %}<|im_start|>{% endif %}`

/** Private-use characters: no tokenizer's control tokens hold them. */
const placeholder = (index: number) => `\uE000${index}\uE001`

export class ChatTemplate {
  readonly #template: Template

  constructor(readonly source: string) {
    this.#template = new Template(source)
  }

  /**
   * Renders messages as runs: template text, in which control tokens count, and guarded text of the messages, in which they
   * do not. What an assistant said may hold added tokens that are not special, such as Qwen3's `<think>`.
   * @param tokenizer tells which strings need guarding.
   */
  render(messages: readonly ChatMessage[], tokenizer: Tokenizer, addGenerationPrompt = true): TextRun[] {
    const guarded: TextRun[] = []
    const guard = (text: string, role: ChatMessage['role']) => {
      const addedTokens = role === 'assistant' ? 'text' : 'none'
      if (!tokenizer.touchesAddedToken(text, addedTokens) && !/[\uE000\uE001]/.test(text)) return text
      guarded.push({ text, addedTokens })
      return placeholder(guarded.length - 1)
    }
    const safe = messages.map(({ role, content }) => ({
      role,
      content:
        typeof content === 'string'
          ? guard(content, role)
          : content.map((part) => (part.type === 'text' ? { ...part, text: guard(part.text, role) } : part)),
    }))
    const rendered = this.#template.render({ messages: safe, add_generation_prompt: addGenerationPrompt })
    // Odd pieces are the numbers between the placeholder's marks.
    return rendered
      .split(/\uE000(\d+)\uE001/)
      .map((text, piece): TextRun =>
        piece % 2 === 0 ? { text, addedTokens: 'all' } : (guarded[Number(text)] ?? { text: '', addedTokens: 'none' }),
      )
      .filter((run) => run.text !== '')
  }
}
