/**
 * The tokenizer of the nano preset, in the `tokenizer.json` format: one token per word, digits apart, Qwen's control
 * tokens. The format has no word-level model that every reader knows, so this is a WordPiece model without continuation pieces,
 * which is the same thing: a word is in the vocabulary or it is unknown.
 *
 * Decoding puts spaces between words, then joins digits to numbers and closes `\boxed{…}` up: the tokens
 * `\boxed{ 1 0 }` decode to `\boxed{10}`. Two numbers therefore need a word between them (a comma will do); encoding
 * the decoded text gives the same ids.
 */
import { nanoTokens } from '../config/nano.js'
import { Tokenizer } from './tokenizer.js'

const unknown = '<unk>'
const answerWords = ['<think>', '</think>', '\\boxed{', '}'] as const
const wordPattern = '\\\\boxed\\{|</?think>|\\p{L}+|\\d|[^\\s\\p{L}\\d]'

/**
 * @param words the vocabulary: words of letters, single digits and single punctuation marks. Duplicates are dropped.
 * @param vocabularySize rows the model has; an error when the words need more.
 */
export function createNanoTokenizer(words: readonly string[], vocabularySize = Infinity): Tokenizer {
  const tokens = [...new Set([...nanoTokens, unknown, ...answerWords, ...words])]
  if (tokens.length > vocabularySize) {
    throw new RangeError(
      `The nano tokenizer needs ${tokens.length} tokens (${words.length} words and ${tokens.length - words.length} of its own), ` +
        `the model has ${vocabularySize} rows. Raise vocabularySize or use fewer words.`,
    )
  }
  const isWord = new RegExp(`^(?:${wordPattern})$`, 'u')
  for (const word of words) {
    if (!isWord.test(word)) {
      throw new RangeError(
        `Nano vocabulary: '${word}' is split by the pre-tokenizer; allowed: letters only, one digit, or one mark.`,
      )
    }
  }
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]))
  const control = (content: string, id: number) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })
  return new Tokenizer(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [...nanoTokens, unknown].map(control),
      normalizer: { type: 'NFC' },
      pre_tokenizer: { type: 'Split', pattern: { Regex: wordPattern }, behavior: 'Removed', invert: true },
      post_processor: null,
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'WordPiece', prefix: '##', cleanup: false },
          { type: 'Fuse' },
          { type: 'Replace', pattern: { Regex: '(?<=\\d) (?=\\d)' }, content: '' },
          { type: 'Replace', pattern: { Regex: '(?<=\\{) | (?=\\})' }, content: '' },
        ],
      },
      model: {
        type: 'WordPiece',
        unk_token: unknown,
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
        vocab,
      },
    },
    {
      tokenizer_class: 'PreTrainedTokenizerFast',
      unk_token: unknown,
      eos_token: '<|im_end|>',
      pad_token: '<|endoftext|>',
      clean_up_tokenization_spaces: false,
      model_max_length: 4096,
    },
  )
}
