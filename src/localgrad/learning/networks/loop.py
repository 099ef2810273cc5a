r"""A run of a network of cells on its way: what a loop over steps moves, and what a checkpoint must hold of it.

As in `training_loop.py`, seeds run side by side in one compiled program that takes the number of steps as an argument,
and step `k` of a seed draws from the seed's key folded with `k`: where a run is cut into pieces changes no bit of it.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from localgrad.cells.stack import Network
from localgrad.checks import in_our_arithmetic
from localgrad.learning.groups import in_groups
from localgrad.learning.networks.measures import Measurements, measured
from localgrad.learning.networks.optimizers import with_keys, without_keys
from localgrad.learning.networks.seeds import seeds_of
from localgrad.learning.networks.settings import (
    digest_of_arrays,
    like,
    named,
    of_network,
    of_optimizer,
    of_rule,
    of_task,
)
from localgrad.learning.networks.trainer import NetworkState, NetworkTrainer, OfSeeds
from localgrad.learning.running import check_progress, checked_step
from localgrad.models.arrays import precision_of

CHUNK = 100
"""Most steps between two looks at a run: for the progress bar, and for an interrupt."""


class RunningNetworks:
    """A run so far, of one network or a batch over seeds: the only thing here that changes."""

    def __init__(
        self,
        trainer: NetworkTrainer,
        own: OfSeeds,
        network: Network,
        key: PRNGKeyArray,
        num_steps: int,
        save_every: int | None,
        measurements: Measurements,
        program: str,
    ):
        self.trainer, self.own, self.initial, self.key = trainer, own, network, key
        self.save_every, self.measurements, self.program = save_every, measurements, program
        seeds = seeds_of(network)
        self.keys = jax.random.split(key, seeds) if seeds else key
        self.state = _initial_state(trainer, own, network)
        self.loss = np.full((*seeds, num_steps), float(trainer.loss_limit), precision_of(network))
        self.step = 0
        self.snapshots: list[Network] = []
        self.measured: list[dict[str, np.ndarray]] = []
        self._look()

    @property
    def num_steps(self) -> int:
        """The steps asked for."""
        return self.loss.shape[-1]

    def advance(self, stop: int) -> None:
        """Take at most `CHUNK` steps, to `stop` or to the end."""
        stop = min(stop, self.step + CHUNK, self.num_steps)
        count = stop - self.step
        if np.any(self.state.diverged_at < 0):  # where all have diverged, nothing moves any more
            self.state, losses = _take_steps_in_groups(
                self.trainer, self.own, self.keys, self.state, jnp.asarray(count)
            )
            _check_batches(self.state)
            self.loss[..., self.step : stop] = np.asarray(losses)[..., :count]
        self.step = stop
        self._look()

    def _look(self) -> None:
        if self.save_every and self.step % self.save_every == 0:
            self.snapshots.append(jax.tree.map(np.asarray, self.state.network))
        every = self.measurements.every
        if self.step == 0 or (every and self.step % every == 0):
            self.measured.append(self.measure())

    def settings(self) -> dict[str, np.ndarray]:
        """What defines the run, step by step: all of it must be the same for a run to go on."""
        trainer = self.trainer
        found = {"batch_size": trainer.batch_size, "way": trainer.way, "save_every": self.save_every or 0}
        found |= {"key": jax.random.key_data(self.key), "key_kind": str(jax.random.key_impl(self.key))}
        found |= {"record": " ".join(self.measurements.names), "record_every": self.measurements.every or 0}
        found |= of_rule(self.own.rule) | of_network(self.initial)
        found |= of_task(trainer.task, trainer.batch_size, self.initial)
        test_task, _, sequences = trainer.held_out
        if sequences is None:
            test = of_task(test_task, trainer.test_size, self.initial)
            found |= {f"test_{name}": value for name, value in test.items()}
        found |= of_optimizer(trainer.optimizer, self.program) | {"held_out": digest_of_arrays(sequences)}
        found |= named("project_on", self.own.spans)
        return {name: np.asarray(value) for name, value in found.items()}

    def progress(self) -> dict[str, np.ndarray]:
        """How far the run has come: enough to go on from here."""
        found = {"step": self.step, "diverged_at": self.state.diverged_at, "loss": self.loss[..., : self.step]}
        found |= named("state", self._moving()) | named("snapshots", self.snapshots) | named("records", self.measured)
        return {name: np.asarray(value) for name, value in found.items()}

    def _moving(self) -> Any:
        return without_keys((self.state.network, self.state.optimizer, self.state.rule_state))

    def restore(self, found: dict[str, np.ndarray]) -> None:
        """Go on from a `progress`; `ValueError` where it is not one of this run."""
        self.step = checked_step(found, self.num_steps)
        self.loss[..., : self.step] = 0
        if self.save_every:
            self.snapshots = self.snapshots[:1] * (self.step // self.save_every + 1)
        every = self.measurements.every
        self.measured = self.measured[:1] * (self.step // every + 1 if every else 1)
        check_progress(found, self.progress())  # a run at that step has arrays of these shapes
        network, optimizer, rule_state = jax.tree.map(jnp.asarray, like("state", self._moving(), found))
        optimizer = with_keys(optimizer, self.state.optimizer)
        steps, at = jnp.full_like(self.state.step, self.step), jnp.asarray(found["diverged_at"])
        self.state = NetworkState(network, optimizer, rule_state, steps, at, self.state.bad_batch_at)
        self.loss[..., : self.step] = found["loss"]
        self.snapshots, self.measured = (
            like(name, x, found) for name, x in (("snapshots", self.snapshots), ("records", self.measured))
        )

    def bytes_at_end(self) -> int:
        """About how many bytes of progress there will be."""
        network = sum(x.nbytes for x in jax.tree.leaves(self.initial))
        snapshots = self.num_steps // self.save_every + 1 if self.save_every else 0
        records = self.num_steps // self.measurements.every + 1 if self.measurements.every else 1
        records *= sum(x.nbytes for x in self.measured[0].values())
        state = sum(np.asarray(x).nbytes for x in jax.tree.leaves(self._moving()))
        return self.loss.nbytes + snapshots * network + state + records

    def measure(self) -> dict[str, np.ndarray]:
        """What is measured of the networks as they are now."""
        return measured(self.trainer, self.own, self.measurements, self.keys, self.state, self.initial)


def _check_batches(state: NetworkState) -> None:
    bad = np.asarray(state.bad_batch_at)
    if np.any(bad >= 0):
        raise ValueError(
            f"the task's batch at step {bad[bad >= 0].min()} holds a number that is not finite, a class that there is "
            "not, or a mask of zeros; mend the task"
        )


# --- compiled --------------------------------------------------------------------------------------------------------


@in_our_arithmetic
@eqx.filter_jit
def _initial_state(trainer: NetworkTrainer, own: OfSeeds, network: Network) -> NetworkState:
    if not seeds_of(network):
        return trainer.init(own, network)
    return jax.vmap(trainer.init, in_axes=(own.axes(), 0))(own, network)


@in_our_arithmetic
def _take_steps_in_groups(
    trainer: NetworkTrainer, own: OfSeeds, keys: PRNGKeyArray, state: NetworkState, count: Array
) -> tuple[NetworkState, Array]:
    if state.step.ndim == 0:
        return _take_steps(trainer, own, keys, state, count)

    def run(group: Any) -> tuple[NetworkState, Array]:
        return _take_steps(trainer, own.of(group), keys[group], jax.tree.map(lambda x: x[group], state), count)

    return in_groups(run, state.step.size, trainer.group_size(state.network))


@eqx.filter_jit
def _take_steps(
    trainer: NetworkTrainer, own: OfSeeds, keys: PRNGKeyArray, state: NetworkState, count: Array
) -> tuple[NetworkState, Array]:
    """The state after `count` steps, and their losses; one program for every `count`."""

    def of_one_seed(own: OfSeeds, key: PRNGKeyArray, state: NetworkState) -> tuple[NetworkState, Array]:
        def take_step(k: Array, carry: tuple[NetworkState, Array]) -> tuple[NetworkState, Array]:
            state, losses = carry
            state, loss = trainer.step(own, jax.random.fold_in(key, state.step), state)
            return state, losses.at[k].set(loss)

        losses = jnp.zeros(CHUNK, precision_of(state.network))
        return jax.lax.fori_loop(0, count, take_step, (state, losses))

    if state.step.ndim == 0:
        return of_one_seed(own, keys, state)
    return jax.vmap(of_one_seed, in_axes=(own.axes(), 0, 0))(own, keys, state)
