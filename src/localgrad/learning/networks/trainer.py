r"""One step of training a network of cells: a fresh batch, the rule's update, a step of the optimiser.

    θ ← θ + Π d(Δθ)

`Π` is the identity, or, as a control, the projection of every step of a layer on the span of given directions of its
units (`project_on`): BPTT held to the span of a feedback `R` tells whether a local rule fails because it changes a
network in few directions, or because these changes are wrong.

Losses are told in units of that of a silent network, whose output is 0, on the held-out batch. A network diverges at
the first step whose loss is not finite or above the table's limit (`outcomes.py`), and stays as it was there.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from localgrad.cells.block import cell_of
from localgrad.cells.cell import Cell
from localgrad.cells.stack import Network, learned_parts
from localgrad.checks import in_our_arithmetic
from localgrad.learning.groups import GROUP
from localgrad.learning.networks.optimizers import is_key
from localgrad.models.arrays import in_precision, precision_of
from localgrad.outcomes import DIVERGED_LOSS
from localgrad.rules.rule import Rule
from localgrad.tasks.reaching.loop import LoopTask
from localgrad.tasks.sequences import Batch, SequenceTask
from localgrad.updates.through_time import sequences_of, update_in
from localgrad.updates.through_time_steps import Sequences, error_of, with_cell

_LARGE_STEP = 2048
"""From so many numbers a layer has in a step, batch × hidden, seeds run one by one, a thread each."""


class NetworkState(NamedTuple):
    """A network on its way, after `step` steps.

    `optimizer`, `rule_state`: the states of the optimiser, and of what of the rule learns. `diverged_at`,
    `bad_batch_at`: the step at which it diverged, or at which the task gave a batch that is none, or −1.
    """

    network: Network
    optimizer: Any
    rule_state: tuple[Array, ...]
    step: Int[Array, ""]
    diverged_at: Int[Array, ""]
    bad_batch_at: Int[Array, ""]


class OfSeeds(NamedTuple):
    """What may be a seed's own: the rule, and for each layer the directions that its steps are held to."""

    rule: Rule  # its arrays have a leading axis "seeds" where they are one a seed
    spans: tuple[Any, ...]  # orthonormal, "hidden directions" or "seeds hidden directions"; or None

    def of(self, seed: Any) -> OfSeeds:
        """Of one seed, or of an array of them."""
        return OfSeeds(self.rule.of_seed(seed), tuple(x[seed] if _has_seeds(x) else x for x in self.spans))

    def axes(self) -> OfSeeds:
        """Where `jax.vmap` finds the seeds."""
        return OfSeeds(self.rule.seed_axes(), tuple(0 if _has_seeds(x) else None for x in self.spans))


def _has_seeds(span: Any) -> bool:
    return span is not None and span.ndim == 3


class Drawn(NamedTuple):
    """A batch of a task, and whether all of it is good: finite, with classes that there are.

    `loss`: where the task is a closed loop, what the trials cost; elsewhere it follows from the outputs.
    """

    data: Sequences
    good: Array
    loss: Array | None


class HeldOut(NamedTuple):
    """What networks are judged on: sequences, or where the task is a closed loop, trials drawn from one key."""

    task: SequenceTask | LoopTask
    key: PRNGKeyArray
    sequences: Sequences | None


