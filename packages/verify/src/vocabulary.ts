/** Closed word lists of the answer language: operators, functions, units. */

const words = (list: string): readonly string[] => list.split(' ')

/** LaTeX commands that stand for one character of the alphabet the parser reads. */
export const OPERATOR_COMMANDS: ReadonlyMap<string, string> = new Map(
  words(
    'cdot=* times=* ast=* div=/ pm=± mp=∓ cup=∪ cap=∩ setminus=∖ backslash=∖ in=∈ ' +
      'approx=≈ equiv=≡ le=≤ leq=≤ leqslant=≤ ge=≥ geq=≥ geqslant=≥ lt=< gt=> ' +
      'ne=≠ neq=≠ vert=| lvert=| rvert=| mid=| langle=⟨ rangle=⟩ lbrace=\\{ rbrace=\\} lbrack=[ ' +
      "rbrack=] colon=: degree=° prime='",
  ).map((pair): [string, string] => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
)

/** Commands with no meaning for the value. */
export const IGNORED_COMMANDS: ReadonlySet<string> = new Set(
  words(
    'left right big Big bigg Bigg bigl bigr Bigl Bigr middle limits displaystyle textstyle quad ' +
      'qquad mathbf mathit mathsf mathcal mathfrak boldsymbol bm vec boxed fbox rm bf it hline ' +
      'space',
  ),
)

/** Commands whose argument is words. */
export const TEXT_COMMANDS: ReadonlySet<string> = new Set(
  words('text textbf textit textrm textnormal texttt textsf mbox hbox mathrm operatorname emph'),
)

export const FRACTION_COMMANDS: ReadonlySet<string> = new Set(['frac', 'dfrac', 'tfrac', 'cfrac'])
export const BINOMIAL_COMMANDS: ReadonlySet<string> = new Set(['binom', 'dbinom', 'tbinom'])

/** Named functions of one argument, as commands and as plain words. */
export const FUNCTIONS: ReadonlySet<string> = new Set(
  words('sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp sqrt abs'),
)

/** Constructs kept as one opaque symbol: equal to the same text and to nothing else. */
export const OPAQUE_COMMANDS: ReadonlySet<string> = new Set(
  words('lim limsup liminf int iint oint max min sup inf gcd forall exists pmod'),
)

export const MATRIX_ENVIRONMENTS: ReadonlySet<string> = new Set([
  'matrix',
  'pmatrix',
  'bmatrix',
  'Bmatrix',
  'smallmatrix',
  'array',
])

/** Matrices between bars. */
export const DETERMINANT_ENVIRONMENTS: ReadonlySet<string> = new Set(['vmatrix', 'Vmatrix'])

/** Words that put a second value beside the first. */
export const SEPARATOR_WORDS: ReadonlySet<string> = new Set(['and', 'or'])

/** Words after a value that offer another one. They never count as a unit. */
export const HEDGE_WORDS: ReadonlySet<string> = new Set(
  words(
    'or and to but not maybe perhaps possibly probably alternatively otherwise either unless could ' +
      'might also if than plus minus million billion thousand hundred trillion dozen percent zero one ' +
      'two three four five six seven eight nine ten eleven twelve twenty half instead actually wait ' +
      'else',
  ),
)

/** Measures and money under one name each, the first of the line; without plurals in -s and metric prefixes. */
const MEASURES: ReadonlyMap<string, string> = new Map(
  [
    'm meter metre',
    'g gram',
    'L liter litre',
    'mm',
    'cm',
    'km',
    'mg',
    'kg',
    'ml mL',
    'in inch',
    'ft foot feet',
    'yd yard',
    'mi mile',
    'mph',
    'lb pound',
    'oz ounce',
    'ms',
    's sec second',
    'min minute',
    'h hr hour',
    'day',
    'week',
    'month',
    'year',
    'deg degree',
    'rad radian',
    '$ dollar USD',
    'cent',
    '€ euro',
    'yuan',
  ].flatMap((line) => {
    const names = line.split(' ')
    return names.map((name): [string, string] => [name, names[0] ?? name])
  }),
)

/** Nouns for what is counted, and parts of units. */
const COUNTED: ReadonlySet<string> = new Set(
  words(
    'unit square cubic sq cu per people student children men women apple book time way point digit page side edge ' +
      'solution integer number value',
  ),
)

/** A word without its plural s. */
const singular = (word: string): string => word.replace(/(?<=ch)es$|(?<=..)s$/, '')

/** Canonical name of a measure: `cm` for centimetres; undefined for other words. */
export function measure(word: string): string | undefined {
  const noun = singular(word)
  const metric = /^(milli|centi|deci|kilo)(met(?:er|re)|gram|lit(?:er|re))$/.exec(noun)
  if (metric !== null) return `${metric[1]?.charAt(0) ?? ''}${MEASURES.get(metric[2] ?? '') ?? ''}`.replace('mL', 'ml')
  return MEASURES.get(word) ?? MEASURES.get(noun)
}

/** Whether a word after a value needs no `\text{}` to be read as its unit. */
export const isUnit = (word: string): boolean => measure(word) !== undefined || COUNTED.has(singular(word))

/** Words after a number that multiply it: powers of ten. */
export const MULTIPLIERS: ReadonlyMap<string, number> = new Map([
  ['hundred', 2],
  ['thousand', 3],
  ['million', 6],
  ['billion', 9],
  ['trillion', 12],
])

/** Words for one hundredth after a number. */
export const PERCENT_WORDS: ReadonlySet<string> = new Set(['percent', 'percentage', 'pct'])
