"""The sampled runs of `experiment.py`: single updates of many batches, and whole learning curves of many seeds.

Both come from one compiled program a batch size: a sampled update is a single step of size 1.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from localgrad.learning.trainer import Trainer, TrainingState
from localgrad.models.coordinates import coordinates_of
from localgrad.models.linear import LinearRNN
from localgrad.reproduction.networks.double_limit.problem import Parameters, Problem, distance, flat, stack, unstack
from localgrad.updates.expected import expected_update


@eqx.filter_jit
def _train(trainers: Trainer, students: LinearRNN, keys: Any, num_steps: Any) -> LinearRNN:
    """Students after so many sampled steps under each trainer, axes `"rule seeds"`."""

    def run(trainer: Trainer, student: LinearRNN, key: Any) -> LinearRNN:
        start = TrainingState(coordinates_of(student), jnp.array(0, jnp.int32), jnp.array(-1, jnp.int32))
        step = lambda k, state: trainer.step(jax.random.fold_in(key, k), state)[0]  # noqa: E731
        return jax.lax.fori_loop(0, num_steps, step, start).student

    return jax.vmap(jax.vmap(run, (None, None, 0)), (0, 0, None))(trainers, students, keys)


def _trainers(problem: Problem, p: Parameters, batch_size: int, rate: float) -> Trainer:
    make = partial(Trainer, learning_rate=rate, batch_size=batch_size, horizon=p.sampled_horizon)
    return stack([make(rule, problem.teacher) for rule in unstack(problem.rules)])


def finite_batches(problem: Problem, flow: LinearRNN, p: Parameters) -> xr.Dataset:
    """Mean and spread of the first sampled update, and of sampled learning curves at time `duration`."""
    start, flown = (jax.tree.map(lambda x: x[:, k], flow) for k in range(2))  # noqa: B023
    exact = stack([
        expected_update(rule, student, problem.teacher, horizon=p.sampled_horizon)
        for rule, student in zip(unstack(problem.rules), unstack(start), strict=True)
    ])  # fmt: skip
    updates = [_sampled_updates(problem, start, p, N) for N in p.batch_sizes]
    curves = [[_curve_ends(problem, start, p, N, rate) for rate in p.sampled_rates] for N in p.batch_sizes]
    size, path = np.linalg.norm(flat(exact), axis=-1), distance(flown, start)
    by_batch, by_both = ("rule", "batch_size"), ("rule", "batch_size", "sampled_rate")
    spread = [[_spread(x) / path for x in row] for row in curves]
    mean_off = [[np.linalg.norm(x.mean(axis=1) - flat(flown), axis=-1) / path for x in row] for row in curves]
    return xr.Dataset(
        {
            "update_error": (by_batch, np.stack([_standard_errors(x, flat(exact)) for x in updates], axis=-1)),
            "update_spread": (by_batch, np.stack([_spread(x) / size for x in updates], axis=-1)),
            "curve_spread": (by_both, np.moveaxis(np.array(spread), -1, 0)),
            "curve_bias": (by_both, np.moveaxis(np.array(mean_off), -1, 0)),
        },
        {"batch_size": list(p.batch_sizes), "sampled_rate": list(p.sampled_rates)},
    )


def _sampled_updates(problem: Problem, start: LinearRNN, p: Parameters, batch_size: int) -> np.ndarray:
    """Updates of many batches, as single steps of size 1; axes `"rule batches weights"`."""
    trainers = _trainers(problem, p, batch_size, 1.0)
    keys = jax.random.split(jax.random.key(problem.seed + 2), (p.num_repeats, p.num_seeds))
    return np.concatenate(
        [flat(start)[:, None] - flat(_train(trainers, start, some, jnp.array(1))) for some in keys], axis=1
    )


def _curve_ends(problem: Problem, start: LinearRNN, p: Parameters, batch_size: int, rate: float) -> np.ndarray:
    """Weights at time `duration` of sampled learning curves; axes `"rule seeds weights"`."""
    keys = jax.random.split(jax.random.key(problem.seed + 3), p.num_seeds)
    trainers, num_steps = _trainers(problem, p, batch_size, rate), round(p.duration / rate)
    return flat(_train(trainers, start, keys, jnp.array(num_steps)))


def _spread(samples: np.ndarray) -> np.ndarray:
    """Standard deviation of a vector over its samples, `√ Σ variances`."""
    return np.sqrt(samples.var(axis=1, ddof=1).sum(axis=-1))


def _standard_errors(samples: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """How many standard errors the mean of the samples is off, in the worst weight."""
    error = samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1])
    return np.abs((samples.mean(axis=1) - exact) / error).max(axis=-1)
