export { DEFAULT_RULES, type ExtractionRule, type Extraction, type ExtractOptions } from './extract.ts'
export type { EquivalenceOptions } from './options.ts'
export {
  extractAnswer,
  isEquivalent,
  type Verdict,
  type VerdictRule,
  type VerdictStatus,
  type Verification,
  verify,
  type VerifyOptions,
} from './verify.ts'
