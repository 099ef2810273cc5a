r"""Terms: summands of a feedback `F` or a propagator `M` of one's own.

A `Term` is a function of the readout `A` or of the state Jacobian `J`. It says what it adds to the matrix of a network
and, where that makes sense, to the number of a mode. Its structure is asked, never inferred from arrays: whether it is
elementwise (`M` is diagonal), affine in a mode's weight, kept by rotations, or learns.

Limits: a term sees `A` or `J` and its own numbers only. Terms that ship with localgrad are in `shipped.py`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import equinox as eqx
import jax
import numpy as np

from localgrad.checks import in_words
from localgrad.rules.numbers import as_numbers, is_absent

Affine = tuple[Any, Any]
"""`(k₀, k₁)` of a number `k₀ + k₁ x`."""


class Summand:
    """What can be added up to a feedback or a propagator: `"symmetric" + Term`, `0.5 + Term`, `Term + Term`."""

    __array_ufunc__ = None  # NumPy's arrays leave the sum to us

    def __add__(self, other: Any) -> Sum:
        return Sum((*parts_of(self), *parts_of(other)))

    def __radd__(self, other: Any) -> Any:
        if isinstance(other, int) and other == 0:  # where Python's sum() begins
            return self
        return Sum((*parts_of(other), *parts_of(self)))


class Sum(Summand):
    """Summands of a feedback or a propagator, in order, before a rule says which of the two they make."""

    def __init__(self, parts: tuple[Any, ...]):
        self.parts = parts


def parts_of(value: Any) -> tuple[Any, ...]:
    """The summands of a sum; of anything else, itself."""
    return value.parts if isinstance(value, Sum) else (value,)


class Term(Summand, eqx.Module):
    r"""A summand of `F` or `M` of one's own.

    Subclass it with the numbers it holds as fields, and write

    - `__call__(self, matrix)`: what it adds to `F` for a readout `A` (shape `"output hidden"`), or to `M` for a state
        Jacobian `J` (shape `"hidden hidden"`), in `jax.numpy`;
    - `on_mode(self, x)`, where it makes sense: the same for a mode, whose `A` is the number `a` and whose `J` is the
        number `w`. Plain arithmetic serves floats, arrays, derivatives and symbols; `jax.numpy` all but symbols; NumPy
        numbers only. What a term cannot serve is refused, and without `on_mode` all mode functions.

    and where they hold, as class attributes or properties:

    - `is_elementwise = True`: a summand of `M` that is diagonal, given by `__call__` as the column of its entries
        (shape `"hidden 1"`, or `"1 1"` for a multiple of the identity);
    - `affine`: `(k₀, k₁)` where `on_mode(x) = k₀ + k₁ x`. It lets ensembles of modes and the theory of fixed points
        take the rule; `None`, the default, says that there is no such form. A rule refuses a term whose `on_mode` says
        otherwise;
    - `keeps_alignment = True`: `__call__(U X Pᵀ) = U __call__(X) Pᵀ` for orthogonal `U, P` (for `M`, `U = P`);
    - `describe(self, matrix)`: how `Rule.describe` writes it, for `matrix` the letter `"A"` or `"J"`; by default the
        class's name.

    A summand of `F` that learns has a field `state`, an array of the readout's shape, and

    - `update(self, A, dA)`: the update `Δstate` for the readout `A` and its update `ΔA`. Learning takes
        `state ← state − η Δstate` beside `θ ← θ − η Δθ`.

    Terms add up (`"symmetric" + Term()`) and have no other arithmetic: a factor is a field of the term.

    Arrays may have one leading axis `"seeds"` before those of a matrix (`Rule.of_seed`). Give fields that are no
    numbers, and whole numbers that choose or count, `equinox.field(static=True)`: tuples rather than arrays of them.

    Source: docs/theory.md, section 2.

    >>> class Clipped(Term):
    ...     limit: float
    ...     def __call__(self, matrix):
    ...         return jnp.clip(matrix, -self.limit, self.limit)
    ...     def on_mode(self, x):
    ...         return jnp.clip(x, -self.limit, self.limit)
    >>> from localgrad.rules.rule import Rule
    >>> Rule(feedback=Clipped(0.5), propagator="diagonal").describe()
    'custom: F = Clipped, M = diag J, all lags'
    """

    @property
    def is_elementwise(self) -> bool:
        """Whether the matrix is diagonal, and given as a column."""
        return False

    @property
    def keeps_alignment(self) -> bool:
        """Whether aligned networks stay aligned in any frames."""
        return False

    @property
    def affine(self) -> Affine | None:
        """`(k₀, k₁)` where the term of a mode is `k₀ + k₁ x`, else `None`."""
        return None

    def describe(self, matrix: str) -> str:
        """How the term is written, for the letter of the matrix that it takes."""
        return type(self).__name__

    @property
    def learns(self) -> bool:
        """Whether the term has a state with dynamics of its own."""
        return type(self).update is not Term.update

    def __call__(self, matrix: Any) -> Any:
        """The summand, for a readout `A` or a state Jacobian `J`."""
        raise NotImplementedError(f"the term {type(self).__name__} has no __call__(matrix); write one")

    def on_mode(self, x: Any) -> Any:
        """The summand for a mode's readout `a` or recurrent weight `w`."""
        raise ValueError(
            f"the term {type(self).__name__} says nothing of single modes; write its on_mode(x), or take full networks"
        )

    def update(self, readout: Any, readout_update: Any) -> Any:
        """`Δstate`, of a term that learns."""
        raise ValueError(f"the term {type(self).__name__} does not learn")

    def of_seed(self, seed: int) -> Term:
        """The term of one seed: of arrays with a leading axis before those of a matrix, that entry."""
        return jax.tree.map(lambda x: x[seed] if np.ndim(x) == 3 else x, self)


