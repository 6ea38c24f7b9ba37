export { format, format as default, hasReasoningFormat, type FormatOptions } from './format.js'
export { length, lengthReward, type LengthOptions } from './length.js'
export { repetition, repetitionScore, type RepetitionOptions, type RepetitionScore } from './repetition.js'
