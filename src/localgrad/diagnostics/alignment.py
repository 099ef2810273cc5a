r"""How far a student has aligned itself with a teacher's modes, and which modes it then has.

In the frames `U`, `V` of an aligned teacher, the teacher's mode k reaches the student's hidden units twice: row k of
`UᵀA` reads them out, column k of `BV` drives them. In an aligned student both lie on one axis `p_k` of the hidden
space, `W` is diagonal on these axes, and row k of `UᵀR` lies on `p_k` too. In any other student the two directions

    p_k^A = (UᵀA)_k/‖·‖,   p_k^B = (BV)_k/‖·‖,   c_k = p_k^A·p_k^B

differ, and an axis between them must be chosen. Here it is their bisector,

    p_k = (p_k^A + σ_k p_k^B)/‖·‖,   σ_k = −1 where c_k < 0, else 1,

which treats readout and input alike. So `a_k = (UᵀA)_k·p_k ≥ 0`, and `b_k = p_k·(BV)_k` has the sign of `c_k`: of the
two descriptions `(a, b)` and `(−a, −b)` of a mode, the one whose readout is positive. In an aligned student the sign of
`â_k` is then that of the feedback alignment, `â s`.

Limits. Between unaligned directions `a_k b_k` exceeds the gain `(UᵀABV)_kk` by the factor `(1 + |c_k|)/(2|c_k|)`:
effective modes mean something once `|c_k|` is near 1. `w_k = p_kᵀ W p_k` may leave `(−1, 1)` where a stable `W` is far
from normal. Hidden units outside the span of the `p_k` are not seen; with a single mode the recurrent alignment is 1
whatever `W`. Where the teacher's `W` has equal eigenvalues, its own frames are not unique (`teachers.aligned_modes`).

Source: docs/theory.md, section 9 (emergent alignment); the paper's figures on alignment.
"""

from typing import Any, NamedTuple

import numpy as np

from localgrad.checks import in_our_arithmetic
from localgrad.diagnostics.values import check_leading_axes, cosine, feedback_of, matrices_of, quotient, unit
from localgrad.models.aligned import Mode
from localgrad.models.linear import LinearRNN
from localgrad.tasks.teachers import aligned_modes


class Alignment(NamedTuple):
    """How aligned a student is with a teacher's modes; 1 is perfect, and 0 where there is nothing to measure.

    - `input_output`: `|cos(p_k^A, p_k^B)|`, shape `"... modes"`, in [0, 1].
    - `recurrent`: the share of the energy of `PᵀWP` that is on its diagonal, shape `"..."`, in [0, 1].
    - `feedback`: `cos((UᵀR)_k, (UᵀA)_k)`, shape `"... modes"`, in [−1, 1]; `None` without a feedback.
    """

    input_output: np.ndarray
    recurrent: np.ndarray
    feedback: np.ndarray | None


class EffectiveModes(NamedTuple):
    """The modes a student has, or seems to have, beside the teacher's.

    - `student`: `Mode` of arrays of shape `"... modes"`, `a ≥ 0`.
    - `teacher`: `Mode` of arrays of shape `"modes"`, `a*, b* > 0`, by descending `a* b*`.
    - `feedback`: `â` of shape `"... modes"`; `None` without a feedback.
    """

    student: Mode
    teacher: Mode
    feedback: np.ndarray | None


class _Reading(NamedTuple):
    """A student in a teacher's frames: rows "... modes hidden" of `UᵀA`, `(BV)ᵀ`, `UᵀR` and the axes `p_k`."""

    readout: np.ndarray
    drive: np.ndarray
    feedback: np.ndarray | None
    axes: np.ndarray
    W: np.ndarray
    teacher: Mode


