r"""A learning rule is three choices, written once.

Backpropagation through time carries the output error back through lag `j` by `(J^j)ᵀ Aᵀ`, with `J`
the state Jacobian (`W` in a linear network) and `A` the readout. Every rule here carries it by

    (M^j)ᵀ Fᵀ,   0 ≤ j < lags,

and differs from the others only in

- **feedback** `F = symmetric · A + fixed`: what projects the output error to the hidden units,
- **propagator** `M = full · J + diagonal · diag(J) + decay · I`: what carries credit one step back,
- **lags**: how many steps back are kept.

From such an object follow the exact expected update (`expected.py`), the mode equations (`modes.py`)
and their symbolic form (`symbolic.py`): none of them knows any rule by name. A new rule is a new
preset at the end of this file, and gets every analysis for nothing.

The readout's own update `ΔA` never differs between rules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Feedback(eqx.Module):
    r"""`F = symmetric · A + fixed`: what projects the output error to the hidden units.

    A term that is `None` is absent. `fixed` is a matrix of shape `"output hidden"` for a network, and a
    scalar or broadcasting array for modes; `symmetric` is a scalar. Both are dimensionless.
    """

    symmetric: Any = None
    fixed: Any = None

    def __call__(self, readout: Any) -> Any:
        """`F` for a readout `A` (shape `"output hidden"`), or `f` for a mode's readout `a`."""
        return _sum_of_terms((self.symmetric, readout), (self.fixed, 1))

    @classmethod
    def blend(cls, share: Any, fixed: Any) -> Feedback:
        """`(1 − share) A + share · fixed`: from symmetric (`share = 0`) to fixed feedback (`share = 1`)."""
        return cls(symmetric=1 - share, fixed=share * fixed)


class Propagator(eqx.Module):
    r"""`M = full · J + diagonal · diag(J) + decay · I`: what carries credit one step back in time.

    A term that is `None` is absent. `full` and `diagonal` are scalars; `decay` is a scalar or, with one
    decay a unit, a vector of shape `"hidden"`. All are dimensionless. `decay` may broadcast for modes.
    """

    full: Any = None
    diagonal: Any = None
    decay: Any = None

    def __call__(self, jacobian: Float[Array, "hidden hidden"]) -> Float[Array, "hidden hidden_or_one"]:
        """`M` for a state Jacobian, in the cheapest form that holds it.

        Dense with shape `"hidden hidden"`; a diagonal `M` as the column of its entries, shape
        `"hidden 1"`; a multiple of the identity as shape `"1 1"`. For the last two `MᵀX = M * X`.
        """
        elementwise = []
        if self.diagonal is not None:
            elementwise.append(self.diagonal * jnp.diagonal(jacobian, axis1=-2, axis2=-1)[..., None])
        if self.decay is not None:
            elementwise.append(jnp.asarray(self.decay, jacobian.dtype).reshape(-1, 1))
        column = sum(elementwise) if elementwise else None
        if self.full is None:
            return jnp.zeros((1, 1), jacobian.dtype) if column is None else column
        dense = self.full * jacobian
        return dense if column is None else dense + column * jnp.eye(jacobian.shape[-1], dtype=jacobian.dtype)

    def on_mode(self, w: Any) -> Any:
        """`m` for a mode's recurrent weight `w`, whose Jacobian is its own diagonal."""
        return _sum_of_terms((self.full, w), (self.diagonal, w), (self.decay, 1))

    @classmethod
    def blend(cls, share: Any, decay: Any) -> Propagator:
        """`(1 − share) J + share · decay · I`: from the full Jacobian to a fixed decay."""
        return cls(full=1 - share, decay=share * decay)


def _sum_of_terms(*terms: tuple[Any, Any]) -> Any:
    """`Σ coefficient · value` over the terms present; plain arithmetic, so SymPy passes through."""
    present = [coefficient * value for coefficient, value in terms if coefficient is not None]
    return sum(present[1:], start=present[0]) if present else 0.0


class Rule(eqx.Module):
    r"""Any point of the rule space: credit travels back through lag `j` by `(M^j)ᵀ Fᵀ`.

    **Arguments:**

    - `feedback`: a `Feedback`, `"symmetric"` (`F = A`), or the fixed `F` itself (a matrix of shape
        `"output hidden"`; for modes a scalar or broadcasting array).
    - `propagator`: a `Propagator`, `"full"` (`M = J`), `"diagonal"` (`M = diag J`), or a decay (a number
        for `M = ŵ I`, a vector of shape `"hidden"` for one decay a unit).
    - `lags`: how many lags are kept, a positive whole number in steps; `None` keeps all of them.
    - `name`: how reports call the rule.

    **Raises:** `ValueError` for an unknown word or `lags` below 1.

    Source: the paper's rules are corners of this space; docs/theory.md, section 2.

    >>> Rule(feedback=1.0, propagator="full").describe()
    'custom: F = 1, M = J, all lags'
    """

    feedback: Feedback
    propagator: Propagator
    lags: int | None = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(
        self, feedback: Any = "symmetric", propagator: Any = "full", lags: int | None = None, *, name: str = "custom"
    ):
        self.feedback = _as_feedback(feedback)
        self.propagator = _as_propagator(propagator)
        self.lags = _check_lags(lags)
        self.name = name

    def describe(self) -> str:
        """One line: name, feedback, propagator and lags."""
        fixed, decay = self.feedback.fixed, self.propagator.decay
        F = _describe_terms((self.feedback.symmetric, "A"), (fixed, "R" if np.ndim(fixed) else ""))
        identity = "diag γ" if np.ndim(decay) else "I"
        terms = ((self.propagator.full, "J"), (self.propagator.diagonal, "diag J"), (decay, identity))
        lags = "all lags" if self.lags is None else f"{self.lags} lag{'s' * (self.lags > 1)}"
        return f"{self.name}: F = {F}, M = {_describe_terms(*terms)}, {lags}"


