"""What `learn` returns: how a network, or a batch of them, learned along the exact flow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from localgrad.diagnostics.alignment import Alignment, alignment
from localgrad.diagnostics.rank import SingularSpectrum, singular_spectrum
from localgrad.learning.methods import Flow, Steps
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.leaky import LeakyRNN, linear_form
from localgrad.models.linear import conserved_quantity
from localgrad.outcomes import Outcome
from localgrad.rules.numbers import given_numbers
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.horizon import Horizon


@dataclass(frozen=True)
class LearningCurve:
    """How a network learned. Shapes are of one run; in a batch, everything has one leading axis `"seeds"` more.

    - `rule`, `task` (a `LinearTask`; `teacher`, where it is one), `over` (the `Horizon`: steps and loss), `method` (a
        `Flow` or `Steps`), `duration`, `tolerance`: the problem.
    - `time`, `loss`: learning time and exact expected loss at every step of the integrator, shape `"points"`; a
        diverged run may end on an infinite loss. In a batch a run that ended before the longest repeats its last point.
    - `silent_loss`: the loss of a student without output, the unit in which losses are told.
    - `outcome`: how it ended, an `Outcome`; in a batch an array of their numbers.
    - `initial`, `final`: the networks at both ends; `final_rule`: the rule at the end, whose feedback may have learned.
    - `snapshot_times`, `snapshots`: the networks on the way, with a leading axis `"snapshots"`; a run that ended
        before holds its final network from then on. `states`: what of the rule learned, at the same times.
    - `steps`: how many steps the integrator tried. `poles`: what a `DiagonalSSM` trained its poles by.
    """

    rule: Rule
    task: LinearTask | DiagonalSSM
    over: Horizon
    method: Flow | Steps
    duration: float
    tolerance: float
    silent_loss: float
    time: np.ndarray
    loss: np.ndarray
    outcome: Any
    initial: Any
    final: Any
    final_rule: Rule
    snapshot_times: np.ndarray
    snapshots: Any
    states: tuple[np.ndarray, ...]
    steps: np.ndarray
    poles: str = "direct"

    def __repr__(self) -> str:
        sizes = "{} outputs, {} hidden units, {} inputs".format(*self.initial.sizes)
        many = self.time.ndim == 2
        seeds = f"{len(self.time)} students of " if many else "a student of "
        outcomes = (
            ", ".join(f"{count} {word}" for word, count in Outcome.counts(self.outcome).items())
            if many
            else str(self.outcome)
        )
        left = self.loss[..., -1] / self.silent_loss
        losses = f"{np.median(left):.3g}" + (f" (median; {left.min():.3g} to {left.max():.3g})" if many else "")
        return (
            f"LearningCurve under {self.rule.describe()}\n"
            f"  {seeds}{sizes}; {self._over}, {self.method}\n"
            f"  {outcomes} at learning time {self.time[..., -1].max():.4g} of {self.duration:.4g}\n"
            f"  loss {losses} of a silent student's"
        )

    @property
    def teacher(self) -> Any:
        """The teacher; `ValueError` where the task is more than a teacher that hears white noise."""
        return self.task if isinstance(self.task, DiagonalSSM) else self.task.teacher

    @property
    def _over(self) -> str:
        steps = self.over.steps
        return "infinite horizon" if steps is None else f"{steps} steps, {self.over.loss} loss"

    @property
    def horizon(self) -> int | None:
        """Steps of a sequence; `None` for the limit of long ones."""
        return self.over.steps

    def _need_networks(self, what: str) -> None:
        if isinstance(self.snapshots, DiagonalSSM):
            raise ValueError(f"a DiagonalSSM has no {what} here; take lg.real_blocks of its snapshots")
        if isinstance(self.snapshots, LeakyRNN) and what in ("spectrum", "conserved_drift"):
            raise ValueError(f"a LeakyRNN has no {what} here; take snapshots.linear_form().network")

    @cached_property
    def feedback(self) -> np.ndarray | None:
        """The feedback `F` at each snapshot, shape `"snapshots output hidden"`; `None` where it is `A` itself."""
        if self.rule.feedback.is_symmetric:
            return None
        self._need_networks("feedback")
        leading = self.snapshots.A.shape[:-2]
        flat = self.snapshots.A.reshape(-1, *self.snapshots.A.shape[-2:])
        states = [x.reshape(-1, *x.shape[-2:]) for x in self.states]
        runs = np.repeat(np.arange(leading[0]), leading[1]) if len(leading) == 2 else np.zeros(len(flat), int)
        rules = [self.rule.of_seed(int(run)) for run in range(max(runs) + 1)]
        at = [tuple(x[i] for x in states) for i in range(len(flat))]
        found = [rules[run].at(state).feedback(A) for run, state, A in zip(runs, at, flat, strict=True)]
        return np.asarray(found).reshape(*leading, *self.snapshots.A.shape[-2:])

    @cached_property
    def alignment(self) -> Alignment:
        """The snapshots' alignment with the teacher's modes (`localgrad.alignment`); the teacher must be aligned."""
        self._need_networks("alignment")
        return alignment(linear_form(self.snapshots).network, self.teacher, self.feedback)

    @cached_property
    def spectrum(self) -> SingularSpectrum:
        """Rank and singular values of what each snapshot has learned, `W_k − W_0` and `B_k − B_0`."""
        self._need_networks("spectrum")
        initial = jax.tree.map(lambda x: np.asarray(x)[..., None, :, :], self.initial)
        return singular_spectrum(initial, self.snapshots)

    @cached_property
    def spectral_radius(self) -> np.ndarray:
        """`ρ(W)` of each snapshot; where units leak that of their Jacobian, of a layer its largest `|λ|`."""
        if isinstance(self.snapshots, DiagonalSSM):
            return np.abs(np.asarray(self.snapshots.poles)).max(axis=-1)
        W = np.asarray(linear_form(self.snapshots).network.W, dtype=np.float64)
        return np.abs(np.linalg.eigvals(W)).max(axis=-1)

    @cached_property
    def conserved_drift(self) -> np.ndarray:
        """How far `AᵀA − BBᵀ + WᵀW − WWᵀ` has moved in each snapshot, relative to the size of its terms.

        BPTT conserves it, so that for BPTT this is the integrator's error; other rules do move it.
        """
        self._need_networks("conserved_drift")
        Q = np.asarray(conserved_quantity(self.snapshots))
        start = np.asarray(conserved_quantity(jax.tree.map(np.asarray, self.initial)))[..., None, :, :]
        size = sum(np.sum(np.asarray(x) ** 2, axis=(-2, -1)) for x in self.snapshots.matrices)
        return np.linalg.norm(Q - start, axis=(-2, -1)) / np.maximum(size, np.finfo(float).tiny)

    def at(self, times: Any) -> np.ndarray:
        """The loss at learning times, interpolated between steps in its logarithm: one grid for all seeds, for bands.

        **Arguments:** `times`: from 0 to the duration, ascending, shape `"points"`. After its end a run keeps its last
        loss.

        **Returns:** an array of shape `"points"`, in a batch `"seeds points"`.

        **Raises:** `ValueError` for times outside this range or out of order.
        """
        return interpolated(times, self.time, self.loss, self.duration)

    def plot(self) -> Any:
        """A Matplotlib figure: the loss over learning time, a curve a seed, in units of a silent student's."""
        from localgrad.figures.curves import plot_losses

        return plot_losses(self.time, self.loss / self.silent_loss, self.outcome, self.rule, "learning time")


def interpolated(times: Any, knots: np.ndarray, losses: np.ndarray, duration: float) -> np.ndarray:
    """Losses at `times`, linear in their logarithm between `knots`; both may have a leading axis `"seeds"`."""
    at = np.atleast_1d(np.asarray(given_numbers(times, "times"), dtype=np.float64))
    if at.ndim != 1 or not np.all((at >= 0) & (at <= duration)) or np.any(np.diff(at) < 0):
        raise ValueError(f"times must be ascending learning times from 0 to the duration {duration:g}")
    if losses.ndim == 2:
        knots = np.broadcast_to(knots, losses.shape)
        return np.stack([interpolated(at, k, x, duration) for k, x in zip(knots, losses, strict=True)])
    tiny = np.finfo(np.float64).tiny
    return np.exp(np.interp(at, knots, np.log(np.maximum(losses, tiny))))
