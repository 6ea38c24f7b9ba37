export { DEFAULT_RULES, type ExtractionRule, type Extraction, type ExtractOptions } from './extract.js'
export type { EquivalenceOptions } from './options.js'
export {
  extractAnswer,
  isEquivalent,
  type Verdict,
  type VerdictRule,
  type VerdictStatus,
  type Verification,
  verify,
  type VerifyOptions,
} from './verify.js'
