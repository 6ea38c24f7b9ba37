export { DEFAULT_RULES, type ExtractionRule, type Extraction, type ExtractOptions } from './extract.js'
export type { ComparisonStep, Reason } from './judge.js'
export { type EquivalenceOptions, type Profile, PROFILE_NAMES } from './options.js'
export { extractAnswer, isEquivalent, type Verdict, verify, type VerifyOptions } from './verify.js'
