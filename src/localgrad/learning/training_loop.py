r"""A run of sampled training on its way: what a loop over steps moves, and what a checkpoint must hold of it.

Seeds run side by side in one compiled program, which takes the number of steps as an argument. So it does not matter
where a run is cut into pieces: step `k` of a seed draws from the seed's key folded with `k`, and is the same, bit for
bit, however the loop got there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from localgrad.checks import check_finite, check_memory, in_our_arithmetic
from localgrad.learning.groups import in_groups
from localgrad.learning.running import check_progress, checked_step
from localgrad.learning.trainer import Trainer, TrainingState
from localgrad.models.arrays import (
    arrays_of,
    check_one_axis,
    in_one_precision,
    leading_axes,
    map_arrays,
    precision_of,
)
from localgrad.models.coordinates import coordinates_of
from localgrad.models.kinds import check_model
from localgrad.models.linear import LinearRNN, as_keys
from localgrad.rules.rule import Rule
from localgrad.rules.terms import terms_in_words
from localgrad.updates.engines import engine_of, named_arrays
from localgrad.updates.horizon import Horizon

CHUNK = 200
"""Most steps between two looks at a run: for the progress bar, and for an interrupt."""


class RunningTraining:
    """A run so far, of one student or a batch over seeds: the only thing here that changes."""

    def __init__(self, trainer: Trainer, student: Any, key: PRNGKeyArray, num_steps: int, save_every: int | None):
        _check_batch(trainer, student)
        student = in_one_precision(student)
        _check_key(key)
        _check_size(student, num_steps, save_every)
        self.trainer, self.initial, self.key, self.save_every = trainer, student, key, save_every
        seeds, dtype = leading_axes(student), precision_of(student)
        self.keys = jax.random.split(key, seeds) if seeds else key
        state, start = _state_of_seeds(trainer.rule, seeds, dtype), coordinates_of(student, trainer.poles)
        self.state = TrainingState(start, jnp.zeros(seeds, jnp.int32), jnp.full(seeds, -1, jnp.int32), state)
        self.loss = np.full((*seeds, num_steps), float(trainer.loss_limit), dtype)
        self.step = 0
        self.snapshots: list[Any] = []
        self._keep_snapshot()

    @property
    def num_steps(self) -> int:
        """The steps asked for."""
        return self.loss.shape[-1]

    def advance(self, stop: int) -> None:
        """Take at most `CHUNK` steps, to `stop` or to the end."""
        stop = min(stop, self.step + CHUNK, self.num_steps)
        count = stop - self.step
        if np.any(self.state.diverged_at < 0):  # where all have diverged, nothing moves any more
            self.state, losses = _take_steps_in_groups(self.trainer, self.keys, self.state, jnp.asarray(count))
            self.loss[..., self.step : stop] = losses[..., :count]
        self.step = stop
        self._keep_snapshot()

    def _keep_snapshot(self) -> None:
        if self.save_every and self.step % self.save_every == 0:
            self.snapshots.append(jax.tree.map(np.asarray, self.state.student))

    def bytes_at_end(self) -> int:
        """About how many bytes of progress there will be."""
        student = sum(x.nbytes for x in jax.tree.leaves(self.initial))
        num_snapshots = self.num_steps // self.save_every + 1 if self.save_every else 0
        return self.loss.nbytes + (num_snapshots + 1) * student

    def stacked_snapshots(self) -> Any:
        """All snapshots, with an axis `"snapshots"` before those of one model."""
        if self.snapshots:
            return map_arrays(lambda axes, *parts: jnp.stack(parts, axis=-1 - axes), *self.snapshots)
        return map_arrays(
            lambda axes, x: jnp.zeros((*x.shape[: x.ndim - axes], 0, *x.shape[x.ndim - axes :]), x.dtype), self.initial
        )

    def settings(self) -> dict[str, np.ndarray]:
        """What defines the run, step by step: all of it must be the same for a run to go on."""
        trainer = eqx.tree_at(lambda t: t.silent_loss, self.trainer, None)  # follows from the others
        rule, task = trainer.rule, trainer.task
        found = {"learning_rate": trainer.learning_rate, "batch_size": trainer.batch_size, "horizon": trainer.horizon}
        found |= {
            "loss": trainer.loss,
            "method": trainer.method,
            "lags": rule.lags or 0,
            "through_plant": rule.through_plant,
            "delay": rule.delay,
        }
        found |= {"save_every": self.save_every or 0, "key": jax.random.key_data(self.key)}
        found |= {"key_kind": str(jax.random.key_impl(self.key))}
        found |= {"terms": terms_in_words(rule)}
        numbers, _ = jax.tree_util.tree_flatten_with_path(rule)
        found |= {f"rule{jax.tree_util.keystr(path)}": value for path, value in numbers}
        found |= named_arrays(task) | _named(arrays_of(self.initial), "student.")
        if not isinstance(self.initial, LinearRNN):
            found |= {"model": type(self.initial).__name__, "poles": trainer.poles}
        return {name: np.asarray(value) for name, value in found.items()}

    def progress(self) -> dict[str, np.ndarray]:
        """How far the run has come: enough to go on from here."""
        found = {"step": self.step, "diverged_at": self.state.diverged_at, "loss": self.loss[..., : self.step]}
        found |= _named(self.state.learner.named, "student.")
        found |= _named(arrays_of(self.stacked_snapshots()), "snapshots.")
        found |= {f"rule_state.{i}": state for i, state in enumerate(self.state.rule_state)}
        return {name: np.asarray(value) for name, value in found.items()}

    def restore(self, found: dict[str, np.ndarray]) -> None:
        """Go on from a `progress`; `ValueError` where it is not one of this run."""
        self.step = checked_step(found, self.num_steps)
        self.loss[..., : self.step] = 0
        if self.save_every:
            self.snapshots = self.snapshots[:1] * (self.step // self.save_every + 1)
        check_progress(found, self.progress())  # a run at that step has arrays of these shapes
        own = {name: jnp.asarray(found[f"student.{name}"]) for name in self.state.learner.named}
        steps = jnp.full_like(self.state.step, self.step)
        state = tuple(jnp.asarray(found[f"rule_state.{i}"]) for i in range(len(self.state.rule_state)))
        learner = self.state.learner.with_named(own)
        self.state = TrainingState(learner, steps, jnp.asarray(found["diverged_at"]), state)
        self.loss[..., : self.step] = found["loss"]
        kept = jax.tree.unflatten(
            jax.tree.structure(self.initial), [found[f"snapshots.{name}"] for name in arrays_of(self.initial)]
        )
        for at in range(len(self.snapshots)):
            self.snapshots[at] = map_arrays(lambda axes, x, at=at: np.take(x, at, axis=-1 - axes), kept)


def _state_of_seeds(rule: Rule, seeds: tuple[int, ...], dtype: Any) -> tuple[Array, ...]:
    """What of the rule learns, for each seed: its own, or a copy of the one that all begin with."""
    return tuple(jnp.asarray(jnp.broadcast_to(x, (*seeds, *jnp.shape(x)[-2:])), dtype) for x in rule.state)


def _named(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + name: x for name, x in arrays.items()}


# --- compiled --------------------------------------------------------------------------------------------------------


@in_our_arithmetic
def _take_steps_in_groups(
    trainer: Trainer, keys: PRNGKeyArray, state: TrainingState, count: Array
) -> tuple[TrainingState, Float[Array, "... capacity"]]:
    """`_take_steps`; of a batch in groups of seeds (`groups.py`)."""
    if state.step.ndim == 0:
        return _take_steps(trainer, keys, state, count)

    def run(group: Any) -> tuple[TrainingState, Array]:
        own = _with_rule(trainer, trainer.rule.of_seed(group))
        return _take_steps(own, keys[group], jax.tree.map(lambda x: x[group], state), count)

    return in_groups(run, state.step.size)


@eqx.filter_jit
def _take_steps(
    trainer: Trainer, keys: PRNGKeyArray, state: TrainingState, count: Array
) -> tuple[TrainingState, Float[Array, "... capacity"]]:
    """The state after `count` steps, and their losses; one program for every `count`."""

    def of_one_seed(rule: Rule, key: PRNGKeyArray, state: TrainingState) -> tuple[TrainingState, Array]:
        one = _with_rule(trainer, rule)

        def take_step(k: Array, carry: tuple[TrainingState, Array]) -> tuple[TrainingState, Array]:
            state, losses = carry
            state, info = one.step(jax.random.fold_in(key, state.step), state)
            return state, losses.at[k].set(info.loss)

        losses = jnp.zeros(CHUNK, precision_of(state.learner.numbers))
        return jax.lax.fori_loop(0, count, take_step, (state, losses))

    rule = trainer.rule
    if state.step.ndim == 0:
        return of_one_seed(rule, keys, state)
    return jax.vmap(of_one_seed, in_axes=(rule.seed_axes(), 0, 0))(rule, keys, state)


def _with_rule(trainer: Trainer, rule: Rule) -> Trainer:
    return eqx.tree_at(lambda t: t.rule, trainer, rule)


@in_our_arithmetic
@eqx.filter_jit
def losses_of(trainer: Trainer, student: Any) -> Float[Array, "..."]:
    """The exact expected loss of a student or a batch of them, at most `trainer.loss_limit`."""

    def of_one_seed(student: Any) -> Array:
        value = engine_of(student).loss(student, trainer.task, Horizon(trainer.horizon, trainer.loss))
        return jnp.where(value <= trainer.loss_limit, value, trainer.loss_limit)

    return jax.vmap(of_one_seed)(student) if leading_axes(student) else of_one_seed(student)


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_batch(trainer: Trainer, student: Any) -> None:
    """`ValueError` where a student, or a batch of them, does not fit rule and task."""
    check_model(student)
    lead, own = check_one_axis(student), trainer.rule.num_seeds
    if own is not None and lead != (own,):
        raise ValueError(f"feedback has matrices for {own} seeds, the students leading axes {lead}; give one a seed")
    check_finite("student", student)
    first = jax.tree.map(lambda x: x[0], student) if lead else student
    coordinates_of(student, trainer.poles)  # of all seeds, for its errors
    _with_rule(trainer, trainer.rule.of_seed(0)).init(first)


def _check_size(student: Any, num_steps: int, save_every: int | None) -> None:
    losses = num_steps * math.prod(leading_axes(student)) * precision_of(student).itemsize
    check_memory(f"the losses of {num_steps:,} steps", losses, "give fewer steps")
    if save_every is not None:
        count = num_steps // save_every + 1
        weights = sum(x.nbytes for x in jax.tree.leaves(student))
        check_memory(f"{count:,} snapshots", count * weights, f"save less often than every {save_every} steps")


def _check_key(key: PRNGKeyArray) -> None:
    """`ValueError` unless this is one random key of JAX."""
    shape = as_keys(key).shape
    if shape:
        raise ValueError(f"key must be one random key, also for a batch of students; got keys of shape {shape}")