@in_our_arithmetic
def alignment(student: LinearRNN, teacher: LinearRNN, feedback: Any = None) -> Alignment:
    r"""How far a student has aligned with a teacher's modes: input with output, recurrent weights, and feedback.

    An aligned teacher's frames `U`, `V` say which outputs and inputs belong to its mode k. Row k of `UᵀA` reads that
    mode out of the student, column k of `BV` drives it; `p_k^A` and `p_k^B` are their directions among the hidden
    units.
    With `p_k` the bisector of the two, and `P` the orthonormal polar factor of the matrix of all `p_k`, the numbers are

        input–output |cos(p_k^A, p_k^B)|,   recurrent Σ_k (PᵀWP)_kk² / ‖PᵀWP‖²,   feedback cos((UᵀR)_k, (UᵀA)_k).

    Rotating the student's hidden units changes none of them.

    **Arguments:**

    - `student`: `LinearRNN`, with any leading axes; at least as many hidden units as the teacher has modes.
    - `teacher`: one `LinearRNN`, data-aligned. Modes it does not show, `a* b* = 0`, are left out.
    - `feedback`: `R` of shape `"... output hidden"`, dimensionless; its leading axes broadcast with the student's.

    **Returns:** an `Alignment`. A silent row (of `UᵀA`, `(BV)ᵀ` or `UᵀR`, zero to the rounding of `A`, `B` or `R`) has
    cosine 0, and `PᵀWP = 0` the share 0.

    **Raises:** `ValueError` for a teacher that is not aligned (saying why), shapes that do not fit, and NaN.

    Source: docs/theory.md, section 9 (emergent alignment).

    >>> import localgrad as lg
    >>> teacher = lg.LinearRNN([[1.0, 0.0], [0.0, 0.5]], [[0.5, 0.0], [0.0, 0.25]], [[1.0, 0.0], [0.0, 1.0]])
    >>> student = lg.LinearRNN([[3.0, 4.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, 0.25]], [[1.0, 0.0], [0.0, -1.0]])
    >>> alignment(student, teacher).input_output.round(12).tolist()
    [0.6, 1.0]
    """
    reading = _read(student, teacher, feedback)
    input_output = np.abs(cosine(reading.readout, reading.drive))
    P = _polar_factor(reading.axes.mT)
    W_size = np.abs(reading.W).max(axis=(-2, -1), keepdims=True)
    energy = (P.mT @ quotient(reading.W, W_size) @ P) ** 2  # W over its size: no square underflows
    on_diagonal = np.trace(energy, axis1=-2, axis2=-1)
    recurrent = np.clip(quotient(on_diagonal, energy.sum(axis=(-2, -1))), 0, 1)
    return Alignment(
        input_output, recurrent, None if reading.feedback is None else cosine(reading.feedback, reading.readout)
    )


@in_our_arithmetic
def effective_modes(student: LinearRNN, teacher: LinearRNN, feedback: Any = None) -> EffectiveModes:
    r"""The modes of a student along its axes `p_k` (see `alignment`), ready for the mode equations.

        a_k = (UᵀA)_k·p_k,   b_k = p_k·(BV)_k,   w_k = p_kᵀ W p_k,   â_k = (UᵀR)_k·p_k

    Of a student aligned in the teacher's frames these are its modes, with `a ≥ 0`; of any other, an estimate, which
    means something once the input–output alignment is near 1. With `e` what is returned,
    `integrate_modes(RFLO(e.feedback, decay), e.student, e.teacher, …)` follows them.

    Arguments and errors as in `alignment`.

    **Returns:** `EffectiveModes`. Of a silent student (`UᵀA` and `BV` zero at mode k) all four numbers are 0.

    Source: docs/theory.md, section 9 (emergent alignment).

    >>> import localgrad as lg
    >>> teacher = lg.aligned_network(lg.Mode([2.0, 1.0], [1.0, 1.0], [0.5, 0.25]))
    >>> student = lg.aligned_network(lg.Mode([-1.0, 3.0], [2.0, 0.0], [0.0, -0.5]))
    >>> [x.tolist() for x in effective_modes(student, teacher).student]
    [[1.0, 3.0], [-2.0, 0.0], [0.0, -0.5]]
    """
    readout, drive, credit, axes, W, modes = _read(student, teacher, feedback)
    a, b = np.sum(readout * axes, axis=-1), np.sum(drive * axes, axis=-1)
    w = np.einsum("...ki,...ij,...kj->...k", axes, W, axes)
    return EffectiveModes(Mode(a, b, w), modes, None if credit is None else np.sum(credit * axes, axis=-1))


