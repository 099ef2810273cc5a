r"""Terms that ship with localgrad, each a few lines: what they add to `F` or `M` beside the parts every rule has.

| term | of | adds | on a mode |
|---|---|---|---|
| `SignSymmetric(c)` | F | `c · sign(A)` | `c · sign(a)` |
| `WeightMirror(R, rate)` | F | `R`, with `dR/dk = rate · (A − R)` | learns |
| `KolenPollack(R, rate)` | F | `R`, with `dR/dk = −ΔA + rate · (A − R)` | learns |
| `FixedMatrix(X)` | F, M | `X` | a number `X` |
| `Mask(S, c)` | F, M | `c · S ∘ A`, `c · S ∘ J` | `c s x` |
| `LowRank(r)` | F, M | the nearest matrix of rank `r` | – |
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from localgrad.checks import check_positive, in_words
from localgrad.rules.numbers import as_numbers, with_coefficient
from localgrad.rules.terms import Affine, Term


class SignSymmetric(Term):
    r"""`scale · sign(A)`: feedback that shares the readout's signs but not its sizes.

    **Arguments:** `scale`: the size of every feedback weight, a number, dimensionless.

    Source: Liao, Leibo & Poggio 2016; Xiao et al. 2019.

    >>> SignSymmetric(0.5)(jnp.array([[2.0, -0.1]])).tolist()
    [[0.5, -0.5]]
    """

    scale: Any

    def __init__(self, scale: Any = 1.0):
        self.scale = as_numbers(scale, "the scale of SignSymmetric")

    def __call__(self, matrix: Any) -> Any:
        """`scale · sign(A)`."""
        _check_number(self.scale, "the scale of SignSymmetric")
        return self.scale * jnp.sign(matrix)

    def on_mode(self, x: Any) -> Any:
        """`scale · sign(a)`, also of symbols."""
        if hasattr(x, "free_symbols"):
            import sympy

            return self.scale * sympy.sign(x)
        return self.scale * (jnp if isinstance(x, jnp.ndarray) else np).sign(x)

    def describe(self, matrix: str) -> str:
        """`c·sign A`."""
        return with_coefficient(self.scale, f"sign {matrix}")


def _check_number(value: Any, what: str) -> None:
    """`ValueError` where a scale would broadcast over a network's matrix."""
    if np.ndim(value) > 0:
        raise ValueError(
            f"{what} has shape {np.shape(value)}, but on a network it is one number; for one a weight use "
            "localgrad.Mask"
        )


class _LearnedFeedback(Term):
    """A feedback `R` of its own that learns; its current value is the term's state."""

    state: Any
    rate: Any

    def __init__(self, feedback: Any, rate: Any):
        self.state = as_numbers(feedback, "the feedback at the start")
        self.rate = as_numbers(rate, "the rate at which the feedback learns")
        check_positive("the rate at which the feedback learns", self.rate)

    def __call__(self, matrix: Any) -> Any:
        """`R` as it is now."""
        return jnp.asarray(self.state, matrix.dtype)


class WeightMirror(_LearnedFeedback):
    r"""A feedback `R` that comes to mirror the readout: `dR/dk = rate · (A − R)`.

    This is the weight mirror in the mean, with `k` the learning time. In the mirror phase hidden units `h` fire at
    random, and `R` learns by the correlation of the output `y` with them, `⟨y hᵀ⟩ = A`, against a decay of the same
    rate.

    **Arguments:** `feedback`: `R` at the start, shape `"output hidden"`, dimensionless; `rate`: per unit of learning
    time, positive.

    Source: Akrout et al. 2019, the weight mirror; docs/theory.md, section 2.

    >>> from localgrad.rules.rule import Rule
    >>> Rule(WeightMirror([[1.0, 0.0]], rate=0.5), "full").state_update([[2.0, 1.0]], 0.0)[0].tolist()
    [[-0.5, -0.5]]
    """

    def update(self, readout: Any, readout_update: Any) -> Any:
        """`ΔR = rate · (R − A)`."""
        return self.rate * (self.state - readout)

    def describe(self, matrix: str) -> str:
        """`R`, and how it learns."""
        return f"R (mirrors A at rate {self.rate})"


