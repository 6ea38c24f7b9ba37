/** Closed word lists of the answer language: operators, functions, units. */

/** LaTeX commands that stand for one character of the alphabet the parser reads. */
export const OPERATOR_COMMANDS: ReadonlyMap<string, string> = new Map([
  ['cdot', '*'],
  ['times', '*'],
  ['ast', '*'],
  ['div', '/'],
  ['pm', '±'],
  ['mp', '∓'],
  ['cup', '∪'],
  ['in', '∈'],
  ['approx', '≈'],
  ['simeq', '≈'],
  ['equiv', '≡'],
  ['le', '≤'],
  ['leq', '≤'],
  ['leqslant', '≤'],
  ['leqq', '≤'],
  ['ge', '≥'],
  ['geq', '≥'],
  ['geqslant', '≥'],
  ['geqq', '≥'],
  ['lt', '<'],
  ['gt', '>'],
  ['ne', '≠'],
  ['neq', '≠'],
  ['vert', '|'],
  ['lvert', '|'],
  ['rvert', '|'],
  ['mid', '|'],
  ['langle', '⟨'],
  ['rangle', '⟩'],
  ['lbrace', '\\{'],
  ['rbrace', '\\}'],
  ['lbrack', '['],
  ['rbrack', ']'],
  ['colon', ':'],
  ['degree', '°'],
  ['prime', "'"],
])

/** Commands with no meaning for the value. */
export const IGNORED_COMMANDS: ReadonlySet<string> = new Set([
  ...['left', 'right', 'big', 'Big', 'bigg', 'Bigg', 'bigl', 'bigr', 'Bigl', 'Bigr', 'middle', 'limits'],
  ...['displaystyle', 'textstyle', 'quad', 'qquad', 'mathbf', 'mathit', 'mathsf', 'mathcal', 'mathbb', 'mathfrak'],
  ...['boldsymbol', 'bm', 'vec', 'boxed', 'fbox', 'rm', 'bf', 'it', 'hline', 'phantom', 'enspace', 'space'],
])

/** Commands whose argument is words. */
export const TEXT_COMMANDS: ReadonlySet<string> = new Set([
  ...['text', 'textbf', 'textit', 'textrm', 'textnormal', 'texttt', 'textsf', 'mbox', 'hbox', 'mathrm'],
  ...['operatorname', 'emph'],
])

export const FRACTION_COMMANDS: ReadonlySet<string> = new Set(['frac', 'dfrac', 'tfrac', 'cfrac'])
export const BINOMIAL_COMMANDS: ReadonlySet<string> = new Set(['binom', 'dbinom', 'tbinom'])

/** Named functions of one argument, as commands and as plain words. */
export const FUNCTIONS: ReadonlySet<string> = new Set([
  ...['sin', 'cos', 'tan', 'cot', 'sec', 'csc', 'arcsin', 'arccos', 'arctan', 'sinh', 'cosh', 'tanh'],
  ...['ln', 'log', 'lg', 'exp', 'sqrt', 'abs'],
])

/** Constructs kept as one opaque symbol: equal to the same text and to nothing else. */
export const OPAQUE_COMMANDS: ReadonlySet<string> = new Set([
  ...['lim', 'limsup', 'liminf', 'int', 'iint', 'oint', 'sum', 'prod', 'max', 'min', 'sup', 'inf', 'gcd', 'det'],
  ...['forall', 'exists', 'pmod'],
])

export const MATRIX_ENVIRONMENTS: ReadonlySet<string> = new Set([
  'matrix',
  'pmatrix',
  'bmatrix',
  'Bmatrix',
  'smallmatrix',
  'array',
])

/** Matrices between bars. Kept as one opaque symbol. */
export const DETERMINANT_ENVIRONMENTS: ReadonlySet<string> = new Set(['vmatrix', 'Vmatrix'])

/** Words that put a second value beside the first. */
export const SEPARATOR_WORDS: ReadonlySet<string> = new Set(['and', 'or'])

/** Words after a value that offer another one. They never count as a unit. */
export const HEDGE_WORDS: ReadonlySet<string> = new Set([
  ...['or', 'and', 'to', 'but', 'not', 'maybe', 'perhaps', 'possibly', 'probably', 'alternatively', 'otherwise'],
  ...['either', 'unless', 'could', 'might', 'also', 'if', 'than', 'plus', 'minus', 'million', 'billion'],
  ...['thousand', 'hundred', 'dozen', 'percent'],
])

/** Units that are recognised after a value without `\text{}`. */
export const UNITS: ReadonlySet<string> = new Set([
  ...['mm', 'cm', 'dm', 'km', 'm', 'mg', 'g', 'kg', 's', 'ms', 'h', 'hr', 'hrs', 'min', 'mins', 'L', 'ml', 'mL', 'ft'],
  ...['in', 'inch', 'inches', 'foot', 'feet', 'yard', 'yards', 'mile', 'miles', 'mph', 'meter', 'meters', 'metre'],
  ...[
    'metres',
    'centimeter',
    'centimeters',
    'centimetres',
    'kilometer',
    'kilometers',
    'millimeters',
    'liter',
    'liters',
  ],
  ...['gram', 'grams', 'kilogram', 'kilograms', 'pound', 'pounds', 'lb', 'lbs', 'ounce', 'ounces', 'oz', 'ton', 'tons'],
  ...['second', 'seconds', 'sec', 'minute', 'minutes', 'hour', 'hours', 'day', 'days', 'week', 'weeks', 'month'],
  ...['months', 'year', 'years', 'degree', 'degrees', 'deg', 'radian', 'radians', 'rad', 'dollar', 'dollars', 'cent'],
  ...['cents', 'euro', 'euros', 'yuan', 'rupees', 'unit', 'units', 'square', 'cubic', 'sq', 'cu', 'per', 'people'],
  ...['students', 'children', 'men', 'women', 'apples', 'books', 'times', 'ways', 'points', 'way', 'point', 'hours'],
  ...['gallon', 'gallons', 'digits', 'pages', 'page', 'sides', 'edges', 'solutions', 'integers', 'numbers', 'values'],
])

/** Words for one hundredth after a number. */
export const PERCENT_WORDS: ReadonlySet<string> = new Set(['percent', 'percentage', 'pct'])
