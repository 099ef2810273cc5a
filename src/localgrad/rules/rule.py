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

from typing import Any

import equinox as eqx
import numpy as np

from localgrad.rules.terms import Feedback, Propagator


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
