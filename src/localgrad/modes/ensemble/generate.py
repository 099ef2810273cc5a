r"""The kernel's formulas, derived from the one definition of the mode equations and written out as a module.

SymPy runs `modes.field` and `modes.loss` on symbols, differentiates them, names what recurs, and prints the
functions of `_mode_field.py`, which Numba compiles. Three things are kept symbolic, so that one text serves every
rule and every parametrisation of the poles: `g′`, which is put in by `pole_slope`; the reciprocals `p = 1/(1 − w²)` and
`q = 1/(1 − w w*)`, which the kernel computes from a single division; and the sums over lags `r = σ(m w)` and
`t = σ(m w*)` with their derivatives, which are `1/(1 − z)` and `1/(1 − z)²` when all lags are kept.

Errors that arrive late are a map of velocity and Jacobian, `a_step_later`. With other numbers it is that of many steps
(`arithmetic.py`). The poles' `g′` then comes last, by `at_poles`.

`python -m localgrad.modes.ensemble.generate` rewrites the module; a test compares it with what this file generates.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.pycode import PythonCodePrinter

from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, POLES
from localgrad.modes.equations import Line, LinearRule, arriving_late, field, loss
from localgrad.rules.parts import Feedback, Propagator
from localgrad.rules.rule import Rule

TARGET = Path(__file__).with_name("_mode_field.py")

a, b, w, w_star = sp.symbols("a b w w_star", real=True)
phi0, phi1, mu0, mu1, c = sp.symbols("phi0 phi1 mu0 mu1 c", real=True)
f, m, p, q, r, t, dr, dt, theirs = sp.symbols("f m p q r t dr dt theirs", real=True)
slope, bend = sp.symbols("slope bend", real=True)
_sigma, _slope = sp.Function("sigma"), sp.Function("slope")

# Any rule at the level of a mode: f = φ₀ + φ₁ a, m = μ₀ + μ₁ w. The teacher enters through c = a* b* only.
RULE = Rule(Feedback(symmetric=phi1, fixed=phi0), Propagator(full=mu1, decay=mu0), name="general")
STUDENT, TEACHER = Mode(a, b, w), Mode(c, sp.Integer(1), w_star)
# A velocity and its Jacobian that are known, as functions of the mode and as letters.
_VELOCITY = sp.symbols("fa fb fw", real=True)
_RATES = tuple(sp.Function(str(x))(a, b, w) for x in _VELOCITY)
_ENTRIES = [sp.symbols(" ".join(f"j{x}{y}" for y in "abw"), real=True) for x in "abw"]
# What a step of delay multiplies with, as functions of the mode: of many steps at once these are others than f, m, w.
_STEP = sp.Function("f")(a, w), sp.Function("m")(w), sp.Function("w")(w)
# Any parametrisation w = g(ν), of which the field asks g′ as a function of w.
ANY_POLES = replace(DIRECT, slope=_slope)

_HEADER = '''"""The mode equations as Numba compiles them. Written by `generate.py`; do not edit.