class NetworkTrainer(eqx.Module):
    """What does not change in a run: task, optimiser, batches, and how an update is computed."""

    task: SequenceTask | LoopTask
    optimizer: Any
    held_out: HeldOut
    test_size: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    way: str = eqx.field(static=True)
    silent_loss: Array

    @property
    def loss_limit(self) -> Array:
        """The loss above which a network has diverged."""
        return jnp.minimum(DIVERGED_LOSS * self.silent_loss, jnp.finfo(jnp.float32).max)

    def group_size(self, network: Network) -> int:
        """Most seeds in one program on a CPU.

        Measured: programs of several seeds save time in small steps, whose operations are many and short.
        """
        hidden = max(layer.sizes[0] for layer in network.layers)
        return GROUP if self.batch_size * hidden < _LARGE_STEP else 1

    def init(self, own: OfSeeds, network: Network) -> NetworkState:
        """The state before the first step."""
        rule_state = in_precision(precision_of(network), own.rule.state)
        start, never = jnp.array(0, jnp.int32), jnp.array(-1, jnp.int32)
        optimizer = self.optimizer.init((learning_of(network), rule_state))
        return NetworkState(network, optimizer, rule_state, start, never, never)

    def batch(self, key: PRNGKeyArray, network: Network) -> Drawn:
        """What is drawn from `key`."""
        return drawn(self.task, key, self.batch_size, network)

    def update(self, rule: Rule, network: Network, data: Sequences) -> tuple[Network, Array]:
        """The rule's update, and the loss."""
        return update_in(self.way, in_precision(precision_of(network), rule), network, data, self.task.loss)

    @in_our_arithmetic
    def step(self, own: OfSeeds, key: PRNGKeyArray, state: NetworkState) -> tuple[NetworkState, Array]:
        """One step with the batch drawn from `key`, and the loss before it."""
        network, rule = state.network, own.rule.at(state.rule_state)
        data, good, own_loss = self.batch(key, network)
        update, loss = self.update(rule, network, data)
        loss = loss if own_loss is None else own_loss
        of_rule = rule.state_update(network.readout.A, update.readout.A)
        learning = (learning_of(network), state.rule_state)
        steps, optimizer = self.optimizer.update((learning_of(update), of_rule), state.optimizer, learning)
        steps = (held_to(own.spans, steps[0]), steps[1])
        moved = jax.tree.map(lambda x, d: x + d.astype(x.dtype), learning, steps)
        limit = self.loss_limit.astype(loss.dtype)
        before = (state.diverged_at >= 0) | (state.bad_batch_at >= 0)
        # Not "loss > limit": NaN is divergence too.
        going = ~before & good & (loss <= limit) & _all_finite((moved, optimizer))

        def kept(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda x, y: _in_kind_of(y, jnp.where(going, x, y)), new, old)

        moved, optimizer = kept(moved, learning), kept(optimizer, state.optimizer)
        diverged_at = jnp.where(going | before | ~good, state.diverged_at, state.step)
        bad_batch_at = jnp.where(good | before, state.bad_batch_at, state.step)
        network = eqx.combine(moved[0], network)
        state = NetworkState(network, optimizer, moved[1], state.step + 1, diverged_at, bad_batch_at)
        return state, jnp.where(going, loss, limit)


def learning_of(network: Network) -> Any:
    """The arrays of a network, or of its update, that learn; `None` in place of others."""
    return eqx.filter(network, learned_parts(network))


def drawn(task: SequenceTask | LoopTask, key: PRNGKeyArray, size: int, network: Network) -> Drawn:
    """A batch of a task."""
    return sequences_in(task, *sampled(task, key, size, network), network)


def sampled(
    task: SequenceTask | LoopTask, key: PRNGKeyArray, size: int, network: Network
) -> tuple[Batch, Array | None]:
    """A batch as the task draws it, and what the trials of a closed loop cost."""
    return task.sample(key, size, network) if isinstance(task, LoopTask) else (task.sample(key, size), None)


def sequences_in(task: SequenceTask | LoopTask, batch: Batch, loss: Array | None, network: Network) -> Drawn:
    """A batch as sequences in a network's precision."""
    dtype = precision_of(network)
    mask = None if batch.mask is None else jnp.asarray(batch.mask).astype(dtype)
    data = in_precision(dtype, sequences_of(network, batch.inputs, batch.targets, task.loss, mask))
    good = _all_finite(data)
    if task.loss == "cross_entropy":
        classes = jnp.asarray(batch.targets)
        good &= jnp.all((classes >= 0) & (classes < len(network.readout.A)))
    return Drawn(data, good, loss)


def silent_loss_of(found: Drawn, loss: str) -> Array:
    """The loss of a network whose output is 0, of which this is the batch."""
    data = found.data
    silent = error_of(jnp.zeros_like(data.targets), data.targets, data.weights, loss)[1]
    return silent if found.loss is None else found.loss


def held_to(spans: tuple[Any, ...], steps: Network) -> Network:
    """The steps of a network with those of each layer projected on its span, over units."""
    layers = [
        layer if span is None else with_cell(layer, _projected(span, cell_of(layer)))
        for span, layer in zip(spans, steps.layers, strict=True)
    ]
    return eqx.tree_at(lambda n: n.layers, steps, tuple(layers))


def _projected(span: Array, cell: Cell) -> Cell:
    """The step of a cell, projected: units are the last axis but one of its matrices, and the last of vectors."""
    matrices = ("W", "B")

    def project(path: Any, x: Array) -> Array:
        by_unit = x if jax.tree_util.keystr(path).lstrip(".") in matrices else x[..., None]
        found = span.astype(x.dtype) @ (span.mT.astype(x.dtype) @ by_unit)
        return found.reshape(x.shape)

    return jax.tree.map_with_path(project, cell)


def _all_finite(tree: Any) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree) if not is_key(x)]))


def _in_kind_of(old: Any, new: Array) -> Array:
    return new if is_key(old) else new.astype(old.dtype)
