r"""The exact expected update of any linear network on any linear task under any rule, without sampling.

Student and task form one *error system* `z' = 𝐖 z + 𝐁 ξ`, `ε = 𝐀 z`, driven by white noise, whose output is the
error (`system.py`); of a teacher `𝐀 = [A, −A*]`, `𝐖 = diag(W, W*)`, `𝐁 = [B; B*]`. A rule enters only through its
feedback `F` and propagator `M`: credit `F M^j` meets the error at lag `j`.

These are the doors; which algorithms serve a student, `engines.py` knows: those for networks are in `exact.py`, those
for diagonal layers in `diagonal.py`.

Limits: an infinite horizon needs `ρ(𝐖) < 1` and, with all lags kept, `ρ(M) ρ(𝐖) < 1` (`existence.py`).

Source: docs/theory.md, sections 1–3 and 10.
"""

from typing import TypeVar

from jaxtyping import Array, Float

from localgrad.checks import check_kind
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.leaky import LeakyRNN
from localgrad.models.linear import LinearRNN
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.engines import engine_of
from localgrad.updates.horizon import Horizon, Loss
from localgrad.updates.plan import Method

Student = TypeVar("Student", LinearRNN, LeakyRNN, DiagonalSSM)


def expected_update(
    rule: Rule,
    student: Student,
    task: LinearRNN | DiagonalSSM | LinearTask,
    *,
    horizon: int | None = None,
    loss: Loss = "final",
    method: Method = "auto",
) -> Student:
    r"""The exact expected update `(ΔA, ΔW, ΔB)` of a rule; a learning step is `θ ← θ − η Δθ`.

    **Arguments:**

    - `rule`: feedback of shape `"output hidden"`.
    - `student`: a `LinearRNN`, a `LeakyRNN`, or a `DiagonalSSM` (docs/state_space.md).
    - `task`: a `LinearTask` (`localgrad.tasks` makes the usual ones), or a `LinearRNN` or `DiagonalSSM` as
        teacher: both hear the same white noise. Inputs and outputs are as many as the student's; hidden sizes may
        differ.
    - `horizon`: number of steps `T ≥ 1`, or `None` for the limit `T → ∞`.
    - `loss`: `"final"` for `½E‖ε_T‖²`, `"sequence"` for its mean over `t = 1 … T`. They agree for `T → ∞`.
    - `method`: `"doubling"` (Stein equations; infinite horizon only), `"lags"`, or `"auto"` to choose by size.
        Under `jax.jit` and `jax.vmap`, `"auto"` takes `"doubling"` for every infinite horizon, and `"lags"` is
        refused there.

    **Returns:** the update, of the student's kind and shapes; a leak does not learn, and its entry is 0. Of a
    `DiagonalSSM` it is `∂/∂Re + i ∂/∂Im` of each number.

    **Raises:** `ValueError` for shapes that do not fit, NaN or infinite entries, and spectral radii for which the
    infinite-horizon update does not exist. Under `jax.jit` and `jax.vmap`, where values cannot be inspected, an update
    that does not exist comes back as NaN throughout.

    In a closed loop a rule knows its own network only, unless it is made with `through_plant=True`; then BPTT is the
    gradient of the loss.

    Source: docs/theory.md, sections 3 and 10.

    >>> import localgrad as lg
    >>> student, teacher = lg.LinearRNN([[1.0]], [[0.0]], [[1.0]]), lg.LinearRNN([[2.0]], [[0.0]], [[1.0]])
    >>> lg.expected_update(lg.BPTT(), student, teacher).A.tolist()
    [[-1.0]]
    """
    check_kind("rule", rule, Rule)
    return engine_of(student).update(rule, student, task, Horizon.of(horizon, loss), method)


def expected_loss(
    student: LinearRNN | LeakyRNN | DiagonalSSM,
    task: LinearRNN | DiagonalSSM | LinearTask,
    *,
    horizon: int | None = None,
    loss: Loss = "final",
) -> Float[Array, ""]:
    r"""The exact expected loss `½E‖ε_T‖²` (or its mean over the sequence), half the squared H2 norm for `T → ∞`.

    Arguments and errors as in `expected_update`; under `jax.jit` a loss that does not exist comes back as infinity.
    Differentiable in both modes; BPTT's update (in a closed loop, that through the plant) is its gradient.

    For an infinite horizon the loss is a difference of variances. Its absolute rounding error is about machine
    precision times the larger of the variances of output and target, times `1/(1 − ρ)` for the larger spectral radius
    `ρ`: of a student near the teacher, or near instability, correspondingly fewer digits of the loss are right.

    Source: docs/theory.md, sections 1 and 3.

    >>> import localgrad as lg
    >>> float(lg.expected_loss(lg.LinearRNN([[1.0]], [[0.0]], [[1.0]]), lg.LinearRNN([[2.0]], [[0.0]], [[1.0]])))
    0.5
    """
    return engine_of(student).loss(student, task, Horizon.of(horizon, loss))