def _as_feedback(value: Any) -> Feedback:
    if isinstance(value, Feedback):
        return value
    if isinstance(value, str):
        if value != "symmetric":
            raise ValueError(f"unknown feedback {value!r}; use 'symmetric', a fixed feedback or a Feedback")
        return Feedback(symmetric=1)
    return Feedback(fixed=_as_numbers(value))


def _as_propagator(value: Any) -> Propagator:
    if isinstance(value, Propagator):
        return value
    if isinstance(value, str):
        if value not in ("full", "diagonal"):
            raise ValueError(f"unknown propagator {value!r}; use 'full', 'diagonal', a decay or a Propagator")
        return Propagator(**{value: 1})
    return Propagator(decay=_as_numbers(value))


def _as_numbers(value: Any) -> Any:
    """Sequences become arrays; numbers, arrays, tracers and symbols stay what they are."""
    return np.asarray(value, dtype=float) if isinstance(value, list | tuple) else value


def _check_lags(lags: Any) -> int | None:
    if lags is None:
        return None
    if isinstance(lags, bool) or not isinstance(lags, int | np.integer) or lags < 1:
        raise ValueError(f"lags must be a whole number of at least 1, or None for all lags; got {lags!r}")
    return int(lags)


def _describe_terms(*terms: tuple[Any, str]) -> str:
    """`2·A + R`: each term present as its number and symbol, or as its symbol alone where the number is 1 or many."""
    words = []
    for coefficient, symbol in terms:
        if coefficient is None:
            continue
        number = "" if np.ndim(coefficient) > 0 or coefficient == 1 else str(coefficient)
        words.append("·".join(filter(None, (number, symbol))) or "1")
    return " + ".join(words) or "0"


# --- The named rules -------------------------------------------------------------------------------------------------
# Each is a point of the space above; `localgrad.rules.PRESETS` makes it known to the command line and to the
# conformance tests.


def BPTT() -> Rule:
    """Backpropagation through time: `F = A`, `M = J`, all lags; in the expected update also RTRL.

    Source: Williams & Zipser 1989; the paper's reference rule.
    """
    return Rule("symmetric", "full", name="BPTT")


def TruncatedBPTT(lags: int = 1) -> Rule:
    """Truncated BPTT: `F = A`, `M = J`, the first `lags` lags (steps, at least 1). The paper's is `lags=1`.

    Source: Williams & Peng 1990; the paper's case is one lag.
    """
    return Rule("symmetric", "full", lags, name=f"tBPTT({lags})")


def RFLO(feedback: Any, decay: Any) -> Rule:
    """Random feedback local online learning: `F` fixed, `M = decay · I`, all lags.

    **Arguments:** `feedback`: fixed `R` of shape `"output hidden"` (a scalar `â` for modes), or `"symmetric"`;
    `decay`: `ŵ`, dimensionless, a number or one a unit (the form of KeRNL's kernel).

    Source: Murray 2019; docs/theory.md, section 2.
    """
    return Rule(feedback, decay, name="RFLO")


def EProp(feedback: Any = "symmetric") -> Rule:
    """e-prop: `M = diag J`, all lags; feedback symmetric by default (then SnAp-1) or a fixed `"output hidden"`.

    Source: Bellec et al. 2020; Menick et al. 2021 for SnAp-1.
    """
    kind = "symmetric" if isinstance(feedback, str) else "random"
    return Rule(feedback, "diagonal", name=f"e-prop ({kind})")


def FeedbackAlignment(feedback: Any) -> Rule:
    """BPTT with a fixed feedback (shape `"output hidden"`, a scalar for modes): `M = J`, all lags.

    Source: Lillicrap et al. 2016.
    """
    return Rule(feedback, "full", name="feedback alignment")


def ThreeFactor(feedback: Any) -> Rule:
    """A three-factor rule without an eligibility trace: fixed feedback and the first lag only.

    Source: Gerstner et al. 2018.
    """
    return Rule(feedback, Propagator(), lags=1, name="three-factor")


PRESETS: dict[str, Callable[..., Rule]] = {
    "bptt": BPTT,
    "tbptt": TruncatedBPTT,
    "rflo": RFLO,
    "eprop": EProp,
    "feedback-alignment": FeedbackAlignment,
    "three-factor": ThreeFactor,
}


def parameters_of(name: str) -> Mapping[str, inspect.Parameter]:
    """The parameters that the preset called `name` takes; `ValueError` for an unknown name."""
    if name not in PRESETS:
        raise ValueError(f"unknown rule {name!r}; known rules: {', '.join(PRESETS)}")
    return inspect.signature(PRESETS[name]).parameters


def make_rule(name: str, **parameters: Any) -> Rule:
    """The preset called `name` (see `PRESETS`), from those of its parameters that are not `None`.

    **Raises:** `ValueError` for an unknown name, a parameter the rule does not take, or one it lacks.

    >>> make_rule("rflo", feedback=1.0, decay=0.5, lags=None).name
    'RFLO'
    """
    given = {key: value for key, value in parameters.items() if value is not None}
    accepted = parameters_of(name)
    if surplus := sorted(set(given) - set(accepted)):
        takes = ", ".join(accepted) or "no parameters"
        raise ValueError(f"rule {name!r} takes {takes}; leave out {', '.join(surplus)}")
    required = {key for key, p in accepted.items() if p.default is inspect.Parameter.empty}
    if missing := sorted(required - set(given)):
        raise ValueError(f"rule {name!r} needs {', '.join(missing)}; give a value for each")
    return PRESETS[name](**given)
