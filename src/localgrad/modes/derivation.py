r"""The equations of a rule, derived on symbols from the one definition that also computes them.

`modes.equations.field` is run on SymPy symbols; what follows is calculus:

    update Δθ,   flow dθ/dk = −Δθ,   loss L,   Jacobian J = −∂Δθ/∂θ,   θ = (a, b, w).

At a fixed point of a manifold one eigenvalue of `J` is 0, so that with the trace `T` and the second
invariant `Q` (the sum of the principal minors) `det(λ − J) = λ (λ² − T λ + Q)`, and the others are
always closed: `λ± = T/2 ± √(T² − 4Q)/2`.

With poles `w = g(ν)` the update of `w` is told as it moves, `ρ(w) Δw` with `ρ = g′²`.

Limits: scalar parameters (numbers are taken as decimals of 15 digits); infinite horizon; `|w|, |w*| < 1` and,
with all lags kept, `|m w|, |m w*| < 1`, which is where square roots are simplified. `c = a* b*` throughout.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import sympy as sp

from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, Poles, find_poles
from localgrad.modes import equations, rendering
from localgrad.modes.arguments import as_rule
from localgrad.modes.notation import (
    DECAY,
    FEEDBACK,
    SECOND_INVARIANT,
    STUDENT,
    TEACHER,
    TRACE,
    C,
    S,
    closed_eigenvalues,
    factored,
    negate,
    present,
    square_root,
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
        closed = closed_eigenvalues(TRACE, SECOND_INVARIANT)
        return tuple(x.xreplace({TRACE: self.trace, SECOND_INVARIANT: self.second_invariant}) for x in closed)


@dataclass(frozen=True)
class Derivation:
    """What follows from a rule on a mode; made by `derive`, rendered by `text`, `latex` and `to_dict`.

    `feedback` is `f`, `propagator` is `m`; `update` is `(Δa, Δb, ρ Δw)`, with `ρ = 1` for direct `poles`; `jacobian` is
    that of the flow at a general point; `non_optimal` is `None` unless the rule's feedback vanishes with `a`.
    """

    rule: Rule
    feedback: sp.Expr
    propagator: sp.Expr
    update: Mode
    loss: sp.Expr
    jacobian: sp.ImmutableMatrix
    optimal: Linearisation
    non_optimal: Linearisation | None
    poles: Poles = DIRECT

    @property
    def flow(self) -> Mode:
        """`dθ/dk = −Δθ`, with learning time `k` = learning rate × steps."""
        return Mode(*(negate(x) for x in self.update))

    def text(self, width: int = 100) -> str:
        """Plain Unicode text, one equation a line, broken between terms at `width` characters."""
        return rendering.as_text(self, width)

    def latex(self) -> str:
        """A LaTeX snippet, one `align*` a section; the document needs `amsmath`."""
        return rendering.as_latex(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as strings that SymPy reads back (`a_star`, `b_star`, `w_star`, `a_hat`, `w_hat`, `c`, `s`)."""
        return rendering.as_dict(self)

    def __repr__(self) -> str:
        equations = ", ".join(f"Δ{letter} = {to_text(x)}" for letter, x in zip("abw", self.update, strict=True))
        return f"Derivation({rendering.title_of(self)}: {equations})"


def symbolic_rule(
    name: str, lags: int | None = None, feedback: Any = None, decay: Any = None, delay: int | None = None
) -> Rule:
    """The named rule `name` (see `make_rule`) on symbols: feedback `â` and decay `ŵ` where it needs them.

    **Arguments:** `name`; `delay` as in `make_rule`; `lags`, `feedback`, `decay`: given to the preset instead (a
    number, or for the feedback `"symmetric"`, or `"random"` for the symbol `â` where the preset's own is symmetric).

    **Raises:** `ValueError` for an unknown name or a parameter the preset does not take.

    >>> symbolic_rule("rflo").feedback.on_mode(1.0)
    a_hat
    """
    given = {"feedback": FEEDBACK if isinstance(feedback, str) and feedback == "random" else feedback, "decay": decay}
    accepted = parameters_of(name)
    for key, symbol in (("feedback", FEEDBACK), ("decay", DECAY)):
        if given[key] is None and key in accepted and accepted[key].default is inspect.Parameter.empty:
            given[key] = symbol
    return make_rule(name, lags=lags, delay=delay, **given)


