"""Training networks of cells: 20 seeds together against 20 calls one after the other, and what a second call compiles.

Task: sum up two inputs; leaky tanh units under RFLO and BPTT, and LIF units under e-prop, float32. Both ways are whole
warm calls of `lg.train` with the same networks, feedback, batches and steps, and do the same work; losses are first
shown equal. What 20 seeds together can gain: on a CPU both cores, and in small steps fewer, longer operations.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import localgrad as lg
from benchmarks.timing import interleaved
from localgrad.tasks.sequences import Batch, SequenceTask

SEEDS = 20


class Sums(SequenceTask):
    """Sum up two inputs."""

    num_inputs: int = 2
    num_outputs: int = 2
    loss: str = "mse"
    length: int = 50

    def sample(self, key, batch):
        x = 0.5 * jax.random.normal(key, (batch, self.length, 2))
        return Batch(x, 0.3 * jnp.cumsum(x, axis=1), jnp.ones((batch, self.length)))


def tanh_network(hidden, key):
    of_W, of_B, of_A = jax.random.split(key, 3)
    W, B = jax.random.normal(of_W, (hidden, hidden)) / hidden**0.5, jax.random.normal(of_B, (hidden, 2))
    A = jax.random.normal(of_A, (2, hidden)) / hidden
    return lg.Network(lg.cells.LeakyRate(W, B, None, leak=0.2), lg.Readout(A))


def spiking_network(hidden, key):
    net = tanh_network(hidden, key)
    return lg.Network(lg.cells.LIF(0.3 * net.layers[0].W, net.layers[0].B, None, decay=0.9), net.readout)


def compare(name, make, rule_of, hidden, batch, length, steps, rounds):
    keys = jax.random.split(jax.random.key(1), SEEDS)
    networks = [make(hidden, key) for key in keys]
    feedback = jax.random.normal(jax.random.key(2), (SEEDS, 2, hidden)) / hidden**0.5
    key, task = jax.random.key(0), Sums(length=length)
    settings = {"learning_rate": 0.01, "num_steps": steps, "batch_size": batch}
    own = jax.random.split(key, SEEDS)

    def together():
        return lg.train(rule_of(feedback), networks, task, key=key, **settings).loss

    def one_by_one():
        runs = zip(feedback, networks, own, strict=True)
        return np.stack([lg.train(rule_of(R), network, task, key=k, **settings).loss for R, network, k in runs])

    difference = np.abs(together() / one_by_one() - 1).max()
    seconds = interleaved({"together": together, "one by one": one_by_one}, rounds=rounds)
    ratio = seconds["one by one"] / seconds["together"]
    size = f"n = {hidden:3}, T = {length:3}, batch {batch:2}"
    print(
        f"{name:22} {size}: one by one {seconds['one by one']:6.2f} s, together {seconds['together']:6.2f} s, "
        f"{ratio:.2f}×; {1e3 * seconds['together'] / SEEDS / steps:.2f} ms a step of a seed; losses differ by "
        f"{difference:.0e}"
    )
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **_: compiled.append(event) if "backend_compile" in event else None
    )
    together()
    print(f"{'':22} a second call compiles {len(compiled)} programs")


def main(quick: bool = False) -> None:
    steps, rounds = (20, 1) if quick else (100, 3)
    cases = [
        ("RFLO, leaky tanh", tanh_network, lambda R: lg.RFLO(R, "internal")),
        ("BPTT, leaky tanh", tanh_network, lambda _: lg.BPTT()),
        ("e-prop (Bellec), LIF", spiking_network, lg.BellecEProp),
    ]
    for hidden, batch, length in ((32, 16, 50),) if quick else ((32, 16, 50), (64, 16, 100), (100, 32, 100)):
        for name, make, rule_of in cases:
            compare(name, make, rule_of, hidden, batch, length, steps if hidden < 100 else steps // 5, rounds)