Learning velocities are `−Δ`. Names: `p = 1/(1 − w²)`, `q = 1/(1 − w w*)`, `r = σ(m w)`, `t = σ(m w*)`, `dr` and `dt`
the derivatives of the last two, `c = a* b*`, `theirs = 1/(1 − w*²)`, `slope = g′` of the poles `w = g(ν)`
and `bend` its derivative by `w`.
"""

# mypy: ignore-errors

from numba import njit

from localgrad.modes.ensemble.logarithm import log

_inline = njit(inline="always", error_model="numpy")
_absorbed = njit(error_model="numpy", fastmath={"contract", "nsz"}, forceinline=True)
'''


def generate() -> str:
    """The text of `_mode_field.py`."""
    velocity = [-component for component in _with_symbolic_sums(field(RULE, STUDENT, TEACHER, ANY_POLES))]
    jacobian = [sp.diff(component, variable) for component in velocity for variable in STUDENT]
    velocity, jacobian = _with_names(velocity), _with_names(jacobian)
    rule = "phi0, phi1, mu0, mu1"
    functions = [
        _function(
            "rule_terms", f"a, w, {rule}", "`f` and `m`.", [RULE.feedback.on_mode(a), RULE.propagator.on_mode(w)]
        ),
        _function("denominators", "w, w_star", "`1/p` and `1/q`.", [1 - w * w, 1 - w * w_star]),
        _pole_slopes(),
        _function("velocity", "a, b, w, f, c, w_star, p, q, r, t, slope", "`(ȧ, ḃ, ẇ)`.", velocity),
        _function(
            "velocity_and_jacobian",
            "a, b, w, f, m, phi1, mu1, c, w_star, p, q, r, t, dr, dt, slope, bend",
            "`(ȧ, ḃ, ẇ)`, then its Jacobian row by row.",
            velocity + jacobian,
        ),
        _function("loss", "a, b, w, c, w_star, p, q, theirs", "The loss.", _with_names([loss(STUDENT, TEACHER)])),
        *_of_known_rates(),
    ]
    header = f"{_HEADER}\nPOLE_PLACES = {pole_places()}"
    return "\n\n".join([header, *functions]) + "\n"


def write() -> None:
    """Rewrite `_mode_field.py` (and leave its layout to the formatter)."""
    TARGET.write_text(generate(), encoding="utf-8")


def _of_known_rates() -> list[str]:
    """What is made of a velocity and its Jacobian: those of errors a step later, and those of what poles train."""
    late = arriving_late(LinearRule(Line(phi0, phi1), Line(mu0, mu1), None, delay=1), _RATES, _STEP)
    trained = (*_RATES[:2], _slope(w) ** 2 * _RATES[2])
    numbers, entries = ", ".join(map(str, _VELOCITY)), ", ".join(str(x) for row in _ENTRIES for x in row)
    found = []
    for name, given, with_slopes, rates, doc in (
        ("a_step_later", "f, m, w", "f, m, w, f_a, f_w, m_w, w_w", late, "of errors that arrive later"),
        ("at_poles", "slope", "slope, bend", trained, "where poles `w = g(ν)` are trained"),
    ):
        jacobian = [sp.diff(x, variable) for x in rates for variable in STUDENT]
        values, derivatives = ([_of_known(x) for x in xs] for xs in (rates, jacobian))
        found += [
            _function(name, f"{given}, {numbers}", f"`(ȧ, ḃ, ẇ)` {doc}.", values),
            _function(
                f"{name}_with_jacobian", f"{with_slopes}, {numbers}, {entries}", f"The same {doc}, and its Jacobian.",
                values + derivatives,
            ),
        ]  # fmt: skip
    return found


def _of_known(expression: Any) -> Any:
    """With the letters of what is known of the rates, the rule and the poles."""
    names = {sp.Derivative(rate, x): entry for rate, row in zip(_RATES, _ENTRIES, strict=True)
             for x, entry in zip(STUDENT, row, strict=True)}  # fmt: skip
    for function, letter in zip(_STEP, (f, m, w), strict=True):
        names |= {sp.Derivative(function, x): sp.Symbol(f"{letter}_{x}", real=True) for x in (a, w)}
    names |= dict(zip((*_RATES, *_STEP), (*_VELOCITY, f, m, w), strict=True))
    names |= {_slope(w): slope, sp.Derivative(_slope(w), w): bend}
    return sp.sympify(expression).xreplace(names)


def _with_symbolic_sums(expressions: Iterable[Any]) -> list[Any]:
    """`1/(1 − z)` becomes `σ(z)` for `z = m w` and `z = m w*`, with `m` still a function of `w`."""
    propagator = RULE.propagator.on_mode(w)
    sums = {1 / (1 - propagator * x): _sigma(propagator * x) for x in (w, w_star)}
    return [expression.xreplace(sums) for expression in expressions]


def _with_names(expressions: Iterable[Any]) -> list[Any]:
    propagator = RULE.propagator.on_mode(w)
    z = sp.Dummy()
    names: dict[Any, Any] = {1 - w * w: 1 / p, 1 - w * w_star: 1 / q, 1 - w_star * w_star: 1 / theirs}
    for sum_, derivative, x in ((r, dr, w), (t, dt, w_star)):
        argument = propagator * x
        names[_sigma(argument)] = sum_
        names[sp.Subs(sp.diff(_sigma(z), z), z, argument)] = derivative
    names |= {_slope(w): slope, sp.Derivative(_slope(w), w): bend}
    named = [_replace(sp.sympify(expression), names) for expression in expressions]
    return [expression.subs({mu0: m - mu1 * w, phi0: f - phi1 * a}) for expression in named]


def _replace(expression: Any, names: dict[Any, Any]) -> Any:
    """Like `xreplace`, but knows derivatives of `σ` whatever dummy variable they are written with."""
    slopes = {key.point[0]: value for key, value in names.items() if isinstance(key, sp.Subs)}
    expression = expression.replace(lambda x: isinstance(x, sp.Subs), lambda x: slopes[x.point[0]])
    return expression.xreplace({key: value for key, value in names.items() if not isinstance(key, sp.Subs)})


def pole_places() -> dict[str, int]:
    """The places of the parametrisations that are not direct, from 1: what tells them apart where code is compiled."""
    return {key: place for place, key in enumerate((key for key in POLES if key != DIRECT.key), start=1)}


def _pole_slopes() -> str:
    """`pole_slope`: it asks for the length of `poles`, which is known when it is compiled, so that nothing branches."""
    lines = ["@_absorbed", "def pole_slope(w, poles):"]
    lines.append('    """`g′` and its derivative by `w`; `len(poles)` says of which poles."""')
    for key, place in pole_places().items():
        value = sp.sympify(POLES[key].slope(w))
        shared, results = sp.cse([value, sp.diff(value, w)], symbols=sp.numbered_symbols("x"), order="canonical")
        lines += [f"    if len(poles) == {place}:  # {key}", *(f"        {x} = {_code(y)}" for x, y in shared)]
        lines.append(f"        return {', '.join(map(_code, results))}")
    return "\n".join([*lines, "    return 1.0, 0.0"])


def _function(name: str, arguments: str, doc: str, results: list[Any]) -> str:
    shared, results = sp.cse(results, symbols=sp.numbered_symbols("x"), order="canonical")
    body = [f"{symbol} = {_code(value)}" for symbol, value in shared]
    values = [_code(value) for value in results]
    body.append(
        f"return {values[0]}" if len(values) == 1 else "return (\n        " + ",\n        ".join(values) + ",\n    )"
    )
    lines = "".join(f"    {line}\n" for line in body)
    return f'@_inline\ndef {name}({arguments}):\n    """{doc}"""\n{lines}'.rstrip("\n")


def _code(expression: Any) -> str:
    """Python source with whole powers written as products."""
    return _Printer().doprint(expression)


class _Printer(PythonCodePrinter):
    def _print_Pow(self, expr: Any, rational: bool = False) -> str:
        if expr.exp.is_Integer and expr.exp > 0:
            return "*".join([self.parenthesize(expr.base, PRECEDENCE["Pow"])] * int(expr.exp))
        return super()._print_Pow(expr, rational)

    def _print_log(self, expr: Any) -> str:
        return f"log({self._print(expr.args[0])})"

    def _print_Rational(self, expr: Any) -> str:
        return repr(float(expr))

    _print_Half = _print_Rational  # noqa: N815


if __name__ == "__main__":
    write()