def derive(rule: Rule, *, poles: str | Poles = "direct") -> Derivation:
    r"""The equations of a rule on a mode, symbolically.

    `Δθ = field(rule, (a, b, w), (a*, b*, w*))`, `J = −∂Δθ/∂θ`; on the optimal manifold `(s, c/s, w*)` and, where
    the feedback vanishes with `a`, on the non-optimal one `(0, 0, w)`.

    **Arguments:** `rule`: its parameters scalars, numbers or SymPy symbols, dimensionless; `poles` as in `mode_update`.

    **Returns:** a `Derivation`.

    **Raises:** `ValueError` for parameters that are arrays or not finite, a feedback that learns, and terms whose
    `on_mode` does not run on symbols, unless they say that they are `k₀ + k₁ x`.

    Source: the paper's equations 19–22; docs/theory.md, sections 5–7.

    >>> print(to_text(derive(symbolic_rule("rflo")).update.b))
    a â b/(1 − w ŵ) − â a* b*/(1 − ŵ w*)
    """
    rule, poles = jax.tree.map(_exact, as_rule(rule)), find_poles(poles)
    on_symbols = _on_symbols(rule)
    feedback, propagator = (
        sp.sympify(part.on_mode(x))
        for part, x in ((on_symbols.feedback, STUDENT.a), (on_symbols.propagator, STUDENT.w))
    )
    update = Mode(*(present(x) for x in equations.field(on_symbols, STUDENT, TEACHER, poles)))
    loss = present(equations.loss(STUDENT, TEACHER))
    jacobian = sp.ImmutableMatrix(3, 3, lambda i, j: negate(present(sp.diff(update[i], STUDENT[j]))))
    optimal, silent = Mode(S, C / S, TEACHER.w), Mode(sp.S.Zero, sp.S.Zero, STUDENT.w)
    return Derivation(
        rule=rule,
        feedback=feedback,
        propagator=propagator,
        update=update,
        loss=loss,
        jacobian=jacobian,
        optimal=_linearise(jacobian, loss, optimal),
        non_optimal=_linearise(jacobian, loss, silent) if _vanishes_smoothly(feedback) else None,
        poles=poles,
    )


def _on_symbols(rule: Rule) -> Any:
    """The rule, or its linear form where a term's `on_mode` does not run on symbols but is linear by its own word."""
    try:
        sp.sympify((rule.feedback.on_mode(STUDENT.a), rule.propagator.on_mode(STUDENT.w)))
        return rule
    except Exception as error:
        if not rule.terms:
            raise
        if rule.affine is not None:
            line = equations.linearised(rule, STUDENT)
            feedback, propagator = (equations.Line(*map(_exact, part)) for part in (line.feedback, line.propagator))
            return equations.LinearRule(feedback, propagator, line.lags, line.delay)
        if isinstance(error, ValueError) and "the term" in str(error):  # it has no on_mode
            raise
        names = ", ".join(dict.fromkeys(type(term).__name__ for term in rule.terms))
        raise ValueError(
            f"on_mode of {names} does not run on symbols ({type(error).__name__}); write it in plain arithmetic, or "
            "give the term's affine form"
        ) from error


def _vanishes_smoothly(feedback: sp.Expr) -> bool:
    """Whether the feedback is 0 at `a = 0` and has a slope there: only then is there a Jacobian."""
    slope = sp.diff(feedback, STUDENT.a).subs(STUDENT.a, 0)
    return feedback.subs(STUDENT.a, 0) == 0 and not slope.has(sp.DiracDelta, sp.nan, sp.zoo, sp.oo, sp.Derivative)


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
