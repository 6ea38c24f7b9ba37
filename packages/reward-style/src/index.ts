export { format, format as default, hasReasoningFormat, type FormatOptions } from './format.js'
export { imageRevisit, imageRevisitScore, type ImageRevisitScore } from './image-revisit.js'
export { language, languageShare, type LanguageOptions, type Script } from './language.js'
export {
  cosineLength,
  cosineLengthReward,
  type CosineLengthOptions,
  length,
  lengthReward,
  type LengthOptions,
} from './length.js'
export { repetition, repetitionScore, type RepetitionOptions, type RepetitionScore } from './repetition.js'
export { selfCritique, selfCritiqueScore, type SelfCritiqueOptions, type SelfCritiqueScore } from './self-critique.js'
