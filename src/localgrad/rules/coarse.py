r"""Coarse feedback: a feedback, fixed or the readout itself, as hardware of few bits and few wires sends it.

    F = coarse(R),   F = coarse(A)

`Quantized` rounds a matrix to multiples of a step; `SignSymmetric` keeps its signs and `Mask` some of its entries
(`shipped.py`). Each is a term of the readout; `Coarse` applies such terms to any other feedback, one after the other,
so that they compose with every rule: `rule.with_feedback(Coarse(rule.feedback, Quantized(0.25)))`.

Limits: what is coarse here is the feedback, which is linear in the error all the same. Quantised traces and weights
are not, and have no exact updates.

Source: docs/imperfections.md.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from localgrad.checks import check_positive, in_words
from localgrad.rules.numbers import as_numbers, is_absent, is_zero
from localgrad.rules.parts import Feedback, as_feedback
from localgrad.rules.terms import Affine, Term


class Quantized(Term):
    r"""Entries rounded to the nearest multiple of a step, and cut where they leave a range: `step · round(X/step)`.

    With a limit that is a multiple of the step, `2 · limit/step + 1` values are left; halves are rounded up.

    **Arguments:** `step`: positive; `limit`: the largest size of an entry, positive, `None` for no limit. Numbers,
    dimensionless.

    Source: none; the rounding of a converter of few bits.

    >>> Quantized(0.5, limit=1.0)(jnp.array([[0.7, -0.1, 3.0]])).tolist()
    [[0.5, 0.0, 1.0]]
    """

    step: Any
    limit: Any

    def __init__(self, step: Any, limit: Any = None):
        self.step, self.limit = as_numbers(step, "the step of Quantized"), as_numbers(limit, "the limit of Quantized")
        for name, value in (("step", self.step), ("limit", self.limit)):
            if not is_absent(value):
                check_positive(f"the {name} of Quantized", value)

    def __call__(self, matrix: Any) -> Any:
        """The matrix in multiples of the step; of a complex one real and imaginary parts apart."""
        if jnp.iscomplexobj(matrix):
            return self(matrix.real) + 1j * self(matrix.imag)
        return self.on_mode(matrix)

    def on_mode(self, x: Any) -> Any:
        """The number in multiples of the step, also of symbols."""
        if hasattr(x, "free_symbols"):
            import sympy

            value = self.step * sympy.floor(x / self.step + sympy.Rational(1, 2))
            return value if self.limit is None else sympy.Min(sympy.Max(value, -self.limit), self.limit)
        arithmetic = jnp if isinstance(x, jnp.ndarray) else np
        value = self.step * arithmetic.floor(x / self.step + 0.5)
        return value if self.limit is None else arithmetic.clip(value, -self.limit, self.limit)

    def describe(self, matrix: str) -> str:
        """The matrix, and in what steps."""
        return f"{matrix} in steps of {self.step}"


class Coarse(Term):
    r"""Another feedback as it looks through terms, the first one nearest to it: `F = … t₂(t₁(feedback(A)))`.

    **Arguments:** `feedback`: as that of a `Rule`, one that does not learn; `terms`: of the readout, such as
    `Quantized`, `SignSymmetric`, `Mask`.

    **Raises:** `ValueError` for what is no feedback, for a term that is none or learns, and without any term.

    Source: docs/imperfections.md.

    >>> from localgrad.rules.rule import Rule
    >>> Rule(Coarse([[0.7, -0.1]], Quantized(0.5)), 0.5).describe()
    'custom: F = R in steps of 0.5, M = 0.5·I, all lags'
    """

    feedback: Feedback
    through: tuple[Term, ...]

    def __init__(self, feedback: Any, *terms: Term):
        self.feedback, self.through = as_feedback(feedback), terms
        if not terms:
            raise ValueError("a coarse feedback needs a term, such as localgrad.Quantized(0.25); give one")
        for term in (*self.feedback.terms, *terms):
            if isinstance(term, type) or not isinstance(term, Term):
                raise ValueError(f"what makes a feedback coarse must be localgrad.Terms; got {in_words(term)}")
            if term.learns:
                raise ValueError(f"the term {type(term).__name__} learns, which a coarse feedback cannot; leave it out")

    def __call__(self, matrix: Any) -> Any:
        """`F` for a readout."""
        found = self.feedback(matrix).astype(matrix.dtype)
        for term in self.through:
            found = term(found)
        return found

    def on_mode(self, x: Any) -> Any:
        """`f` for a mode's readout."""
        found = self.feedback.on_mode(x)
        for term in self.through:
            found = term.on_mode(found)
        return found

    @property
    def affine(self) -> Affine | None:
        """That of terms one after the other; of a feedback that owes nothing to `a`, its number."""
        found = self.feedback.affine
        for term in self.through:
            if found is not None and is_zero(found[1]):
                found = term.on_mode(np.asarray(found[0])[()]), 0.0
            else:
                own = term.affine
                found = None if found is None or own is None else (own[0] + own[1] * found[0], own[1] * found[1])
        return found

    def describe(self, matrix: str) -> str:
        """The feedback, and what becomes of it."""
        words = "A" if self.feedback.is_symmetric else "R"
        for term in self.through:
            words = term.describe(words)
        return words
