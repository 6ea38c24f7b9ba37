/**
 * A reward package of one's own: 1 for thoughts of at most `words` words, falling to 0 at twice as many.
 *
 * The whole contract is the default export: a name, a schema for the options, and `create`, which gets the checked options
 * and returns the function that scores a batch. The types come from `@revisual/rl` and are named in comments only, so the
 * package depends on nothing.
 */

/** @typedef {{ readonly words?: number }} BrevityOptions */

/**
 * Standard Schema (https://standardschema.dev): a Zod, Valibot or ArkType schema could stand here instead. It runs before
 * training starts, so a mistake in the config costs nothing.
 *
 * @type {import('@revisual/rl').OptionsSchema<BrevityOptions>}
 */
const options = {
  '~standard': {
    version: 1,
    vendor: 'revisual-reward-brevity',
    validate(value = {}) {
      if (typeof value !== 'object' || value === null) return { issues: [{ message: 'must be an object' }] }
      const unknown = Object.keys(value).find((name) => name !== 'words')
      if (unknown !== undefined) return { issues: [{ message: 'is unknown; allowed: words', path: [unknown] }] }
      const words = 'words' in value ? value.words : undefined
      if (words === undefined || (typeof words === 'number' && Number.isInteger(words) && words > 0))
        return { value: /** @type {BrevityOptions} */ (value) }
      return { issues: [{ message: `is ${JSON.stringify(words)}; allowed: an integer > 0`, path: ['words'] }] }
    },
  },
}

/** @param {string} text */
const countWords = (text) => text.split(/\s+/).filter((word) => word !== '').length

/** @type {import('@revisual/rl').RewardPlugin<BrevityOptions>} */
const brevity = {
  name: 'brevity',
  options,
  create({ words = 100 }) {
    // One value per completion, in order. `null` says that the reward does not apply to a completion; `parts` are logged.
    return ({ completions }) =>
      completions.map((text) => {
        const end = text.indexOf('</think>')
        if (end === -1) return null
        const thoughtWords = countWords(text.slice(0, end).replace('<think>', ' '))
        return { score: Math.max(0, Math.min(1, 2 - thoughtWords / words)), parts: { thoughtWords } }
      })
  },
}

export default brevity
