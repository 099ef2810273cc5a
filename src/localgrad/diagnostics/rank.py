r"""The rank of what was learned: the spectra of `W_K − W_0` and `B_K − B_0`.

A rule with fixed feedback `R` and a scalar propagator changes `W` and `B` by `Rᵀ(…)` at every step, so that

    W_K − W_0 = Σ_{i ≤ output} r_i q_iᵀ

has at most as many singular values as there are outputs, and its columns lie in the span of `Rᵀ` (the paper's
proposition 3.1). Other rules have no such bound; how low their rank is in effect is told by the singular values `σ`,

    numerical rank = #{σ > tolerance · σ_max},   participation ratio = (Σσ²)²/Σσ⁴.

Limits. A change is a difference of weights, known to about `ε‖W_0‖`, `ε` their rounding unit: no singular value below
that means anything, so the default tolerance needs a change of at least `1e-10 ‖W_0‖` in float64; in float32, raise it.

Source: docs/theory.md, section 9; the paper's proposition 3.1.
"""

from typing import Any, NamedTuple

import numpy as np

from localgrad.checks import in_our_arithmetic, in_words, is_real
from localgrad.diagnostics.values import check_leading_axes, feedback_of, matrices_of, quotient
from localgrad.models.linear import LinearRNN


class ChangeSpectrum(NamedTuple):
    """The singular values of the change of one matrix, and what they say; of no change at all, zeros.

    - `singular_values`: descending, shape `"... values"`.
    - `rank`: how many exceed `tolerance` times the largest; whole numbers of shape `"..."`.
    - `participation_ratio`: `(Σσ²)²/Σσ⁴`, shape `"..."`: between 1 (one dominates) and the rank (all equal).
    - `outside_feedback`: the share of `Σσ²` in columns orthogonal to the span of `Rᵀ`, shape `"..."`, in [0, 1];
        `None` without a feedback.
    """

    singular_values: np.ndarray
    rank: np.ndarray
    participation_ratio: np.ndarray
    outside_feedback: np.ndarray | None


class SingularSpectrum(NamedTuple):
    """`ChangeSpectrum`s of `W_K − W_0` and of `B_K − B_0`."""

    W: ChangeSpectrum
    B: ChangeSpectrum


@in_our_arithmetic
def singular_spectrum(
    initial: LinearRNN, final: LinearRNN, *, feedback: Any = None, tolerance: float = 1e-6
) -> SingularSpectrum:
    r"""The singular values of `W_K − W_0` and `B_K − B_0`, their numerical rank and participation ratio.

    `rank = #{σ > tolerance · σ_max}`, `participation ratio = (Σσ²)²/Σσ⁴`, and with a feedback `R` the share
    `‖(I − Π)(W_K − W_0)‖²/‖W_K − W_0‖²`, where `Π` projects on the span of `Rᵀ`.

    **Arguments:**

    - `initial`, `final`: `LinearRNN`s `θ_0` and `θ_K` of the same sizes; leading axes (snapshots, seeds) broadcast.
    - `feedback`: `R` of shape `"... output hidden"`, dimensionless, leading axes broadcasting.
    - `tolerance`: relative to the largest singular value, in [0, 1).

    **Returns:** a `SingularSpectrum`. Without any change rank, participation ratio and share are 0.

    **Raises:** `ValueError` for sizes that do not fit, NaN, and a tolerance outside its range.

    Source: docs/theory.md, section 9 (rank); the paper's proposition 3.1.

    >>> import localgrad as lg
    >>> start, end = lg.LinearRNN([[1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0], [0.0]]), lg.LinearRNN(
    ...     [[1.0, 0.0]], [[0.5, 0.0], [0.0, 0.5]], [[3.0], [0.0]])
    >>> found = singular_spectrum(start, end, feedback=[[1.0, 0.0]])
    >>> int(found.W.rank), float(found.W.participation_ratio), float(found.W.outside_feedback)
    (2, 2.0, 0.5)
    >>> int(found.B.rank), float(found.B.outside_feedback)
    (1, 0.0)
    """
    if not is_real(tolerance) or not 0 <= tolerance < 1:
        raise ValueError(f"tolerance = {in_words(tolerance)} must lie in [0, 1), for example 1e-6")
    A, W_0, B_0 = matrices_of(initial, "initial network")
    _, W_K, B_K = matrices_of(final, "final network")
    if initial.sizes != final.sizes:
        raise ValueError(
            f"initial and final network have sizes {initial.sizes} and {final.sizes} (output, hidden, input); "
            "give one network before and after learning"
        )
    basis = None if feedback is None else basis_of(feedback_of(feedback, A.shape[-2:]).mT)
    check_leading_axes(initial=W_0, final=W_K, feedback=basis)
    check_leading_axes(initial=B_0, final=B_K, feedback=basis)
    return SingularSpectrum(*(change_spectrum(x, basis, tolerance) for x in (W_K - W_0, B_K - B_0)))


def change_spectrum(change: np.ndarray, basis: np.ndarray | None = None, tolerance: float = 1e-6) -> ChangeSpectrum:
    """The spectrum of changes `"... hidden presynaptic"`; `basis`: an orthonormal one of the feedback's span."""
    values = np.linalg.svd(change, compute_uv=False)
    largest = values[..., :1]
    relative = quotient(values, largest)  # its squares neither under- nor overflow
    energy = np.sum(relative**2, axis=-1)
    return ChangeSpectrum(
        values,
        np.sum(relative > tolerance, axis=-1),
        quotient(energy**2, np.sum(relative**4, axis=-1)),
        None if basis is None else quotient(_energy_outside(quotient(change, largest[..., None]), basis), energy),
    )


def _energy_outside(change: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return np.sum((change - basis @ (basis.mT @ change)) ** 2, axis=(-2, -1))


def basis_of(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns' span, shape "... hidden output"; directions they do not reach are 0."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    rounding = max(columns.shape[-2:]) * np.finfo(np.float64).eps
    return left * (values > rounding * values[..., :1])[..., None, :]
