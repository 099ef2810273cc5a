"""What is measured of networks along a run: always their loss on held-out sequences; more where it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from localgrad.cells.stack import Network, arrays_of_network
from localgrad.checks import in_our_arithmetic
from localgrad.learning.networks.trainer import NetworkState, NetworkTrainer, OfSeeds, learning_of
from localgrad.rules.rule import Rule
from localgrad.updates.through_time import update_in
from localgrad.updates.through_time_steps import Sequences, at_rest, error_of, network_step


class Measurements(NamedTuple):
    """What is measured, by name, and at which multiples of steps."""

    names: tuple[str, ...]
    every: int | None


class Situation(NamedTuple):
    """What a measurement sees of one seed."""

    trainer: NetworkTrainer
    rule: Rule
    network: Network
    initial: Network
    data: Sequences  # the batch that the next step would be of
    key: PRNGKeyArray


def outputs_of(network: Network, data: Sequences) -> Array:
    """The outputs, shape `"time batch output"`."""

    def step(states: Any, x: Array) -> Any:
        steps, output = network_step(network, states, x)
        return tuple(s.after for s in steps), output

    return jax.lax.scan(step, at_rest(network, data.inputs.shape[1], data.inputs.dtype), data.inputs)[1]


def held_out(trainer: NetworkTrainer, network: Network) -> dict[str, Array]:
    """The loss on the held-out batch, at most the limit; of classes the share that is right, weighed as the loss."""
    data = trainer.held_out
    outputs = outputs_of(network, data)
    loss = error_of(outputs, data.targets, data.weights, trainer.task.loss)[1]
    limit = trainer.loss_limit.astype(loss.dtype)
    found = {"loss": jnp.where(loss <= limit, loss, limit)}
    if trainer.task.loss == "cross_entropy":
        right = outputs.argmax(-1) == data.targets.argmax(-1)
        found["accuracy"] = jnp.sum(right * data.weights)
    return found


# --- what may be asked for --------------------------------------------------------------------------------------------


def cosine(seen: Situation) -> dict[str, Array]:
    """Of the rule's update and the gradient on the same batch: of all layers together, and of each array that learns.

    Of the readout's own update it is 1, whatever the rule, so that does not count. Of an update of 0 it is 0.
    """
    trainer, data = seen.trainer, seen.data
    update, _ = trainer.update(seen.rule, seen.network, data)
    gradient, _ = update_in("recorded", Rule(), seen.network, data, trainer.task.loss)
    true = _of_layers(gradient)
    pairs = {name: (x, true[name]) for name, x in _of_layers(update).items()}
    found = {f"cosine {name}": _cosine([pair]) for name, pair in pairs.items()}
    return found | {"cosine": _cosine(list(pairs.values()))}


def _of_layers(network: Network) -> dict[str, Array]:
    learned = arrays_of_network(learning_of(network))
    return {name: x for name, x in learned.items() if name.startswith("layers")}


def _cosine(pairs: list[tuple[Array, Array]]) -> Array:
    inner, one, other = (
        sum(jnp.vdot(*factors) for factors in chosen)
        for chosen in (pairs, [(x, x) for x, _ in pairs], [(y, y) for _, y in pairs])
    )
    size = jnp.sqrt(one) * jnp.sqrt(other)
    return jnp.where(size > 0, inner / jnp.where(size > 0, size, 1), 0)


MEASURES: dict[str, Callable[[Situation], dict[str, Array]]] = {"cosine": cosine}


@in_our_arithmetic
def measured(
    trainer: NetworkTrainer, own: OfSeeds, what: Measurements, keys: PRNGKeyArray, state: NetworkState, initial: Network
) -> dict[str, np.ndarray]:
    """All measurements by name, with a leading axis of seeds where there are seeds."""
    found = _of_seeds(trainer, own, what.names, keys, state, initial)
    return {name: np.asarray(value) for name, value in found.items()}


@eqx.filter_jit
def _of_seeds(
    trainer: NetworkTrainer, own: OfSeeds, names: tuple[str, ...], keys: PRNGKeyArray, state: NetworkState, initial: Any
) -> dict[str, Array]:
    def of_one(own: OfSeeds, key: PRNGKeyArray, state: NetworkState, initial: Network) -> dict[str, Array]:
        found = held_out(trainer, state.network)
        if names:
            step_key = jax.random.fold_in(key, state.step)
            data, _ = trainer.batch(step_key, state.network)
            rule = own.rule.at(state.rule_state)
            seen = Situation(trainer, rule, state.network, initial, data, step_key)
            for name in names:
                found |= MEASURES[name](seen)
        return found

    if state.step.ndim == 0:
        return of_one(own, keys, state, initial)
    return jax.vmap(of_one, in_axes=(own.axes(), 0, 0, 0))(own, keys, state, initial)