class KolenPollack(_LearnedFeedback):
    r"""A feedback `R` that learns by the readout's own update: `dR/dk = −ΔA + rate · (A − R)`.

    Kolen and Pollack let both matrices learn by the same update and decay to 0 at the same rate, so that their
    difference falls as `exp(−rate · k)`, `k` being learning time, whatever is learned. Here `A` does not decay, since
    its update is the same under every rule. Instead `R` decays towards `A`, which gives the difference the same law,
    `d(A − R)/dk = −rate · (A − R)`, exactly.

    **Arguments:** `feedback`: `R` at the start, shape `"output hidden"`, dimensionless; `rate`: of decay, per unit of
    learning time, positive.

    Source: Kolen & Pollack 1994; Akrout et al. 2019; docs/theory.md, section 2.

    >>> from localgrad.rules.rule import Rule
    >>> Rule(KolenPollack([[1.0, 0.0]], rate=0.5), "full").state_update([[2.0, 1.0]], 0.0)[0].tolist()
    [[-0.5, -0.5]]
    """

    def update(self, readout: Any, readout_update: Any) -> Any:
        """`ΔR = ΔA + rate · (R − A)`."""
        return readout_update + self.rate * (self.state - readout)

    def describe(self, matrix: str) -> str:
        """`R`, and how it learns."""
        return f"R (learns with A, decay {self.rate})"


class FixedMatrix(Term):
    r"""A constant matrix as a summand of `M` (or of `F`, where it is what a fixed feedback is).

    **Arguments:** `matrix`: shape `"hidden hidden"` for `M`, `"output hidden"` for `F`; for modes a number or
    broadcasting array. Dimensionless.

    Source: a propagator by cell types as in ModProp, Liu et al. 2022.
    """

    matrix: Any

    def __init__(self, matrix: Any):
        self.matrix = as_numbers(matrix, "the fixed matrix")

    def __call__(self, matrix: Any) -> Any:
        """The matrix itself."""
        return jnp.asarray(self.matrix, matrix.dtype)

    def on_mode(self, x: Any) -> Any:
        """The number itself."""
        return self.matrix

    @property
    def affine(self) -> Affine:
        """`(X, 0)`."""
        return self.matrix, 0.0

    def describe(self, matrix: str) -> str:
        """`X`, or the number."""
        return "X" if np.ndim(self.matrix) else str(self.matrix)


class Mask(Term):
    r"""`scale · S ∘ J`: the entries of the Jacobian (or of `A`) that a mask `S` keeps.

    A mask of zeros and ones leaves synapses out of the propagator. SnAp does so with a pattern for each weight; here
    one pattern serves all weights.

    **Arguments:** `mask`: shape `"hidden hidden"` for `M`, `"output hidden"` for `F`; for modes a number or
    broadcasting array; usually of zeros and ones; `scale`: a number. Dimensionless.

    Source: Menick et al. 2021, with one mask.
    """

    mask: Any
    scale: Any

    def __init__(self, mask: Any, scale: Any = 1.0):
        self.mask = as_numbers(mask, "the mask")
        self.scale = as_numbers(scale, "the mask's scale")

    def __call__(self, matrix: Any) -> Any:
        """`scale · S ∘ J`."""
        _check_number(self.scale, "the scale of Mask")
        if np.ndim(self.mask) and np.shape(self.mask) != np.shape(matrix)[-2:]:
            raise ValueError(f"the mask has shape {np.shape(self.mask)}; it must be that of the matrix, {matrix.shape}")
        return self.scale * jnp.asarray(self.mask, matrix.dtype) * matrix

    def on_mode(self, x: Any) -> Any:
        """`scale · s · x`."""
        return self.scale * self.mask * x

    @property
    def affine(self) -> Affine:
        """`(0, scale · s)`."""
        return 0.0, self.scale * self.mask

    def describe(self, matrix: str) -> str:
        """`S∘J`, with its scale."""
        return with_coefficient(self.scale, f"S∘{matrix}")


class LowRank(Term):
    r"""The nearest matrix of rank `rank` to the Jacobian (or to `A`), by its largest singular values.

    **Arguments:** `rank`: a whole number of at least 1; of a matrix with equal singular values at the cut any nearest
    one.

    Source: Eckart & Young 1936; low-rank approximations of real-time recurrent learning.

    >>> LowRank(1)(jnp.diag(jnp.array([2.0, 1.0]))).round(6).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """

    rank: int = eqx.field(static=True)

    def __init__(self, rank: int):
        if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or rank < 1:
            raise ValueError(f"rank must be a whole number of at least 1; got {in_words(rank)}")
        self.rank = int(rank)

    def __call__(self, matrix: Any) -> Any:
        """`U_r S_r V_rᵀ` of the singular value decomposition."""
        U, S, Vt = jnp.linalg.svd(matrix, full_matrices=False)
        r = self.rank
        return (U[..., :r] * S[..., None, :r]) @ Vt[..., :r, :]

    @property
    def keeps_alignment(self) -> bool:
        """The singular vectors rotate with the matrix."""
        return True

    def describe(self, matrix: str) -> str:
        """The matrix cut to its rank."""
        return f"rank-{self.rank} part of {matrix}"