def _read(student: LinearRNN, teacher: LinearRNN, feedback: Any) -> _Reading:
    A, W, B = matrices_of(student, "student")
    modes, U, V = _shown_modes(teacher)
    _check_sizes(student.sizes, teacher.sizes, len(modes.w))
    R = None if feedback is None else feedback_of(feedback, A.shape[-2:])
    check_leading_axes(A=A, W=W, B=B, feedback=R)
    rounding = 4 * max(*student.sizes, *teacher.sizes) * max(np.finfo(x.W.dtype).eps for x in (student, teacher))
    readout, drive = _in_frame(U, A, rounding), _in_frame(V, B.mT, rounding)
    credit = None if R is None else _in_frame(U, R, rounding)
    toward, from_input = unit(readout), unit(drive)
    sign = np.where(np.sum(toward * from_input, axis=-1, keepdims=True) < 0, -1.0, 1.0)
    return _Reading(readout, drive, credit, unit(toward + sign * from_input), W, modes)


def _in_frame(frame: np.ndarray, X: np.ndarray, rounding: float) -> np.ndarray:
    """The rows of `frameᵀ X`; those that are only the rounding of larger ones, and so without direction, are 0."""
    rows = frame.T @ X
    negligible = np.abs(rows).max(axis=-1, keepdims=True) <= rounding * np.abs(X).max(axis=(-2, -1), keepdims=True)
    return np.where(negligible, 0.0, rows)


def _shown_modes(teacher: LinearRNN) -> tuple[Mode, np.ndarray, np.ndarray]:
    """The modes with `a* b* > 0`, and their axes among the outputs and inputs (columns of `U` and `V`)."""
    for matrix in matrices_of(teacher, "teacher"):
        if matrix.ndim > 2:
            raise ValueError(f"the teacher is a batch, with a matrix of shape {matrix.shape}; give one teacher")
    modes, frames = aligned_modes(teacher)
    gain = modes.a * modes.b
    rounding = 64 * max(teacher.sizes) * np.finfo(np.asarray(teacher.W).dtype).eps
    count = int(np.sum(gain > rounding * gain.max()))  # by descending gain, so these come first
    if count == 0:
        raise ValueError("the teacher shows no mode, a* b* = 0 throughout; give a teacher with an output")
    return Mode(*(x[:count] for x in modes)), frames.U[:, :count], frames.V[:, :count]


def _check_sizes(student: tuple[int, int, int], teacher: tuple[int, int, int], num_modes: int) -> None:
    (output, hidden, input), (output_star, _, input_star) = student, teacher
    if (output, input) != (output_star, input_star):
        raise ValueError(
            f"student has {output} outputs and {input} inputs, teacher {output_star} and {input_star}; "
            "they must agree (hidden sizes may differ)"
        )
    if hidden < num_modes:
        raise ValueError(
            f"the student has {hidden} hidden units, too few for orthogonal axes of the teacher's {num_modes} modes; "
            f"give it at least {num_modes}"
        )


def _polar_factor(X: np.ndarray) -> np.ndarray:
    """The orthonormal matrix closest to `X`, shape "... hidden modes"; on directions `X` does not reach it is 0."""
    left, values, right = np.linalg.svd(X, full_matrices=False)
    reached = values > 64 * X.shape[-2] * np.finfo(np.float64).eps
    return (left * reached[..., None, :]) @ right
