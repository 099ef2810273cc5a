r"""What a rule is made of: the feedback `F` and the propagator `M`.

    F = symmetric · A + fixed + Σ terms(A)
    M = full · J + diagonal · diag(J) + internal · J₀ + decay · I + Σ terms(J)

with the readout `A`, the state Jacobian `J`, and its *internal* part `J₀`: what a unit carries over by itself, without
any recurrent weight, such as `1 − α` where it leaks; 0 in a network without a leak. Their structure is asked, never
inferred from arrays: whether `M` is the Jacobian, diagonal or a multiple of the identity, and what both are on a mode.

Limits: coefficients are numbers; what singles out units or weights is a `Term` (`terms.py`).
"""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from localgrad.checks import in_our_arithmetic
from localgrad.rules.final import Final
from localgrad.rules.numbers import as_numbers, given_numbers
from localgrad.rules.terms import Affine, ComplexFeedback, Summand, Term, checked_terms, parts_of, value_on_mode


class Feedback(Final, Summand, eqx.Module, final=True):
    r"""`F = symmetric · A + fixed + Σ terms`: what projects the output error to the hidden units.

    A part that is `None` is absent. `fixed` is a matrix of shape `"output hidden"` for a network, with a leading axis
    `"seeds"` for one a seed, and a scalar or broadcasting array for modes. `symmetric` is a number (for modes, it may
    broadcast). `terms` are `Term`s. All are dimensionless.

    **Raises:** `ValueError` for what is no real number; `TypeError` for a subclass, since a feedback of one's own is a
    `Term`.

    >>> Feedback.blend(0.25, 2.0).on_mode(1.0)  # 0.75 a + 0.25 · 2
    1.25
    """

    symmetric: Any
    fixed: Any
    terms: tuple[Term, ...]
    _is_final = True

    def __init__(self, symmetric: Any = None, fixed: Any = None, terms: tuple[Term, ...] = ()):
        self.symmetric = as_numbers(symmetric, "symmetric, the share of A in the feedback,")
        self.fixed = as_numbers(fixed, "the fixed feedback")
        self.terms = checked_terms(terms)

    def __call__(self, readout: Float[Array, "output hidden"]) -> Float[Array, "output hidden"]:
        """`F` for a network's readout `A`."""
        self.check_numbers()
        parts = [(self.symmetric, readout), (self.fixed, 1), *((1, term(readout)) for term in self.terms)]
        return _sum_of_terms(*parts, absent=lambda: jnp.zeros_like(readout))

    def on_mode(self, a: Any) -> Any:
        """`f` for a mode's readout `a`."""
        return _sum_of_terms(
            (self.symmetric, a), (self.fixed, 1), *((1, value_on_mode(term, a)) for term in self.terms)
        )

    def check_numbers(self) -> None:
        """`ValueError` where `symmetric` would broadcast over a network's `A`."""
        _check_number("symmetric", self.symmetric, "the share of A in the feedback")

    @property
    def affine(self) -> Affine | None:
        """`(φ₀, φ₁)` where a mode's feedback is `φ₀ + φ₁ a`, else `None`."""
        return _affine(self.fixed, self.symmetric, self.terms)

    @property
    def is_symmetric(self) -> bool:
        """Whether `F = A`."""
        return is_one(self.symmetric) and self.fixed is None and not self.terms

    @property
    def is_random(self) -> bool:
        """Whether `F` is a matrix of its own that owes nothing to `A`."""
        return self.symmetric is None and self.fixed is not None and not self.terms

    @classmethod
    @in_our_arithmetic
    def blend(cls, share: Any, fixed: Any) -> Feedback:
        """`(1 − share) A + share · fixed`, from symmetric to fixed; `Rule.describe` calls `share · fixed` `R`."""
        share, fixed = (given_numbers(x, what) for x, what in ((share, "the share"), (fixed, "the fixed feedback")))
        return cls(symmetric=1 - share, fixed=share * fixed)


