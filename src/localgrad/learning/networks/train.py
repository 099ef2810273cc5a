r"""Whole runs of networks of cells: many steps, many seeds, checkpoints; `lg.train` comes here with an `lg.Network`.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

import os
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from localgrad.cells.block import cell_of
from localgrad.cells.stack import Network
from localgrad.checks import (
    check_choice,
    check_count,
    check_finite,
    check_kind,
    check_memory,
    check_positive,
    in_our_arithmetic,
)
from localgrad.diagnostics.rank import basis_of
from localgrad.learning.networks.loop import RunningNetworks
from localgrad.learning.networks.measures import Measurements, names_of
from localgrad.learning.networks.optimizers import as_optimizer, shared
from localgrad.learning.networks.result import NetworkRun
from localgrad.learning.networks.seeds import as_seeds, copies, of_seed, seeds_of
from localgrad.learning.networks.trainer import (
    Drawn,
    HeldOut,
    NetworkTrainer,
    OfSeeds,
    drawn,
    learning_of,
    sampled,
    sequences_in,
    silent_loss_of,
)
from localgrad.learning.running import check_running, run_to_end
from localgrad.models.arrays import in_precision, precision_of
from localgrad.models.linear import as_float_array, as_keys
from localgrad.outcomes import Outcome
from localgrad.rules.compiled import with_arrays
from localgrad.rules.rule import Rule
from localgrad.tasks.reaching.loop import LoopTask
from localgrad.tasks.sequences import SequenceTask
from localgrad.updates.through_time import check_network, check_rule, way_of

_HELD_OUT = 2**32 - 1  # the key of held-out sequences: the run's, folded with a number that no step has


def train_networks(
    rule: Rule,
    network: Any,
    task: SequenceTask,
    *,
    key: PRNGKeyArray,
    num_steps: int,
    batch_size: int,
    learning_rate: Any = None,
    optimizer: Any = None,
    method: str = "recorded",
    target_loss: float | None = None,
    test_task: SequenceTask | None = None,
    test_size: int | None = None,
    record: tuple[str, ...] = (),
    record_every: int | None = None,
    project_on: Any = None,
    save_every: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1000,
    progress: bool = False,
) -> NetworkRun:
    """A run of a network, or of many; see `lg.train`."""
    check_kind("rule", rule, Rule, "the order is rule, network, task")
    counts = {"num_steps": num_steps, "batch_size": batch_size, "test_size": test_size, "record_every": record_every}
    counts |= {"save_every": save_every, "checkpoint_every": checkpoint_every}
    check_running(checkpoint, progress, **counts)
    check_count("num_steps", num_steps)
    check_count("batch_size", batch_size)
    if target_loss is not None:
        check_positive("target_loss", target_loss)
    if as_keys(key).shape:
        raise ValueError(f"key must be one random key, also for many seeds; got keys of shape {as_keys(key).shape}")
    network = as_seeds(network)
    spans = _spans(project_on, network)
    network = _with_seeds_of((rule.num_seeds, *(len(x) for x in spans if x is not None and x.ndim == 3)), network)
    own = OfSeeds(in_precision(precision_of(network), with_arrays(rule)), spans)
    trainer, program = _trainer(
        own, network, task, test_task or task, key, batch_size, test_size or batch_size,
        as_optimizer(optimizer, learning_rate), method,
    )  # fmt: skip
    what = Measurements(names_of(record), record_every)
    if "angle" in what.names and not seeds_of(network):
        raise ValueError("an angle is between seeds; give several networks to record it")
    if "curvature" in what.names and isinstance(task, LoopTask):
        raise ValueError("the targets of a closed loop stand for its errors at one place only; leave curvature out")
    _check_credit(rule, task)
    run = RunningNetworks(trainer, own, network, key, num_steps, save_every, what, program)
    run_to_end(run, checkpoint, checkpoint_every, progress, save_every, record_every)
    return _result(run, rule, target_loss)


def _with_seeds_of(counts: tuple[int | None, ...], network: Network) -> Network:
    """The networks; one network is copied for each seed of the rule or of `project_on`, where these have seeds."""
    known, lead = {count for count in counts if count is not None}, seeds_of(network)
    if len(known | set(lead)) > 1:
        raise ValueError(
            f"the rule has arrays for {counts[0]} seeds, but there are {lead[0]} networks; give one a seed"
            if lead and known == {counts[0]}
            else f"rule, networks and project_on are of {sorted(known | set(lead))} seeds; give all the same number"
        )
    return network if lead or not known else copies(network, known.pop())


def _spans(project_on: Any, network: Network) -> tuple[Any, ...]:
    """For each layer an orthonormal basis of the directions that its steps are held to, or `None`."""
    layers = [cell_of(layer) for layer in network.layers]
    if project_on is None:
        return (None,) * len(layers)
    given = project_on if isinstance(project_on, list | tuple) and len(layers) > 1 else [project_on]
    if len(given) != len(layers):
        raise ValueError(f"project_on must be a list of {len(layers)} matrices, one a layer, None for a free one")
    return tuple(None if x is None else _span(x, cell.sizes[0]) for x, cell in zip(given, layers, strict=True))


def _span(directions: Any, hidden: int) -> Any:
    found = np.asarray(as_float_array(directions, "project_on"), float)
    if found.ndim not in (2, 3) or found.shape[-1] != hidden or 0 in found.shape:
        raise ValueError(f"project_on has shape {found.shape}; give (directions, {hidden}), or one such matrix a seed")
    check_finite("matrix project_on", found)
    return jnp.asarray(basis_of(found.mT))


@in_our_arithmetic
def _trainer(
    own: OfSeeds,
    network: Network,
    task: Any,
    test_task: Any,
    key: Any,
    batch: int,
    test: int,
    optimizer: Any,
    method: str,
) -> tuple[NetworkTrainer, str]:
    check_choice("method", method, ("recorded", "online"))
    one = of_seed(network, 0) if seeds_of(network) else network
    check_finite("network", network)
    check_finite("rule", own.rule)
    check_network(one)
    check_rule(own.rule.of_seed(0), one)
    _check_task("task", task, one)
    _check_task("test_task", test_task, one)
    if test_task.loss != task.loss:
        raise ValueError(f"test_task has loss {test_task.loss!r}, but the task {task.loss!r}; they must agree")
    test_key = jax.random.fold_in(key, _HELD_OUT)
    held_out = _good_batch(test_task, test_key, test, one)
    first = _good_batch(task, test_key, batch, one)
    way = way_of(own.rule.of_seed(0), one, first.data, method)
    optimizer, program = shared(optimizer, (learning_of(one), own.rule.of_seed(0).state))
    quiet = eqx.tree_at(lambda n: n.readout, one, jax.tree.map(jnp.zeros_like, one.readout))
    silent = _good_batch(test_task, test_key, test, quiet)
    loop = isinstance(test_task, LoopTask)
    judged = HeldOut(test_task, test_key, None if loop else held_out.data)
    return NetworkTrainer(task, optimizer, judged, test, batch, way, silent_loss_of(silent, task.loss)), program


def _check_task(name: str, task: Any, network: Network) -> None:
    if not isinstance(task, LoopTask):
        check_kind(name, task, SequenceTask, "the order is rule, network, task; see lg.tasks")
    output, _, channels = network.sizes
    if (task.num_inputs, task.num_outputs) != (channels, output):
        raise ValueError(
            f"the {name} has {task.num_inputs} inputs and {task.num_outputs} outputs, but the network {channels} and "
            f"{output}; they must agree"
        )


def _check_credit(rule: Rule, task: Any) -> None:
    """`ValueError` where a rule would carry credit round a closed loop of cells in a way that is not computed."""
    if not (isinstance(task, LoopTask) and rule.through_plant):
        return
    if not (rule.feedback.is_symmetric and rule.propagator.is_jacobian and rule.lags is None):
        raise ValueError(
            f"rule {rule.name!r} carries credit through the plant by an M and F of its own, which is not computed for "
            "cells; make it without through_plant, and choose the paths by the task's credit"
        )
    if task.credit != "loop":
        raise ValueError(
            f"rule {rule.name!r} carries credit through the plant, but the task has credit={task.credit!r}; give it "
            "credit='loop'"
        )


def _good_batch(task: Any, key: PRNGKeyArray, size: int, network: Network) -> Drawn:
    """A batch; `ValueError` where it is not finite, or holds classes that there are not."""
    made = jax.tree.leaves(jax.eval_shape(lambda key: drawn(task, key, size, network).data, key))
    check_memory(f"{size:,} sequences of the task", sum(x.size * x.dtype.itemsize for x in made), "take fewer")
    found = sequences_in(task, *_sampled(task, key, size, network), network)
    if not bool(found.good):
        raise ValueError(
            "a batch of the task holds a number that is not finite, a class that there is not, or a mask of zeros; "
            "mend the task"
        )
    return found


_sampled = eqx.filter_jit(sampled)


def _result(run: RunningNetworks, rule: Rule, target_loss: float | None) -> NetworkRun:
    every = run.measurements.every
    steps = np.arange(len(run.measured)) * (every or 0)
    if steps[-1] != run.step:
        run.measured.append(run.measure())
        steps = np.append(steps, run.step)
    seeds = seeds_of(run.initial)
    records = {name: np.stack([x[name] for x in run.measured], axis=len(seeds)) for name in run.measured[0]}
    final_loss, diverged_at = records["loss"][..., -1], np.asarray(run.state.diverged_at)
    silent = float(run.trainer.silent_loss)
    target = -1.0 if target_loss is None else target_loss * silent
    codes = np.where(final_loss <= target, Outcome.CONVERGED, Outcome.UNFINISHED)
    codes = np.where(diverged_at >= 0, Outcome.DIVERGED, codes)
    return NetworkRun(
        rule=rule,
        task=run.trainer.task,
        batch_size=run.trainer.batch_size,
        silent_loss=silent,
        initial=run.initial,
        final=run.state.network,
        final_rule=run.own.rule.at(run.state.rule_state),
        loss=run.loss,
        record_steps=steps,
        records=records,
        outcome=codes if codes.ndim else Outcome(int(codes)),
        diverged_at=diverged_at,
        snapshot_steps=np.arange(len(run.snapshots)) * (run.save_every or 0),
        snapshots=jax.tree.map(lambda *x: np.stack(x, axis=len(seeds)), *run.snapshots) if run.snapshots else None,
    )
