"""What is measured of networks along a run: always their loss on held-out sequences; more where it is asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from localgrad.cells.stack import Network
from localgrad.checks import check_choice, in_our_arithmetic, in_words
from localgrad.learning.groups import in_groups
from localgrad.learning.networks.changes import CHANGES
from localgrad.learning.networks.directions import DIRECTIONS
from localgrad.learning.networks.dynamics import DYNAMICS
from localgrad.learning.networks.situation import Finished, Situation, outputs_of
from localgrad.learning.networks.trainer import NetworkState, NetworkTrainer, OfSeeds, drawn
from localgrad.updates.through_time_steps import error_of

MEASURES = DIRECTIONS | CHANGES | DYNAMICS


class Measurements(NamedTuple):
    """What is measured, by name, and at which multiples of steps."""

    names: tuple[str, ...]
    every: int | None


def names_of(record: Any) -> tuple[str, ...]:
    """The names of what is to be recorded; `ValueError` for one that there is not."""
    names = (record,) if isinstance(record, str) else record
    if not isinstance(names, list | tuple):
        raise ValueError(f"record is {in_words(record)}; give a list of names, such as ['cosine']")
    for name in names:
        check_choice("record", name, MEASURES)
    return tuple(names)


def held_out(trainer: NetworkTrainer, network: Network) -> dict[str, Array]:
    """The loss on the held-out batch, at most the limit; of classes the share that is right, weighed as the loss."""
    task, key, data = trainer.held_out
    if data is None:  # a closed loop: what is heard follows from the network
        loss = jnp.asarray(drawn(task, key, trainer.test_size, network).loss)
    else:
        outputs = outputs_of(network, data)
        loss = error_of(outputs, data.targets, data.weights, task.loss)[1]
    limit = trainer.loss_limit.astype(loss.dtype)
    found = {"loss": jnp.where(loss <= limit, loss, limit)}
    if data is not None and task.loss == "cross_entropy":
        right = outputs.argmax(-1) == data.targets.argmax(-1)
        found["accuracy"] = jnp.sum(right * data.weights)
    return found


@in_our_arithmetic
def measured(
    trainer: NetworkTrainer, own: OfSeeds, what: Measurements, keys: PRNGKeyArray, state: NetworkState, initial: Network
) -> dict[str, np.ndarray]:
    """All measurements by name, with a leading axis of seeds where there are seeds."""
    compiled = {name: value for name in what.names if (value := MEASURES[name].compiled) is not None}

    def run(group: Any) -> dict[str, dict[str, Array]]:
        one = jax.tree.map(lambda x: x[group], state)
        return _of_seeds(trainer, own.of(group), compiled, keys[group], one)

    one = state.step.ndim == 0
    size = trainer.group_size(state.network)
    raw = _of_seeds(trainer, own, compiled, keys, state) if one else in_groups(run, state.step.size, size)
    found = jax.tree.map(np.asarray, raw)
    record = found.pop("")
    for name in what.names:
        raw, finish = found.get(name, {}), MEASURES[name].finish
        record |= raw if finish is None else finish(Finished(raw, state.network, initial, state.step.shape))
    return {name: _finite(value) for name, value in record.items()}


def _finite(value: np.ndarray) -> np.ndarray:
    """What overflows in a network about to diverge is the largest number there is, and what is none is 0."""
    return np.nan_to_num(value) if value.dtype.kind == "f" else value


@eqx.filter_jit
def _of_seeds(
    trainer: NetworkTrainer, own: OfSeeds, compiled: dict[str, Any], keys: PRNGKeyArray, state: NetworkState
) -> dict[str, dict[str, Array]]:
    """By the name of each measurement its numbers; under "" what is always measured."""

    def of_one(own: OfSeeds, key: PRNGKeyArray, state: NetworkState) -> dict[str, dict[str, Array]]:
        found = {"": held_out(trainer, state.network)}
        if compiled:
            step_key = jax.random.fold_in(key, state.step)
            data = trainer.batch(step_key, state.network).data
            seen = Situation(trainer, own.rule.at(state.rule_state), state.network, data, step_key)
            found |= {name: measure(seen) for name, measure in compiled.items()}
        return found

    if state.step.ndim == 0:
        return of_one(own, keys, state)
    return jax.vmap(of_one, in_axes=(own.axes(), 0, 0))(own, keys, state)