class Propagator(Final, Summand, eqx.Module, final=True):
    r"""`M = full · J + diagonal · diag(J) + internal · J₀ + decay · I + Σ terms`: carries credit a step back in time.

    A part that is `None` is absent. `full`, `diagonal`, `internal` are numbers; `decay` is a number or, one a unit, a
    vector of shape `"hidden"`; for modes they may broadcast. `terms` are `Term`s. All are dimensionless.

    **Raises:** `ValueError` for what is no real number, and for a term that learns; `TypeError` for a subclass.

    >>> Propagator.blend(0.5, decay=0.8).on_mode(0.5)  # 0.5 w + 0.5 · 0.8
    0.65
    """

    full: Any
    diagonal: Any
    decay: Any
    terms: tuple[Term, ...]
    internal: Any
    _is_final = True

    def __init__(
        self,
        full: Any = None,
        diagonal: Any = None,
        decay: Any = None,
        terms: tuple[Term, ...] = (),
        internal: Any = None,
    ):
        self.full = as_numbers(full, "full, the share of J in the propagator,")
        self.diagonal = as_numbers(diagonal, "diagonal, the share of diag(J) in the propagator,")
        self.decay = as_numbers(decay, "the decay")
        self.internal = as_numbers(internal, "internal, the share of what a unit carries over by itself,")
        self.terms = checked_terms(terms)
        for term in self.terms:
            if term.learns:
                raise ValueError(
                    f"the term {type(term).__name__} learns, which only a feedback may; give it as feedback"
                )

    def __call__(
        self, jacobian: Float[Array, "hidden hidden"], internal: Float[Array, "hidden_or_one 1"] | None = None
    ) -> Float[Array, "hidden hidden_or_one"]:
        """`M` for a state Jacobian and its internal part, a column or `None` for 0; in the cheapest form that holds it.

        Dense with shape `"hidden hidden"`; a diagonal `M` as the column of its entries, shape
        `"hidden 1"`; a multiple of the identity as shape `"1 1"`. For the last two `MᵀX = M * X`.
        """
        self.check_numbers()
        columns = [term(jacobian) for term in self.terms if term.is_elementwise]
        if self.diagonal is not None:
            columns.append(self.diagonal * jnp.diagonal(jacobian, axis1=-2, axis2=-1)[..., None])
        if self.decay is not None:
            columns.append(jnp.asarray(self.decay, jacobian.dtype).reshape(-1, 1))
        if self.internal is not None and internal is not None:
            columns.append(self.internal * internal)
        matrices = [term(jacobian) for term in self.terms if not term.is_elementwise]
        if self.full is not None:
            matrices.append(self.full * jacobian)
        column = sum(columns[1:], start=columns[0]) if columns else None
        if not matrices:
            return jnp.zeros((1, 1), jacobian.dtype) if column is None else column
        dense = sum(matrices[1:], start=matrices[0])
        return dense if column is None else dense + column * jnp.eye(jacobian.shape[-1], dtype=jacobian.dtype)

    def with_internal(self, internal: Any) -> Propagator:
        """The same propagator where `J₀` is known and constant: its share becomes a decay, of each unit its own."""
        if self.internal is None:
            return self
        decay = _added([self.decay, self.internal * jnp.ravel(jnp.asarray(internal))])
        return Propagator(self.full, self.diagonal, decay, self.terms)

    def on_diagonal(self, entries: Any) -> Any:
        """`m` for a diagonal Jacobian, which is all internal, by the vector of its entries: a number or one a unit.

        Its terms must be elementwise (`trials.py`).
        """
        self.check_numbers()
        own = ((1, term(jnp.diag(entries))[..., 0]) for term in self.terms)
        return _sum_of_terms(
            (self.full, entries), (self.diagonal, entries), (self.internal, entries), (self.decay, 1), *own
        )

    def on_mode(self, w: Any) -> Any:
        """`m` for a mode's recurrent weight `w`, which is its Jacobian and the diagonal of it; `J₀ = 0`."""
        own = ((1, value_on_mode(term, w)) for term in self.terms)
        return _sum_of_terms((self.full, w), (self.diagonal, w), (self.decay, 1), *own)

    def check_numbers(self) -> None:
        """`ValueError` where a coefficient would broadcast over a network's `J`."""
        _check_number("full", self.full, "the share of J in the propagator")
        _check_number("diagonal", self.diagonal, "the share of diag(J) in the propagator")
        _check_number("internal", self.internal, "the share of the internal part of J in the propagator")

    @property
    def affine(self) -> Affine | None:
        """`(μ₀, μ₁)` where a mode's propagator is `μ₀ + μ₁ w`, else `None`."""
        slope = _added([self.full, self.diagonal])
        return _affine(self.decay, slope, self.terms)

    @property
    def is_jacobian(self) -> bool:
        """Whether `M = J` itself."""
        return (
            is_one(self.full) and not self.terms and all(x is None for x in (self.diagonal, self.decay, self.internal))
        )

    @property
    def is_elementwise(self) -> bool:
        """Whether `M` is diagonal, and made as a column."""
        return self.full is None and all(term.is_elementwise for term in self.terms)

    @property
    def is_scalar(self) -> bool:
        """Whether `M` is a multiple of the identity, whatever `J`."""
        absent = (self.full, self.diagonal, self.internal)
        return all(x is None for x in absent) and not self.terms and np.size(self.decay) == 1

    @classmethod
    @in_our_arithmetic
    def blend(cls, share: Any, decay: Any) -> Propagator:
        """`(1 − share) J + share · decay · I`: from the full Jacobian to a fixed decay."""
        share = given_numbers(share, "the share")
        return cls(full=1 - share, decay=share * given_numbers(decay, "the decay"))


