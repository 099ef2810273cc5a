r"""Production of a given pattern: sums of sines, from no input (Murray) or from frozen spikes (e-prop).

    y*_{t,i} = Σ_k a_{ik} sin(2π f_k t / T + φ_{ik})

The pattern is drawn once, when the task is made, and is the same in every trial.

- `SumOfSines`: the periodic output task. The network hears nothing but a constant.
- `PatternGeneration`: the network hears frozen noise, the same spikes in every trial, and turns them into the pattern.

Source: Murray 2019 (figure 2); Bellec et al. 2020 (pattern generation).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from localgrad.checks import check_seed
from localgrad.tasks.sequences import Batch, SequenceTask
from localgrad.tasks.task_arguments import whole, within


class SumOfSines(SequenceTask):
    r"""Produce a periodic pattern, a sum of sines of random amplitudes and phases, from a constant input.

    `y*_{t,i} = Σ_k a_{ik} sin(2π k t / period + φ_{ik})` with `a` uniform in [0.5, 1.5], scaled to a mean square of ½.

    **Arguments:** `outputs`: at least 1; `components`: sines an output, with 1, 2, … waves a period; `period`: steps,
    at least `2 components + 1`; `cycles`: periods of a sequence; `seed`: of the pattern.

    **Raises:** `ValueError` for values outside these ranges.

    Source: Murray 2019, periodic output task; amplitudes and phases are ours.

    >>> SumOfSines(period=20, cycles=2).pattern.shape
    (20, 1)
    """

    outputs: int = eqx.field(default=1, static=True)
    components: int = eqx.field(default=4, static=True)
    period: int = eqx.field(default=50, static=True)
    cycles: int = eqx.field(default=2, static=True)
    seed: int = eqx.field(default=0, static=True)
    num_inputs: int = eqx.field(default=1, init=False, static=True)
    loss: str = eqx.field(default="mse", init=False, static=True)

    def __post_init__(self) -> None:
        for name in ("outputs", "components", "period", "cycles"):
            setattr(self, name, whole(name, getattr(self, name)))
        check_seed("seed", self.seed)
        if self.period <= 2 * self.components:
            raise ValueError(
                f"period is {self.period} steps, too few for {self.components} components; give more than "
                f"{2 * self.components}"
            )

    @property
    def num_outputs(self) -> int:
        """As given."""
        return self.outputs

    @property
    def pattern(self) -> Array:
        """One period of the pattern, shape `"period output"`."""
        waves = np.arange(1, self.components + 1) / self.period
        return jnp.asarray(sines(waves, self.period, self.outputs, self.seed), float)

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`; all sequences are alike."""
        targets = jnp.tile(self.pattern, (self.cycles, 1))
        shape = (batch, len(targets))
        return Batch(jnp.ones((*shape, 1)), jnp.broadcast_to(targets, (batch, *targets.shape)), jnp.ones(shape))


class PatternGeneration(SequenceTask):
    r"""Turn frozen noise, the same spikes in every trial, into a sum of sines of 1, 2, 3 and 5 Hz.

    **Arguments:** `outputs`: patterns at once; `inputs`: neurons that fire, each with `rate` Hz; `length`: steps of
    `step` seconds, at least 12 a wave of 5 Hz in all; `seed`: of spikes and pattern.

    **Raises:** `ValueError` for values outside these ranges.

    Source: Bellec et al. 2020, pattern generation; amplitudes in [0.5, 2] and any phase, scaled to a mean square of ½.

    >>> import jax
    >>> batch = PatternGeneration(length=100, step=0.01).sample(jax.random.key(0), 2)
    >>> batch.inputs.shape, bool((batch.inputs[0] == batch.inputs[1]).all())
    ((2, 100, 20), True)
    """

    outputs: int = eqx.field(default=3, static=True)
    inputs: int = eqx.field(default=20, static=True)
    length: int = eqx.field(default=200, static=True)
    step: float = eqx.field(default=0.005, static=True)
    rate: float = eqx.field(default=10.0, static=True)
    seed: int = eqx.field(default=0, static=True)
    loss: str = eqx.field(default="mse", init=False, static=True)

    def __post_init__(self) -> None:
        for name in ("outputs", "inputs", "length"):
            setattr(self, name, whole(name, getattr(self, name)))
        check_seed("seed", self.seed)
        self.step = within("step", self.step, 0, 0.1, "a wave of 5 Hz takes more than two steps")
        self.rate = within("rate", self.rate, 0, 1 / self.step, "a neuron fires once a step at most")

    @property
    def num_inputs(self) -> int:
        """Neurons that fire."""
        return self.inputs

    @property
    def num_outputs(self) -> int:
        """As given."""
        return self.outputs

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`; all sequences are alike."""
        rng = np.random.default_rng([self.seed, 1])
        spikes = jnp.asarray(rng.random((self.length, self.inputs)) < self.rate * self.step, float)
        waves = self.step * np.array([1, 2, 3, 5])
        targets = jnp.asarray(sines(waves, self.length, self.outputs, self.seed, least=0.5, most=2.0), float)

        def every(x: Any) -> Any:
            return jnp.broadcast_to(x, (batch, *x.shape))

        return Batch(every(spikes), every(targets), jnp.ones((batch, self.length)))


def sines(
    waves: np.ndarray, length: int, outputs: int, seed: int, *, least: float = 0.5, most: float = 1.5
) -> np.ndarray:
    """Sums of sines with these waves a step, of mean square ½: shape `"length outputs"`."""
    rng = np.random.default_rng(seed)
    amplitudes = rng.uniform(least, most, (len(waves), outputs))
    phases = rng.uniform(0, 2 * np.pi, (len(waves), outputs))
    time = np.arange(length)[:, None, None]
    total = (amplitudes * np.sin(2 * np.pi * waves[:, None] * time + phases)).sum(1)
    return total / np.sqrt(2 * np.mean(total**2, axis=0))
