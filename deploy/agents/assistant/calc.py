"""Arithmetic for strangers: a parser of its own, nothing of Python is evaluated.

Numbers are decimal with 34 digits and exponents up to 9999, so no expression
can take long or fill the memory.  Pure: no I/O, no globals that change.

    sum    = term { ("+" | "-") term }
    term   = sign { ("*" | "/" | "//" | "%") sign }
    sign   = { "+" | "-" } power
    power  = atom [ ("**" | "^") sign ]
    atom   = number | "pi" | "e" | name "(" sum { "," sum } ")" | "(" sum ")"
"""

import decimal
import re

LENGTH_MAX = 1000           # characters of an expression
DEPTH_MAX = 60              # nesting, signs and powers included

TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d*)?(?:[eE][+-]?\d{1,5})?"
                   r"|\.\d+(?:[eE][+-]?\d{1,5})?)"
                   r"|([A-Za-z]+)|(\*\*|//|[-+*/%^(),]))")

CONTEXT = decimal.Context(
    prec=34, Emax=9999, Emin=-9999,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero,
           decimal.Overflow])

CONSTANTS = {"pi": decimal.Decimal("3.141592653589793238462643383279503"),
             "e": decimal.Decimal("2.718281828459045235360287471352662")}


class CalcError(ValueError):
    """The expression has no value; the text says why."""


def rounded(context, value, digits=decimal.Decimal(0)):
    if digits != digits.to_integral_value() or not -50 <= digits <= 50:
        raise CalcError("round: digits must be a whole number from -50 to 50")
    return value.quantize(decimal.Decimal(1).scaleb(-int(digits)),
                          rounding=decimal.ROUND_HALF_EVEN, context=context)


FUNCTIONS = {               # name: least and most arguments, function
    "abs": (1, 1, lambda c, x: c.abs(x)),
    "sqrt": (1, 1, lambda c, x: c.sqrt(x)),
    "ln": (1, 1, lambda c, x: c.ln(x)),
    "log": (1, 1, lambda c, x: c.log10(x)),
    "exp": (1, 1, lambda c, x: c.exp(x)),
    "min": (1, 99, lambda c, *x: min(x)),
    "max": (1, 99, lambda c, *x: max(x)),
    "round": (1, 2, rounded),
}


class Parser:
    def __init__(self, text):
        self.tokens = []
        self.at = 0
        self.depth = 0
        self.context = CONTEXT.copy()
        position = 0
        text = text.rstrip()
        while position < len(text):
            found = TOKEN.match(text, position)
            if not found:
                raise CalcError("cannot read \"%s\"" % text[position:][:20])
            self.tokens.append(found.group().strip())
            position = found.end()

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self):
        token = self.peek()
        self.at += 1
        return token

    def expect(self, token):
        got = self.next()
        if got != token:
            raise CalcError("expected \"%s\", found %s"
                            % (token, "\"%s\"" % got if got else "the end"))

    def sum(self):
        value = self.term()
        while self.peek() in ("+", "-"):
            if self.next() == "+":
                value = self.context.add(value, self.term())
            else:
                value = self.context.subtract(value, self.term())
        return value

    def term(self):
        value = self.sign()
        while self.peek() in ("*", "/", "//", "%"):
            act = {"*": self.context.multiply, "/": self.context.divide,
                   "//": self.context.divide_int,
                   "%": self.context.remainder}[self.next()]
            value = act(value, self.sign())
        return value

    def sign(self):
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise CalcError("nested deeper than %d" % DEPTH_MAX)
        if self.peek() in ("+", "-"):
            value = self.context.minus(self.sign()) if self.next() == "-" \
                else self.sign()
        else:
            value = self.power()
        self.depth -= 1
        return value

    def power(self):
        value = self.atom()
        if self.peek() in ("**", "^"):
            self.next()
            value = self.context.power(value, self.sign())
        return value

    def atom(self):
        token = self.next()
        if token == "(":
            value = self.sum()
            self.expect(")")
            return value
        if token[:1].isdigit() or token[:1] == ".":
            return self.context.create_decimal(token)
        if token in CONSTANTS:
            return CONSTANTS[token]
        if token in FUNCTIONS:
            return self.call(token)
        if token[:1].isalpha():
            raise CalcError("\"%s\" is unknown: there are %s" % (
                token[:20], ", ".join([*CONSTANTS, *FUNCTIONS])))
        raise CalcError("expected a number, found %s"
                        % ("\"%s\"" % token if token else "the end"))

    def call(self, name):
        least, most, function = FUNCTIONS[name]
        self.expect("(")
        values = [self.sum()]
        while self.peek() == ",":
            self.next()
            values.append(self.sum())
        self.expect(")")
        if not least <= len(values) <= most:
            raise CalcError("%s: takes %d to %d values, not %d"
                            % (name, least, most, len(values)))
        return function(self.context, *values)


def calculate(text):
    """The value of an expression as text; CalcError with a sentence."""
    if len(text) > LENGTH_MAX:
        raise CalcError("longer than %d characters" % LENGTH_MAX)
    try:
        parser = Parser(text)
        value = parser.sum()
        if parser.peek():
            raise CalcError("unexpected \"%s\"" % parser.peek())
        # 30 digits: the last ones only carry the rounding of what went before
        value = decimal.Context(prec=30, Emax=9999, Emin=-9999).plus(value)
    except decimal.DivisionByZero:
        raise CalcError("division by zero") from None
    except decimal.Overflow:
        raise CalcError("the result is too large") from None
    except decimal.InvalidOperation:
        raise CalcError("it has no value") from None
    if value == 0:
        return "0"
    value = value.normalize(CONTEXT.copy())
    if -20 <= value.adjusted() <= 30:
        return format(value, "f")
    return str(value)
