r"""Sampled training: `θ ← θ − η Δθ̂` with the update of a fresh batch of noisy sequences each step.

A `Trainer` holds what does not change (rule, task, settings) and moves a `TrainingState` on by one step:

    trainer = Trainer(rule, task, learning_rate=0.01, batch_size=64, horizon=100)
    state = trainer.init(student)
    state, info = trainer.step(key, state)

`step` and `update` are compiled, and map over seeds with `jax.vmap`; `train.py` makes whole runs of them. The three
methods to compute an update are in `updates/sampled.py`; they agree to rounding.

All is computed in the student's precision. A finite horizon needs no stability: spectral radii of 1 and more are
allowed as long as nothing overflows.

Source: docs/theory.md, section 9 (sampling).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from localgrad.checks import (
    check_choice,
    check_count,
    check_finite,
    check_kind,
    check_memory,
    check_positive,
    in_our_arithmetic,
)
from localgrad.models.arrays import in_one_precision, in_precision, precision_of, readout_of
from localgrad.models.coordinates import Coordinates, coordinates_of
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.kinds import check_model
from localgrad.models.layer_poles import find_layer_poles
from localgrad.models.linear import LinearRNN, as_keys
from localgrad.outcomes import DIVERGED_LOSS
from localgrad.rules.compiled import with_arrays
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.updates.engines import engine_of, given_task, silent_loss_of
from localgrad.updates.horizon import Horizon, Loss
from localgrad.updates.sampled import METHODS, Noise, check_trace


class TrainingState(NamedTuple):
    """A student on its way, after `step` steps, as the numbers by which it learns (`models/coordinates.py`).

    `diverged_at`: the step at which it diverged, or −1. `rule_state`: what of the rule learns (`Rule.state`), often ().
    """

    learner: Coordinates
    step: Int[Array, ""]
    diverged_at: Int[Array, ""]
    rule_state: tuple[Array, ...] = ()

    @property
    def student(self) -> Any:
        """The student, a model of the kind that training began with."""
        return self.learner.model


class TrainingInfo(NamedTuple):
    """What a step saw: the `loss` of its batch, before the step, and the size `‖Δθ̂‖` of its update
    of the numbers that learn.

    The loss is `½⟨‖ε_T‖²⟩`, or for the sequence loss its mean over the steps. From divergence on it reads the limit,
    1e6 times the loss of a silent student, and the update has size 0.
    """

    loss: Float[Array, ""]
    update_size: Float[Array, ""]


class Trainer(eqx.Module):
    r"""Sampled training of a student on a task, step by step.

    **Arguments:**

    - `rule`: feedback of shape `"output hidden"`.
    - `task`: a `LinearTask`, or a `LinearRNN` or `DiagonalSSM` as teacher; stable or not, as long as its target stays
        finite within the horizon.
    - `learning_rate`: `η > 0`, dimensionless.
    - `batch_size`: sequences in a batch, at least 1.
    - `horizon`: steps `T` in a sequence, at least 1.
    - `loss`: `"final"` for `½⟨‖ε_T‖²⟩`, `"sequence"` for its mean over `t = 1 … T`.
    - `method`: `"correlation"` (the fastest), `"recorded"` or `"online"` (memory independent of the horizon; scalar and
        diagonal propagators, or one lag; on a `DiagonalSSM` every rule that keeps all lags). They agree to rounding.
    - `poles`: what a `DiagonalSSM` trains its poles by (docs/state_space.md).

    **Raises:** `ValueError` for values outside these ranges, a task that is not finite, overflows or is silent.

    Source: docs/theory.md, section 9 (sampling).
    """

    rule: Rule
    task: LinearTask | DiagonalSSM
    learning_rate: Float[Array, ""]
    silent_loss: Float[Array, ""]
    batch_size: int = eqx.field(static=True)
    horizon: int = eqx.field(static=True)
    loss: Loss = eqx.field(static=True)
    method: str = eqx.field(static=True)
    poles: str = eqx.field(static=True)

    def __init__(
        self,
        rule: Rule,
        task: LinearRNN | DiagonalSSM | LinearTask,
        *,
        learning_rate: Any,
        batch_size: int,
        horizon: int,
        loss: Loss = "final",
        method: str = "correlation",
        poles: str = "direct",
    ):
        check_kind("rule", rule, Rule)
        task = given_task(task)
        check_count("batch_size", batch_size)
        check_count("horizon", horizon)
        check_positive("learning_rate", learning_rate)
        check_choice("method", method, METHODS)
        # A decay that is a Python number would else be compiled in.
        self.rule, self.task, self.learning_rate = with_arrays(rule), task, jnp.asarray(learning_rate, float)
        self.batch_size, self.horizon, self.loss, self.method = int(batch_size), int(horizon), loss, method
        self.silent_loss = silent_loss_of(task, Horizon.of(horizon, loss))
        _check_batch_size(task, batch_size, horizon, method)
        if method == "online":
            check_trace(rule, as_task(task), horizon + rule.delay)  # what depends on the student too, `init` asks
        self.poles = find_layer_poles(poles).key

    def init(self, student: Any) -> TrainingState:
        """The state before the first step; `ValueError` where the student does not fit rule, task and method."""
        check_model(student)
        engine, over = engine_of(student), Horizon.of(self.horizon, self.loss)
        # Its checks, on shapes alone.
        jax.eval_shape(lambda s: engine.update(self.rule, s, self.task, over), student)
        engine.check_sampled(self.rule, self.task, self.horizon, self.method)
        check_finite("student", student)
        check_finite("rule", self.rule)
        state = in_precision(precision_of(student), self.rule.state)
        start = coordinates_of(in_one_precision(student), self.poles)
        return TrainingState(start, jnp.array(0, jnp.int32), jnp.array(-1, jnp.int32), state)

    @eqx.filter_jit
    @in_our_arithmetic
    def update(
        self, key: PRNGKeyArray, student: Any, rule_state: tuple[Array, ...] | None = None
    ) -> tuple[Any, Float[Array, ""]]:
        """The update of one batch drawn from `key`, of the student's own arrays, and that batch's loss.

        `rule_state`: the state of a rule that learns, by default the one it was given with.
        """
        check_model(student)
        rule, task = in_precision(precision_of(student), (self.rule, self.task))
        rule = rule if rule_state is None else rule.at(rule_state)
        noise = Noise(as_keys(key), self.horizon, self.batch_size)
        return engine_of(student).sampled(rule, student, task, noise, self.loss, self.method)

    @eqx.filter_jit
    @in_our_arithmetic
    def step(self, key: PRNGKeyArray, state: TrainingState) -> tuple[TrainingState, TrainingInfo]:
        """One step with a batch drawn from `key`; a student that has diverged stays at its last finite weights."""
        check_kind("state", state, TrainingState, "the order is key, state; begin with trainer.init(student)")
        own, student = state.learner, state.student
        update, loss = self.update(key, student, state.rule_state)
        rule = in_precision(precision_of(student), self.rule).at(state.rule_state)
        learning = (own.numbers, state.rule_state)
        updates = (own.pull_back(update), rule.state_update(readout_of(student), readout_of(update)))
        moved = jax.tree.map(lambda x, d: x - self.learning_rate.astype(x.dtype) * d, learning, updates)
        limit = self.loss_limit.astype(loss.dtype)
        before = state.diverged_at >= 0
        # Not "loss > limit": NaN is divergence too.
        going = ~before & (loss <= limit) & _all_finite(moved)
        numbers, rule_state = jax.tree.map(lambda new, old: jnp.where(going, new, old), moved, learning)
        diverged_at = jnp.where(going | before, state.diverged_at, state.step)
        size = jnp.minimum(jnp.linalg.norm(ravel_pytree(updates[0])[0]), jnp.finfo(loss.dtype).max)
        info = TrainingInfo(jnp.where(going, loss, limit), jnp.where(going, size, 0))
        return TrainingState(own.at(numbers), state.step + 1, diverged_at, rule_state), info

    @property
    @in_our_arithmetic
    def loss_limit(self) -> Float[Array, ""]:
        """The loss above which a student has diverged."""
        return jnp.minimum(DIVERGED_LOSS * self.silent_loss, jnp.finfo(jnp.float32).max)


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_batch_size(task: LinearTask | DiagonalSSM, batch_size: int, horizon: int, method: str) -> None:
    """`ValueError` where the noise of a batch, as random bits and as numbers, does not fit into memory."""
    steps = 1 if method == "online" else horizon
    remedy = "give a smaller batch_size" if steps == 1 else "give a smaller batch_size or horizon, or method='online'"
    noises = task.sizes[2] if isinstance(task, DiagonalSSM) else task.num_noises
    numbers = 2 * batch_size * steps * noises * precision_of(task).itemsize
    check_memory(f"{batch_size:,} sequences of {horizon:,} steps", numbers, remedy)


def _all_finite(tree: Any) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))
