"""What a measurement sees of a run, and the two kinds of measurements: of one seed, compiled, and of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from localgrad.cells.running import at_rest, network_step
from localgrad.cells.stack import Network, arrays_of_network
from localgrad.learning.networks.trainer import NetworkTrainer, learning_of
from localgrad.rules.rule import Rule
from localgrad.updates.through_time_steps import Sequences


class Situation(NamedTuple):
    """One seed, within a compiled program."""

    trainer: NetworkTrainer
    rule: Rule
    network: Network
    data: Sequences  # the batch that the next step would be of
    key: PRNGKeyArray


class Finished(NamedTuple):
    """All seeds, outside of it: arrays of NumPy with a leading axis of seeds, where there are seeds."""

    raw: dict[str, np.ndarray]
    network: Network
    initial: Network
    seeds: tuple[int, ...]


class Measure(NamedTuple):
    """`compiled`: numbers of one seed, by name. `finish`: what is recorded of them; `None` records them as they are."""

    compiled: Callable[[Situation], dict[str, Array]] | None
    finish: Callable[[Finished], dict[str, np.ndarray]] | None = None


def outputs_of(network: Network, data: Sequences) -> Array:
    """The outputs, shape `"time batch output"`."""

    def step(states: Any, x: Array) -> Any:
        steps, output = network_step(network, states, x)
        return tuple(s.after for s in steps), output

    return jax.lax.scan(step, at_rest(network, data.inputs.shape[1], data.inputs.dtype), data.inputs)[1]


def of_layers(network: Network) -> dict[str, Array]:
    """The arrays of layers that learn, by name: all but the readout's."""
    learned = arrays_of_network(learning_of(network))
    return {name: x for name, x in learned.items() if name.startswith("layers")}