def as_feedback(value: Any) -> Feedback:
    """A `Feedback` from a word, numbers, a `Feedback`, a `Term`, or a sum of them."""
    parts = [_one_feedback(part) for part in parts_of(value)]
    symmetric, fixed = (_added(getattr(part, name) for part in parts) for name in ("symmetric", "fixed"))
    return parts[0] if len(parts) == 1 else Feedback(symmetric, fixed, tuple(t for part in parts for t in part.terms))


def as_propagator(value: Any) -> Propagator:
    """A `Propagator` from a word, numbers, a `Propagator`, a `Term`, or a sum of them."""
    parts = [_one_propagator(part) for part in parts_of(value)]
    if len(parts) == 1:
        return parts[0]
    numbers = {n: _added(getattr(part, n) for part in parts) for n in ("full", "diagonal", "decay", "internal")}
    return Propagator(terms=tuple(t for part in parts for t in part.terms), **numbers)


def is_one(value: Any) -> bool:
    """Whether a coefficient is the whole number 1, as in `F = A` and `M = J`."""
    return isinstance(value, int) and value == 1


def _one_feedback(value: Any) -> Feedback:
    return _one_part(value, Feedback, Propagator, words=("symmetric",), numbers="fixed", called="a fixed feedback")


def _one_propagator(value: Any) -> Propagator:
    return _one_part(
        value, Propagator, Feedback, words=("full", "diagonal", "internal"), numbers="decay", called="a decay"
    )


def _one_part(value: Any, kind: Any, other: type, words: tuple[str, ...], numbers: str, called: str) -> Any:
    """A part of a rule from one summand: `words` are coefficients that are 1, `numbers` the one that numbers are."""
    name = kind.__name__.lower()
    remedy = f"use {', '.join(map(repr, words))}, {called}, a {kind.__name__} or a Term"
    if isinstance(value, other):
        given = other.__name__.lower()
        raise ValueError(
            f"the {name} is a {other.__name__}; give it as {given}=..., the order is feedback, propagator, lags"
        )
    if isinstance(value, type) and issubclass(value, Term):
        raise ValueError(f"the {name} is the class {value.__name__}; give an instance of it, {value.__name__}(...)")
    if value is None:
        raise ValueError(f"the {name} is None; {remedy}")
    if isinstance(value, str) and value not in words:
        raise ValueError(f"unknown {name} {value!r}; {remedy}")
    if isinstance(value, kind):
        return value
    if isinstance(value, Term):
        return kind(terms=(value,))
    if kind is Feedback and getattr(value, "dtype", np.dtype(float)).kind == "c" and np.ndim(value):
        return Feedback(terms=(ComplexFeedback(value),))
    return kind(**({value: 1} if isinstance(value, str) else {numbers: value}))


def _check_number(name: Literal["symmetric", "full", "diagonal", "internal"], value: Any, meaning: str) -> None:
    """`ValueError` where a coefficient would broadcast over a network's matrix."""
    if np.ndim(value) > 0:
        raise ValueError(
            f"{name} has shape {np.shape(value)}, but on a network {meaning} is one number; for one a unit or a weight "
            "write a localgrad.Term, such as localgrad.Mask"
        )


def _sum_of_terms(*terms: tuple[Any, Any], absent: Any = lambda: 0.0) -> Any:
    """`Σ coefficient · value` over the terms present; plain arithmetic, so SymPy passes through."""
    present = [coefficient * value for coefficient, value in terms if coefficient is not None]
    return sum(present[1:], start=present[0]) if present else absent()


def _affine(constant: Any, slope: Any, terms: tuple[Term, ...]) -> Affine | None:
    own = [term.affine for term in terms]
    if any(form is None or term.learns for form, term in zip(own, terms, strict=True)):
        return None
    constants, slopes = ([form[i] for form in own if form is not None] for i in (0, 1))
    total = (_added([constant, *constants]), _added([slope, *slopes]))
    return tuple(0.0 if x is None else x for x in total)  # type: ignore[return-value]


def _added(values: Any) -> Any:
    """The sum of those that are not `None`; `None` where there are none."""
    present = [value for value in values if value is not None]
    return sum(present[1:], start=present[0]) if present else None
