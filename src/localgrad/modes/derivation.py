r"""The equations of a rule, derived on symbols from the one definition that also computes them.

`modes.equations.field` is run on SymPy symbols; what follows is calculus:

    update Δθ,   flow dθ/dk = −Δθ,   loss L,   Jacobian J = −∂Δθ/∂θ,   θ = (a, b, w).

At a fixed point of a manifold one eigenvalue of `J` is 0, so that with the trace `T` and the second
invariant `Q` (the sum of the principal minors) `det(λ − J) = λ (λ² − T λ + Q)`, and the others are
always closed: `λ± = T/2 ± √(T² − 4Q)/2`.

Limits: scalar parameters (numbers are taken as decimals of 15 digits); infinite horizon; `|w|, |w*| < 1` and,
with all lags kept, `|m w|, |m w*| < 1`, which is where square roots are simplified. `c = a* b*` throughout.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import sympy as sp
from sympy.printing.latex import latex_escape

from localgrad.models.aligned import Mode
from localgrad.modes import equations
from localgrad.modes.notation import (
    DECAY,
    FEEDBACK,
    SECOND_INVARIANT,
    STUDENT,
    TEACHER,
    TRACE,
    C,
    S,
    factored,
    negate,
    ordered_terms,
    present,
    square_root,
    to_latex,
    to_text,
)
from localgrad.rules.presets import make_rule, parameters_of
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Linearisation:
    """The flow's linearisation on a manifold of fixed points, in `s` or `w`, `w*`, `c` and the rule's parameters.

    `point` on the manifold, its `loss`, the `jacobian` (3 × 3, rows and columns `a, b, w`), its `trace` and
    `second_invariant`; eigenvalues are per unit of learning time.
    """

    point: Mode
    loss: sp.Expr
    jacobian: sp.ImmutableMatrix
    trace: sp.Expr
    second_invariant: sp.Expr

    @property
    def eigenvalues(self) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
        """`(0, λ₊, λ₋)`, explicit."""
        if self.trace == 0:
            root = square_root(-self.second_invariant)
            return sp.S.Zero, root, -root
        closed = _eigenvalues(TRACE, SECOND_INVARIANT)
        return tuple(x.xreplace({TRACE: self.trace, SECOND_INVARIANT: self.second_invariant}) for x in closed)


@dataclass(frozen=True)
class Derivation:
    """What follows from a rule on a mode; made by `derive`, rendered by `text`, `latex` and `to_dict`.

    `feedback` is `f`, `propagator` is `m`; `update` is `(Δa, Δb, Δw)`; `jacobian` is that of the flow at a general
    point; `non_optimal` is `None` unless the rule's feedback vanishes with `a`.
    """

    rule: Rule
    feedback: sp.Expr
    propagator: sp.Expr
    update: Mode
    loss: sp.Expr
    jacobian: sp.ImmutableMatrix
    optimal: Linearisation
    non_optimal: Linearisation | None

    @property
    def flow(self) -> Mode:
        """`dθ/dk = −Δθ`, with learning time `k` = learning rate × steps."""
        return Mode(*(negate(x) for x in self.update))

    def text(self, width: int = 100) -> str:
        """Plain Unicode text, one equation a line, broken between terms at `width` characters."""
        blocks = ["\n".join([title, *(x.text(width) for x in section)]) for title, section in self._sections()]
        return "\n\n".join([f"{self._title()}; c = a* b*", *blocks])

    def latex(self) -> str:
        """A LaTeX snippet, one `align*` a section; the document needs `amsmath`."""
        blocks = ["% needs \\usepackage{amsmath}", rf"\paragraph{{{latex_escape(self._title())}}} ($c = a^* b^*$)"]
        for title, section in self._sections():
            lines = " \\\\\n".join(x.latex() for x in section)
            title = re.sub(r"\b([fmJTQ])\b", r"$\1$", title)
            blocks.append(f"{title}:\n\\begin{{align*}}\n{lines}\n\\end{{align*}}")
        return "\n\n".join(blocks)

    def to_dict(self) -> dict[str, Any]:
        """Everything as strings that SymPy reads back (`a_star`, `b_star`, `w_star`, `a_hat`, `w_hat`, `c`, `s`)."""
        return {
            "rule": self.rule.name,
            "lags": self.rule.lags,
            "feedback": str(self.feedback),
            "propagator": str(self.propagator),
            "update": _mode_strings(self.update),
            "flow": _mode_strings(self.flow),
            "loss": str(self.loss),
            "jacobian": _matrix_strings(self.jacobian),
            "optimal_manifold": _manifold_strings(self.optimal),
            "non_optimal_manifold": None if self.non_optimal is None else _manifold_strings(self.non_optimal),
        }

    def _title(self) -> str:
        lags = "all lags" if self.rule.lags is None else f"{self.rule.lags} lag{'s' * (self.rule.lags > 1)}"
        return f"{self.rule.name}, {lags}"

    def _sections(self) -> "list[tuple[str, list[_Equation]]]":
        def of_mode(text: str, latex: str, mode: Mode) -> list[_Equation]:
            return [_Equation(text.format(x), latex.format(x), y) for x, y in zip("abw", mode, strict=True)]

        credit = [_Equation("f", "f", self.feedback), _Equation("m", "m", self.propagator)]
        sections = [
            ("Feedback f and propagator m", credit),
            ("Expected update", of_mode("Δ{}", r"\Delta {}", self.update)),
            ("Learning flow", of_mode("d{}/dk", r"\frac{{d{}}}{{dk}}", self.flow)),
            ("Loss", [_Equation("L", "L", self.loss)]),
            ("Jacobian J of the flow (entries not listed are 0)", _matrix_equations(self.jacobian)),
            ("On the optimal manifold, with T the trace of J and Q its second invariant", _on_manifold(self.optimal)),
        ]
        if self.non_optimal is not None:
            sections.append(("On the non-optimal manifold", _on_manifold(self.non_optimal)))
        return sections


def symbolic_rule(name: str, lags: int | None = None, feedback: Any = None, decay: Any = None) -> Rule:
    """The named rule `name` (see `make_rule`) on symbols: feedback `â` and decay `ŵ` where it needs them.

    **Arguments:** `name`; `lags`, `feedback`, `decay`: given to the preset instead (a number, or for the feedback
    `"symmetric"`, or `"random"` for the symbol `â` where the preset's own is symmetric).

    **Raises:** `ValueError` for an unknown name or a parameter the preset does not take.

    >>> symbolic_rule("rflo").feedback.on_mode(1.0)
    a_hat
    """
    given = {"feedback": FEEDBACK if isinstance(feedback, str) and feedback == "random" else feedback, "decay": decay}
    accepted = parameters_of(name)
    for key, symbol in (("feedback", FEEDBACK), ("decay", DECAY)):
        if given[key] is None and key in accepted and accepted[key].default is inspect.Parameter.empty:
            given[key] = symbol
    return make_rule(name, lags=lags, **given)


def derive(rule: Rule) -> Derivation:
    r"""The equations of a rule on a mode, symbolically.

    `Δθ = field(rule, (a, b, w), (a*, b*, w*))`, `J = −∂Δθ/∂θ`; on the optimal manifold `(s, c/s, w*)` and, where
    the feedback vanishes with `a`, on the non-optimal one `(0, 0, w)`.

    **Arguments:** `rule`: its parameters scalars, numbers or SymPy symbols, dimensionless.

    **Returns:** a `Derivation`.

    **Raises:** `ValueError` for parameters that are arrays or not finite.

    Source: the paper's equations 19–22; docs/theory.md, sections 5–7.

    >>> print(to_text(derive(symbolic_rule("rflo")).update.b))
    a â b/(1 − w ŵ) − â a* b*/(1 − ŵ w*)
    """
    rule = jax.tree.map(_exact, rule)
    update = Mode(*(present(x) for x in equations.field(rule, STUDENT, TEACHER)))
    loss = present(equations.loss(STUDENT, TEACHER))
    jacobian = sp.ImmutableMatrix(3, 3, lambda i, j: negate(present(sp.diff(update[i], STUDENT[j]))))
    feedback = sp.sympify(rule.feedback.on_mode(STUDENT.a))
    vanishes = feedback.xreplace({STUDENT.a: sp.S.Zero}) == 0
    return Derivation(
        rule=rule,
        feedback=feedback,
        propagator=sp.sympify(rule.propagator.on_mode(STUDENT.w)),
        update=update,
        loss=loss,
        jacobian=jacobian,
        optimal=_linearise(jacobian, loss, Mode(S, C / S, TEACHER.w)),
        non_optimal=_linearise(jacobian, loss, Mode(sp.S.Zero, sp.S.Zero, STUDENT.w)) if vanishes else None,
    )


def _exact(value: Any) -> sp.Expr:
    """A rule's parameter, with numbers as the decimals they round to: 0.1 is 1/10."""
    if np.ndim(value) > 0:
        raise ValueError(f"derive needs scalar parameters, got an array of shape {np.shape(value)}; derive one mode")
    expression = sp.sympify(value if isinstance(value, sp.Expr) else float(value))
    if expression.is_finite is False or expression is sp.nan:
        raise ValueError(f"a parameter of the rule is {value}; derive needs finite numbers or symbols")
    return expression.xreplace({x: sp.Rational(f"{float(x):.15g}") for x in expression.atoms(sp.Float)})


def _linearise(jacobian: sp.ImmutableMatrix, loss: sp.Expr, point: Mode) -> Linearisation:
    there = dict(zip(STUDENT, point, strict=True)) | {TEACHER.a: C, TEACHER.b: sp.S.One}
    J = jacobian.applyfunc(lambda x: factored(x.xreplace(there)))
    minors = [J[i, i] * J[j, j] - J[i, j] * J[j, i] for i, j in ((0, 1), (0, 2), (1, 2))]
    return Linearisation(point, factored(loss.xreplace(there)), J, J.trace(), factored(sum(minors)))


def _eigenvalues(trace: sp.Expr, second_invariant: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    root = sp.sqrt(trace**2 - 4 * second_invariant)
    return sp.S.Zero, trace / 2 + root / 2, trace / 2 - root / 2


# --- Rendering -------------------------------------------------------------------------------------------------------


class _Equation(NamedTuple):
    """`left = value`, with the left side as text and as LaTeX."""

    left: str
    left_latex: str
    value: sp.Basic

    def text(self, width: int) -> str:
        """A sum is broken between its terms, and within a term only where that is longer than a line."""
        start, indent = f"  {self.left} =", " " * (len(self.left) + 4)
        terms = [f" {x}" for x in self._signed(to_text, "−")]
        lines = _fill([start + terms[0], *terms[1:]], width, indent)
        return "\n".join(x for line in lines for x in _fill(re.split(r"(?= [+−] )", line), width, indent + "  "))

    def latex(self, width: int = 100) -> str:
        """A row of `align*`; a sum is broken where, as text, it would be longer than `width`."""
        line, filled = f"{self.left_latex} &=", 0
        for size, piece in zip(map(len, self._signed(to_text, "−")), self._signed(to_latex, "-"), strict=True):
            if filled and filled + size > width:
                line, filled = line + " \\\\\n&\\quad", 0
            line, filled = f"{line} {piece}", filled + size
        return line

    def _signed(self, write: Callable[[sp.Basic], str], minus: str) -> list[str]:
        """The terms as written, each but the first led by its sign."""
        terms = ordered_terms(self.value) if isinstance(self.value, sp.Add) else [self.value]
        first, *others = (write(x) for x in terms)
        signed = [f"{minus} {x[1:].lstrip()}" if x.startswith(minus) else f"+ {x}" for x in others]
        return [first, *signed]


def _fill(pieces: list[str], width: int, indent: str) -> list[str]:
    """Lines of at most `width` characters where the pieces allow it."""
    lines = pieces[:1]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) <= width:
            lines[-1] += piece
        else:
            lines.append(indent + piece.lstrip())
    return lines


def _matrix_equations(matrix: sp.ImmutableMatrix) -> list[_Equation]:
    pairs = [(i, j) for i in range(3) for j in range(3) if matrix[i, j] != 0]
    return [_Equation("J_" + "abw"[i] + "abw"[j], f"J_{{{'abw'[i]}{'abw'[j]}}}", matrix[i, j]) for i, j in pairs]


def _on_manifold(at: Linearisation) -> list[_Equation]:
    eigenvalues = at.eigenvalues if at.trace == 0 else _eigenvalues(TRACE, SECOND_INVARIANT)
    names = (("λ₀", r"\lambda_0"), ("λ₊", r"\lambda_+"), ("λ₋", r"\lambda_-"))
    return [
        _Equation("(a, b, w)", "(a, b, w)", sp.Tuple(*at.point)),
        _Equation("L", "L", at.loss),
        *_matrix_equations(at.jacobian),
        _Equation("T", "T", at.trace),
        _Equation("Q", "Q", at.second_invariant),
        *(_Equation(*name, value) for name, value in zip(names, eigenvalues, strict=True)),
    ]


def _mode_strings(mode: Mode) -> dict[str, str]:
    return {letter: str(x) for letter, x in mode._asdict().items()}


def _matrix_strings(matrix: sp.ImmutableMatrix) -> list[list[str]]:
    return [[str(x) for x in row] for row in matrix.tolist()]


def _manifold_strings(at: Linearisation) -> dict[str, Any]:
    return {
        "point": _mode_strings(at.point),
        "loss": str(at.loss),
        "jacobian": _matrix_strings(at.jacobian),
        "trace": str(at.trace),
        "second_invariant": str(at.second_invariant),
        "eigenvalues": [str(x) for x in at.eigenvalues],
    }
