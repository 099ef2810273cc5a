r"""The theory's symbols, and the forms in which one writes expressions of them.

Derivatives come out of SymPy as sums of fractions; `present` keeps the student's and the teacher's terms apart,
each in one fraction with denominators such as `(1 − w²)²`. `to_text` and `to_latex` then write

    a_star*b/(1 - w_hat*w_star)   as   a* b/(1 − ŵ w*)   and   \frac{a^{*} b}{1 - \hat{w} w^{*}}.

Limits: rational functions of the symbols and their logarithms, and square roots of such: all that a rule's equations
hold. Logarithms, which poles `exp(−exp ν)` bring, are taken for further symbols.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter
from sympy.printing.pretty.pretty_symbology import pretty_symbol
from sympy.printing.str import StrPrinter

from localgrad.models.aligned import Mode

STUDENT = Mode(*sp.symbols("a b w", real=True))
TEACHER = Mode(*sp.symbols("a_star b_star w_star", real=True))
FEEDBACK, DECAY = sp.symbols("a_hat w_hat", real=True)
# All that a manifold of fixed points sees of the teacher's gains, c = a* b*; and the readout along the optimal one.
C, S = sp.Symbol("c", real=True), sp.Symbol("s", real=True, nonzero=True)
TRACE, SECOND_INVARIANT = sp.symbols("T Q", real=True)
NU = sp.Symbol("nu", real=True)  # what is trained in place of a pole

_UNICODE = {"a_star": "a*", "b_star": "b*", "w_star": "w*", "a_hat": "â", "w_hat": "ŵ"}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


# --- Forms that read like the paper ----------------------------------------------------------------------------------


def present(expression: sp.Expr) -> sp.Expr:
    """A polynomial in `a*` with each coefficient in one fraction: the student's term apart from the teacher's."""
    terms, power = [], 0
    while expression != 0:
        terms.append(factored(expression.xreplace({TEACHER.a: sp.S.Zero})) * TEACHER.a**power)
        power += 1
        expression = sp.diff(expression, TEACHER.a) / power
    return sp.Add(*terms)


def factored(expression: sp.Expr) -> sp.Expr:
    """One fraction of products, with denominators such as `(1 − w²)²` and sums of powers multiplied out."""
    if logarithms := {x: sp.Dummy(real=True) for x in expression.atoms(sp.log)}:
        return factored(expression.xreplace(logarithms)).xreplace({dummy: x for x, dummy in logarithms.items()})
    above, below = sp.cancel(expression).as_numer_denom()
    coefficient, factors = sp.factor_list(above)
    divisor, divisors = sp.factor_list(below)
    coefficient, product = coefficient / divisor, sp.S.One
    for base, power in _merge(divisors, key=_times_mirror_image):
        scale = _scale(base)
        coefficient, product = coefficient / scale**power, product * sp.expand(base / scale) ** -power
    for base, power in _merge(factors, key=lambda x: frozenset(x.free_symbols)):
        scale = _scale(base)
        if 1 in (abs(scale), abs(coefficient * scale**power)):
            coefficient, base = coefficient * scale**power, sp.expand(base / scale)
        product *= sp.collect(base, S, factored) ** power if base.has(S) and base.is_Add else base**power
    return coefficient * product


def _merge(factors: list, key: Callable[[sp.Expr], Hashable]) -> list[tuple[sp.Expr, int]]:
    """Multiply out factors of the same power and key, which `factor_list` pulled apart; single symbols stay."""
    groups: defaultdict[Any, list] = defaultdict(list)
    for base, power in factors:
        groups[base if base.is_Symbol else key(base), power].append(base)
    return [(sp.expand(sp.Mul(*bases)), power) for (_, power), bases in groups.items()]


def _times_mirror_image(factor: sp.Expr) -> sp.Expr:
    """`p(x) p(−x)` up to scale, the same for `1 − w` and `1 + w`."""
    factor = factor / _scale(factor)
    return sp.expand(factor * factor.xreplace({x: -x for x in factor.free_symbols}))


def _scale(factor: sp.Expr) -> sp.Expr:
    """What to divide by for a form `1 − z` or, without a constant term, for mostly positive terms."""
    constant = factor.xreplace(dict.fromkeys(factor.free_symbols, sp.S.Zero))
    balance = sum(sp.sign(x.as_coeff_Mul()[0]) for x in sp.Add.make_args(factor))
    return constant if constant != 0 else sp.S.NegativeOne if balance < 0 else sp.S.One


def negate(expression: sp.Expr) -> sp.Expr:
    """The sum of the negated terms, without a bracket."""
    return sp.Add(*(-x for x in sp.Add.make_args(expression)))


def square_root(expression: sp.Expr) -> sp.Expr:
    """`√` of a product whose sums, such as `1 − w w*`, are positive in the mode equations' domain."""
    sums = {x: sp.Dummy(positive=True) for x in expression.atoms(sp.Add)}
    back = {dummy: x for x, dummy in sums.items()}
    return sp.sqrt(expression.xreplace(sums)).xreplace(back)


