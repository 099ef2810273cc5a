r"""A rule as a kernel on errors: in which directions of error its loss rises, where it turns, how far it is a gradient.

Write `E` for the errors of all lags in one vector, `√ω_k E_k`, so that `L = ½ ‖E‖²` (`updates/error_maps.py`). A rule's
update is linear in them, `Δθ = H E`, and with the tangent `G = ∂E/∂θ` the errors and the loss move in learning time by

    dE/dk = −K E,   dL/dk = −Eᵀ K E,   K = G H.

Of the gradient `H = Gᵀ`, so `K` is symmetric and has no negative eigenvalue. Of other rules it is neither:

- a direction of error, a unit vector `d`, in which the symmetric part of `K` has an eigenvalue `λ < 0` is one in which
    the loss rises, at the rate `dL/dk = −2λL` for an error in that direction;
- complex eigenvalues of `K` say that errors turn;
- the curl `‖J − Jᵀ‖/‖J‖` of the flow's Jacobian `J = ∂Δθ/∂θ`, between 0 and 2, is 0 for the gradient of any function.

`K` has at most as many eigenvalues other than 0 as there are weights, and its symmetric part twice as many: they are
those of `H G`, and of `K` in the space that the columns of `G` and the rows of `H` span. So nothing of the size of all
errors is ever diagonalised.

Limits. An infinite horizon is cut where what is left of `E`, `G` and `H` is below 1e-12 of the whole, within 1024 lags;
a propagator of spectral radius 1 or more has no such place, although its update may exist. `K` is that of the weights
at the present feedback; what a feedback that learns does to it is not part of it.

Source: docs/theory.md, section 13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from localgrad.checks import check_kind, check_memory, in_our_arithmetic
from localgrad.models.aligned import Frames, Mode
from localgrad.models.arrays import in_precision
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.linear import LinearRNN, spectral_radius
from localgrad.modes.networks import align_rule
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.updates.dense import on_network
from localgrad.updates.engines import engine_of
from localgrad.updates.error_maps import error_maps, flow_jacobian, network_of
from localgrad.updates.horizon import Horizon, Loss
from localgrad.updates.lags import BLOCK, MAX_LAGS
from localgrad.updates.stein import is_elementwise
from localgrad.updates.system import credit_of, error_system

# What an infinite horizon may leave out of E, G and H, relative to their norms.
_TAIL = 1e-12
# An eigenvalue of the symmetric part counts as negative below this share of the largest; rounding leaves about 1e-15.
_RISING = 1e-10


@dataclass(frozen=True)
class Kernel:
    r"""A rule's kernel `K = G H` at a student's weights.

    - `rule`: the rule. `horizon`: steps, `None` for infinite.
    - `errors`: `√ω_k E_k`, shape `"lags output noise"`; `L = ½ ‖E‖²`.
    - `tangent`: `G`, shape `"errors weights"`; `credit`: `H`, shape `"weights errors"`, the errors in the order of
        `errors.ravel()`.
    - `symmetric_eigenvalues`: of `(K + Kᵀ)/2`, ascending, those that are 0 for any error outside left out. Per unit of
        learning time, as all rates here.
    - `rising`: the unit directions of error in which the loss rises, shape `"directions lags output noise"`, steepest
        first; `rates`: the relative rate `(dL/dk)/L = −2λ > 0` of each.
    - `eigenvalues`: of `K`, complex, by falling modulus; at most one a weight.
    - `curl`: `‖J − Jᵀ‖/‖J‖`, in [0, 2]; 0 where `J = 0`.
    """

    rule: Rule
    horizon: int | None
    errors: np.ndarray = field(repr=False)
    tangent: np.ndarray = field(repr=False)
    credit: np.ndarray = field(repr=False)
    symmetric_eigenvalues: np.ndarray
    rising: np.ndarray = field(repr=False)
    rates: np.ndarray
    eigenvalues: np.ndarray
    curl: float

    @property
    def matrix(self) -> np.ndarray:
        """`K` itself, shape `"errors errors"`."""
        check_memory("the matrix of the kernel", 8.0 * len(self.tangent) ** 2, "use tangent and credit, its factors")
        return self.tangent @ self.credit

    @property
    def loss_rate(self) -> float:
        """`dL/dk = −Eᵀ K E` of the present errors, per unit of learning time."""
        E = self.errors.ravel()
        return float(-(E @ self.tangent) @ (self.credit @ E))

    @property
    def rising_share(self) -> float:
        """The share of `‖E‖²` in the rising directions, in [0, 1]; 0 where there is no error."""
        size = float(np.sum(self.errors**2))
        along = np.tensordot(self.rising, self.errors, axes=3)
        return float(np.sum(along**2)) / size if size else 0.0

    @property
    def turns(self) -> bool:
        """Whether errors turn: any eigenvalue with an imaginary part above 1e-6 of the largest modulus."""
        size = np.abs(self.eigenvalues)
        return bool(np.any(np.abs(self.eigenvalues.imag) > 1e-6 * size.max(initial=0.0)))

    def __str__(self) -> str:
        low, high = self.symmetric_eigenvalues[[0, -1]]
        steepest = f", at a relative rate of up to {self.rates[0]:.4g}" if len(self.rates) else ""
        return (
            f"Kernel of {self.rule.describe()}\n"
            f"  {len(self.errors)} lags; symmetric part from {low:.4g} to {high:.4g}\n"
            f"  loss rises in {len(self.rates)} directions of error{steepest}; {self.rising_share:.3g} of the error\n"
            f"  errors {'turn' if self.turns else 'do not turn'}; curl {self.curl:.3g}; dL/dk = {self.loss_rate:.4g}"
        )

    def plot(self) -> Any:
        """A Matplotlib figure: eigenvalues of the symmetric part, and those of the kernel in the complex plane."""
        from localgrad.figures.curves import plot_kernel

        return plot_kernel(self)


@in_our_arithmetic
def kernel(
    rule: Rule,
    student: Any,
    task: Any,
    *,
    horizon: int | None = None,
    loss: Loss = "final",
) -> Kernel:
    r"""A rule's kernel on errors, `dE/dk = −K E` and `dL/dk = −Eᵀ K E`, at a student's weights.

    `K = G H` with `G = ∂E/∂θ` and `Δθ = H E`.

    **Arguments:**

    - `rule`: feedback of shape `"output hidden"`; for a mode a scalar.
    - `student`: a `LinearRNN`, a `LeakyRNN` (whose leak does not learn), or a `Mode` of three numbers.
    - `task`: a `LinearTask` or a teacher, as in `expected_update`, or a `Mode`.
    - `horizon`, `loss`: as in `expected_update`.

    **Returns:** a `Kernel`, in float64.

    **Raises:** `ValueError` as `expected_update`; for a `DiagonalSSM` (take `lg.real_blocks` of it); and for an
    infinite horizon with a propagator of spectral radius 1 or more, or which 1024 lags do not reach.

    Source: docs/theory.md, section 13.

    >>> import localgrad as lg
    >>> start, teacher = lg.Mode(1.0, 1.0, 0.6), lg.Mode(1.0, 1.0, 0.8)
    >>> [len(kernel(rule, start, teacher).rates) for rule in (lg.BPTT(), lg.RFLO(-1.0, 0.5))]
    [0, 1]
    """
    over = Horizon.of(horizon, loss)
    check_kind("rule", rule, Rule)
    with jax.enable_x64(True):
        rule, student, task = checked_problem(rule, student, task, over)
        E, G, H = maps_of(rule, student, task, over)
        J = np.asarray(flow_jacobian(rule, student, task, over))
    return _kernel_of(rule, over, E, G, H, _curl(J))


def checked_problem(rule: Rule, student: Any, task: Any, over: Horizon) -> tuple[Rule, Any, LinearTask]:
    """The three in float64, modes as networks of one unit; `ValueError` where the rule has no update."""
    rule, student, task = _on_networks(rule, student, task)
    task = as_task(task)
    engine_of(student).check(rule, student, task, over)
    return in_precision(np.float64, (rule, student, task))


def _on_networks(rule: Rule, student: Any, task: Any) -> tuple[Rule, Any, Any]:
    """Modes as networks of one unit, with the rule that is theirs there; `ValueError` for layers."""
    if isinstance(student, DiagonalSSM):
        raise ValueError("a DiagonalSSM has no kernel here; take lg.real_blocks of it, whose weights are real matrices")
    if isinstance(student, Mode):
        rule, student = align_rule(rule, Frames(np.eye(1), np.eye(1), np.eye(1))), _network_of_mode(student, "student")
    return rule, student, _network_of_mode(task, "teacher") if isinstance(task, Mode) else task


def _network_of_mode(mode: Mode, who: str) -> LinearRNN:
    if any(np.ndim(x) for x in mode):
        raise ValueError(f"the {who} is a mode with arrays, but a kernel is that of one student; give three numbers")
    return LinearRNN([[mode.a]], [[mode.w]], [[mode.b]])


def maps_of(rule: Rule, student: Any, task: LinearTask, over: Horizon) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`E`, `G` and `H` over the lags that count; for an infinite horizon until the rest is below the tolerance."""
    lags = _first_guess(rule, student, task) if over.steps is None else over.steps
    while lags <= MAX_LAGS or not over.is_infinite:
        blocks = -(-lags // BLOCK)
        _check_size(student, task, blocks * BLOCK)
        roots = np.sqrt(over.weights(blocks * BLOCK)).reshape(blocks, BLOCK)
        E, G, H = (np.asarray(x) for x in error_maps(rule, student, task, jax.numpy.asarray(roots)))
        kept = blocks * BLOCK if over.steps is None else over.steps
        E, G, H = E[:kept], G[:kept], H[:, :kept]
        if not over.is_infinite or all(_has_ended(x) for x in (E, G, np.moveaxis(H, 1, 0))):
            return E, G.reshape(-1, G.shape[-1]), H.reshape(len(H), -1)
        lags = 2 * blocks * BLOCK
    raise ValueError(
        f"errors, or the credit of the rule, last longer than {MAX_LAGS} lags, which is as far as a kernel goes; "
        "scale W (and D) down or give a finite horizon"
    )


def _first_guess(rule: Rule, student: Any, task: LinearTask) -> int:
    """How many lags it takes: all of a nilpotent system, else until powers are below the tolerance."""
    network = network_of(student)
    parts = error_system(network, task).W
    radius = max(spectral_radius(part) for part in parts)
    if rule.lags is None:
        M = credit_of(on_network(rule, student)[0], network, task).M
        carried = float(np.abs(M).max()) if is_elementwise(M) else spectral_radius(M)
        if carried >= 1:
            raise ValueError(
                f"the rule's propagator has spectral radius {carried:.6g}, so that its credit for errors of long ago "
                "never ends; set lags, lower the decay or give a finite horizon"
            )
        radius = max(radius, carried)
    powers = math.ceil(math.log(_TAIL) / math.log(radius)) if radius > 0 else 0
    return max(powers, sum(map(len, parts))) + BLOCK + rule.delay


def _has_ended(x: np.ndarray) -> bool:
    """Whether the last block of lags, the first axis, is below the tolerance."""
    return bool(np.linalg.norm(x[-BLOCK:]) <= _TAIL * np.linalg.norm(x))


def _check_size(student: Any, task: LinearTask, lags: int) -> None:
    output, hidden, inputs = student.sizes
    weights = hidden * (output + hidden + inputs)
    numbers = lags * output * task.num_noises * weights
    check_memory(f"a kernel of {lags} lags and {weights} weights", 8.0 * 8 * numbers, "give a shorter horizon")


def _kernel_of(rule: Rule, over: Horizon, E: np.ndarray, G: np.ndarray, H: np.ndarray, curl: float) -> Kernel:
    basis = np.linalg.qr(np.concatenate([G, H.T], axis=1))[0]  # at most twice as many columns as weights
    K = (basis.T @ G) @ (H @ basis)
    values, vectors = np.linalg.eigh((K + K.T) / 2)
    falls = values < -_RISING * np.abs(values).max(initial=0.0)
    rising = (basis @ vectors[:, falls]).T.reshape(-1, *E.shape)
    turning = np.linalg.eigvals(H @ G)
    turning = turning[np.argsort(-np.abs(turning), kind="stable")]
    return Kernel(rule, over.steps, E, G, H, values, rising, -2 * values[falls], turning, curl)


def _curl(J: np.ndarray) -> float:
    size = np.linalg.norm(J)
    return float(np.linalg.norm(J - J.T) / size) if size else 0.0
