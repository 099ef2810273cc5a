r"""How far noise keeps learning from its optimum: the stationary spread of the weights under sampled steps.

Near a point at rest, steps `θ ← θ − η Δ̂` with batches of N sequences are linear,

    δ ← (I − ηL) δ − η n,   L = ∂Δ/∂θ,   Cov n = C/N,

with the covariance `C` of one update (`covariance.py`). Directions along which many weights are equally good have
`L v = 0`; in them weights drift as a random walk. In all others the spread becomes stationary: with the projector P on
the rest, its covariance S solves

    S = (I − ηL) S (I − ηL)ᵀ + (η²/N) P C Pᵀ    (a Lyapunov equation),

and it costs the loss `½ tr(∇²L S)` more than the optimum's. Under BPTT with error noise of equal variance σ² on every
output `C = σ²L`, so that the excess is `(σ²/2N) Σ ηλ/(2 − ηλ)` over the eigenvalues λ of L.

Limits: what is linear at the optimum: small noise and steps. The drift itself is followed for one step only.

Source: docs/theory.md, section 14.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from localgrad.checks import check_count, check_kind, check_positive, in_our_arithmetic
from localgrad.diagnostics.covariance import covariance_of, responses_of
from localgrad.diagnostics.kernel import checked_problem
from localgrad.rules.presets import BPTT
from localgrad.rules.rule import Rule
from localgrad.updates.error_maps import flow_jacobian
from localgrad.updates.horizon import Horizon

# Singular values of L below this share of the largest belong to directions in which the optimum does not change.
_FLAT = 1e-9
# What of a step's covariance falls into these directions by rounding alone.
_ROUNDING = 1e-12
# An update this small, next to what moving all weights by their size would make of it, is one at rest.
_AT_REST = 1e-6


@dataclass(frozen=True)
class Spread:
    """What noise makes of the weights near an optimum, under steps of a learning rate.

    - `covariance`: of the weights, without the directions in which the optimum does not change, shape
        `"weights weights"`, in the order of the entries of `A`, `W`, `B`.
    - `excess_loss`: what it adds to the loss of the optimum, on average.
    - `drift`: the trace of the covariance that one step adds in the directions in which the optimum does not change.
    - `rule`, `learning_rate`, `batch_size`: the problem.
    """

    covariance: np.ndarray = field(repr=False)
    excess_loss: float
    drift: float
    rule: Rule
    learning_rate: float
    batch_size: int

    def __str__(self) -> str:
        deviation = np.sqrt(np.trace(self.covariance))
        return (
            f"Spread of {self.rule.describe()}\n"
            f"  steps of {self.learning_rate:g}, batches of {self.batch_size}: in root mean square weights are "
            f"{deviation:.4g} from the optimum, the loss {self.excess_loss:.4g} above it\n"
            f"  along the optima the weights drift by {np.sqrt(self.drift):.4g} a step"
        )


@in_our_arithmetic
def stationary_spread(
    rule: Rule, student: Any, task: Any, *, learning_rate: float, batch_size: int = 1, horizon: int | None = None
) -> Spread:
    r"""The stationary spread of the weights around an optimum, under sampled steps `θ ← θ − η Δ̂`.

    **Arguments:**

    - `rule`, `student`, `task`, `horizon`: as in `update_covariance`; the student must be at rest under the rule, such
        as a copy of the teacher. Without noise in the error (`LinearTask.with_error_noise`) nothing spreads around an
        optimum of loss 0.
    - `learning_rate`: `η`, positive. `batch_size`: sequences a step.

    **Returns:** a `Spread`.

    **Raises:** `ValueError` as `update_covariance`; for a student that is not at rest, or that steps of this size
    leave; and where the directions in which nothing changes cannot be told from the others.

    Source: docs/theory.md, section 14.

    >>> import localgrad as lg
    >>> optimum = lg.LinearRNN([[1.0]], [[0.0]], [[1.0]])
    >>> noisy = lg.tasks.white_noise_teacher(optimum).with_error_noise(0.1)
    >>> round(stationary_spread(lg.BPTT(), optimum, noisy, learning_rate=0.01).excess_loss, 8)
    7.563e-05
    """
    check_kind("rule", rule, Rule)
    check_positive("learning_rate", learning_rate)
    check_count("batch_size", batch_size)
    with jax.enable_x64(True):
        found = responses_of(rule, student, task, horizon)
        over = Horizon.of(horizon)
        own, network, task = checked_problem(rule, student, task, over)
        L = np.asarray(flow_jacobian(own, network, task, over))
        curvature = np.asarray(flow_jacobian(BPTT(through_plant=True), network, task, over))
        weights = np.concatenate([np.ravel(x) for x in jax.tree.leaves(network)])
    flat = _flat_projector(L)
    _check_at_rest(np.einsum("xem,em->x", found.traces, found.error), L, weights)
    C, moving = covariance_of(found) / batch_size, np.eye(len(L)) - flat
    step = moving - learning_rate * L
    radius = np.abs(np.linalg.eigvals(step)).max()
    if not radius < 1:
        raise ValueError(
            f"steps of {learning_rate:g} leave this point (a deviation grows by {radius - 1:.2g} of itself a step), so "
            "no spread is stationary; lower the learning rate, or take an optimum that is stable under the rule"
        )
    pushed = learning_rate**2 * C
    S = solve_discrete_lyapunov(step, moving @ pushed @ moving.T)
    S = (S + S.T) / 2
    excess, drift = float(np.sum(curvature * S) / 2), float(np.sum((flat @ pushed) * flat))
    drift = drift if drift > _ROUNDING * np.trace(pushed) else 0.0
    return Spread(S, excess, drift, rule, float(learning_rate), int(batch_size))


def _check_at_rest(update: np.ndarray, L: np.ndarray, weights: np.ndarray) -> None:
    size = np.linalg.norm(L, 2) * np.linalg.norm(weights)
    if not np.linalg.norm(update) <= _AT_REST * size:
        raise ValueError(
            f"the student is not at rest: its update has size {np.linalg.norm(update):.3g}; give a student that has "
            "learned, such as a copy of the teacher"
        )


def _flat_projector(L: np.ndarray) -> np.ndarray:
    """The projector on the directions of `L v = 0`, along those that `L` moves."""
    left, values, right = np.linalg.svd(L)
    flat = values <= _FLAT * values[0]
    along, across = right[flat].T, left[:, flat]
    between = across.T @ along
    if flat.any() and not np.linalg.cond(between) < 1 / _FLAT:
        raise ValueError(
            "the optimum lies where sets of equally good weights meet, so that its linearised learning is no guide; "
            "give one in general position, such as a student with as many hidden units as the teacher"
        )
    return along @ np.linalg.solve(between, across.T) if flat.any() else np.zeros_like(L)