# --- Writing ----------------------------------------------------------------------------------------------------------


def to_text(expression: sp.Basic) -> str:
    """One line of Unicode.

    >>> to_text(STUDENT.a**2 / (1 - STUDENT.w * TEACHER.w))
    'a²/(1 − w w*)'
    """
    return _TextPrinter().doprint(expression)


def to_latex(expression: sp.Basic) -> str:
    r"""LaTeX, for math mode.

    >>> to_latex(FEEDBACK * TEACHER.w**2)
    '\\hat{a} w^{*2}'
    """
    return _LatexPrinter({"ln_notation": True}).doprint(expression)


def ordered_terms(expression: sp.Expr) -> list[sp.Expr]:
    """The terms of a sum as they are written: the student's before the teacher's, powers ascending."""

    def place(term: sp.Expr) -> tuple[int, bool, bool]:
        return sp.degree(term, TEACHER.a), term.has(*TEACHER), not term.is_rational_function()

    return sorted(expression.as_ordered_terms(order="rev-lex"), key=place)


def closed_eigenvalues(trace: sp.Expr, second_invariant: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """`(0, λ₊, λ₋)` of a matrix with an eigenvalue 0."""
    root = sp.sqrt(trace**2 - 4 * second_invariant)
    return sp.S.Zero, trace / 2 + root / 2, trace / 2 - root / 2


class _TermOrder:
    def _as_ordered_terms(self, expr: sp.Expr, order: str | None = None) -> list[sp.Expr]:
        return ordered_terms(expr)


class _TextPrinter(_TermOrder, StrPrinter):
    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return _UNICODE.get(expr.name) or pretty_symbol(expr.name)

    def _print_Abs(self, expr: sp.Abs) -> str:
        return f"|{self._print(expr.args[0])}|"

    def _print_log(self, expr: sp.log) -> str:
        return f"ln {self._bracketed(expr.args[0])}"

    def _print_Add(self, expr: sp.Add, order: str | None = None) -> str:
        first, *others = (self._print(x) for x in ordered_terms(expr))
        return first + "".join(f" − {x[1:]}" if x.startswith("−") else f" + {x}" for x in others)

    def _print_Mul(self, expr: sp.Mul) -> str:
        number, rest = expr.as_coeff_Mul()
        above, below = sp.fraction(rest)
        top, bottom = self._product(abs(number.p), above), self._product(number.q, below)
        several = below.is_Mul or (number.q > 1 and below != 1)
        ratio = top if bottom == "1" else f"{top}/({bottom})" if several else f"{top}/{bottom}"
        return f"−{ratio}" if number.is_negative else ratio

    def _product(self, integer: int, expr: sp.Expr) -> str:
        factors = [self._factor(x) for x in expr.as_ordered_factors() if x != 1]
        return " ".join([str(integer)] * (integer != 1 or not factors) + factors)

    def _factor(self, expr: sp.Expr) -> str:
        return f"({self._print(expr)})" if expr.is_Add else self._print(expr)

    def _print_Rational(self, expr: sp.Rational) -> str:
        return ("−" if expr < 0 else "") + (str(abs(expr.p)) if expr.q == 1 else f"{abs(expr.p)}/{expr.q}")

    def _print_Integer(self, expr: sp.Integer) -> str:
        return self._print_Rational(expr)

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        if expr.exp.is_negative:
            return f"1/{self._factor(1 / expr)}"
        if expr.exp == sp.S.Half:
            return f"√{self._bracketed(expr.base)}"
        power = self._print(expr.exp)
        return self._bracketed(expr.base) + (power.translate(_SUPERSCRIPTS) if power.isdigit() else f"^({power})")

    def _bracketed(self, expr: sp.Expr) -> str:
        return self._print(expr) if expr.is_Symbol or expr.is_Integer else f"({self._print(expr)})"


class _LatexPrinter(_TermOrder, LatexPrinter):
    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        letter, _, mark = expr.name.partition("_")
        forms = {"star": f"{letter}^{{*}}", "hat": rf"\hat{{{letter}}}"}
        return forms.get(mark) or super()._print_Symbol(expr, style)

    def _print_Pow(self, expr: sp.Pow) -> str:
        if expr.base in TEACHER and expr.exp.is_Integer and expr.exp > 1:
            return f"{expr.base.name[0]}^{{*{expr.exp}}}"
        return super()._print_Pow(expr)