class ComplexFeedback(Term):
    """A fixed complex feedback `R`, kept as two real matrices; a complex array given as feedback becomes this.

    The unit's real part receives the error through `Re R`, its imaginary part through `−Im R`, as `C` itself would
    send it. It fits layers of complex units (`DiagonalSSM`); networks of real ones refuse it.

    **Arguments:** `feedback`: complex, shape `"output hidden"` (with a leading axis `"seeds"` for one a seed), or its
    real part, with the imaginary one as `imaginary`.
    """

    real: Any
    imaginary: Any

    def __init__(self, feedback: Any, imaginary: Any = None):
        self.real = feedback.real if imaginary is None else feedback
        self.imaginary = feedback.imag if imaginary is None else imaginary

    def __call__(self, matrix: Any) -> Any:
        """`R`."""
        number = matrix.real.dtype
        return jax.lax.complex(jax.numpy.asarray(self.real, number), jax.numpy.asarray(self.imaginary, number))

    def describe(self, matrix: str) -> str:
        """`R`."""
        return "R (complex)"


def value_on_mode(term: Term, x: Any) -> Any:
    """`term.on_mode(x)`, and for a complex step `x + ih`, whose terms see `x` only, `on_mode(x) + ih · on_mode′(x)`."""
    if not np.iscomplexobj(x):
        return term.on_mode(x)
    value = term.on_mode(np.real(x))
    slope = term.affine[1] if term.affine is not None else _slope_on_mode(term, np.real(x))
    return value + 1j * np.imag(x) * np.asarray(slope)


def _slope_on_mode(term: Term, x: Any) -> Any:
    try:
        with jax.enable_x64(True):
            return np.asarray(jax.jvp(term.on_mode, (jax.numpy.asarray(x),), (jax.numpy.ones_like(x),))[1])
    except (TypeError, jax.errors.JAXTypeError) as error:
        raise ValueError(
            f"on_mode of the term {type(term).__name__} cannot be differentiated ({type(error).__name__}); write it in "
            "plain arithmetic or jax.numpy"
        ) from None


def checked_terms(terms: Any) -> tuple[Term, ...]:
    """The terms of a feedback or propagator; `ValueError` for what is none, or holds what is no number."""
    if not isinstance(terms, Term | tuple | list):
        raise ValueError(f"terms must be a tuple of localgrad.Terms, got {in_words(terms)}")
    found = (terms,) if isinstance(terms, Term) else tuple(terms)
    for term in found:
        if isinstance(term, Term):
            _check_numbers_in(term)
            _check_word(term)
        elif not is_absent(term):
            raise ValueError(f"terms must be localgrad.Terms; got a {type(term).__name__}")
    return found


def _check_numbers_in(term: Term) -> None:
    """`ValueError` where a field of a term is no number and not marked as static."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(term):
        field = jax.tree_util.keystr(path).lstrip(".")
        as_numbers(leaf, f"{field} of the term {type(term).__name__}")


def _check_word(term: Term) -> None:
    """`ValueError` where what a term tells of itself is a method, or an affine form that its `on_mode` contradicts."""
    kind = type(term).__name__
    for name in ("affine", "is_elementwise", "keeps_alignment"):
        if callable(getattr(term, name)):
            raise ValueError(f"{name} of the term {kind} is a method; write @property above it, or a class attribute")
    if term.affine is None:
        return
    try:
        constant, slope = term.affine
    except (TypeError, ValueError):
        raise ValueError(f"affine of the term {kind} is {in_words(term.affine)}; give (k0, k1) or None") from None
    for x in (0.75, -0.5):
        try:
            told, made = (np.asarray(y, dtype=float) for y in (constant + slope * x, term.on_mode(x)))
            differ = not np.allclose(told, made, rtol=1e-4, atol=1e-6, equal_nan=True)
        except Exception:  # traced, symbolic or absent numbers, or a term that says nothing of modes
            return
        if differ:
            raise ValueError(
                f"the term {kind} says that it is k0 + k1 x on a mode, but its on_mode({x}) is {in_words(made)} and "
                f"its affine form gives {in_words(told)}; mend one of them, or let affine be None"
            )


def terms_in_words(rule: Any) -> str:
    """What of a rule's terms is no number: of which part each is, its class, and the fields that are static."""
    found = []
    for part, terms in (("feedback", rule.feedback.terms), ("propagator", rule.propagator.terms)):
        for term in terms:
            static = {f.name: getattr(term, f.name) for f in fields(term) if f.metadata.get("static")}
            found.append(f"{part} {type(term).__qualname__} {static}")
    return "; ".join(found)
