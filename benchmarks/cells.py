"""Updates of networks of cells beside braintrace and a loop in PyTorch, and the memory of traces over time.

n = 100 units, 10 inputs, 3 outputs, T = 100, batches of 32, float32; a leaky tanh network under RFLO as Murray wrote
it, and leaky integrate-and-fire units under e-prop as Bellec wrote it. All return the same update, which is compared
before any timing: feedback is a fixed random matrix, the trace keeps what a unit keeps by itself.

- localgrad: `network_update`, a whole call with its checks; recorded (the default), and online by traces.
- braintrace: `D_RTRL`, its trace a synapse, forward in time, compiled. Its e-prop with random feedback normalises the
    error, which is another rule; so here it hears `R` as if it were its readout.
- PyTorch: traces by hand, forward in time, with two threads and with one: a number a synapse, or, for spiking units,
    whose traces are the same for all synapses of a presynaptic unit, a number a presynaptic unit.

Judge braintrace by the better of ours, PyTorch by its better one.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

from collections.abc import Callable
from functools import partial
from typing import Any

import brainstate
import braintrace
import jax
import jax.numpy as jnp
import numpy as np
import torch

import localgrad as lg
from benchmarks.timing import interleaved
from localgrad.updates import through_time

N, INPUT, OUTPUT, STEPS, BATCH = 100, 10, 3, 100, 32
KEPT = 0.9  # what a unit keeps by itself in a step
Problem = dict[str, np.ndarray]


def problem(kind: str, steps: int = STEPS) -> Problem:
    """Weights, feedback, and sequences, time last but one."""
    rng = np.random.default_rng(0)
    gain = 1.0 if kind == "tanh" else 0.3
    shapes = {"W": (N, N), "B": (N, INPUT), "A": (OUTPUT, N), "R": (OUTPUT, N)}
    weights = {name: gain * rng.normal(size=s) / np.sqrt(s[1]) for name, s in shapes.items()}
    data = {"x": rng.normal(size=(BATCH, steps, INPUT)), "y": rng.normal(size=(BATCH, steps, OUTPUT))}
    return {name: value.astype(np.float32) for name, value in (weights | data).items()}


# --- localgrad -------------------------------------------------------------------------------------------------------


def ours(kind: str, p: Problem, method: str) -> Callable[[], Any]:
    if kind == "tanh":
        cell = lg.cells.LeakyRate(p["W"], p["B"], None, leak=1 - KEPT)
    else:
        cell = lg.cells.LIF(p["W"], p["B"], None, decay=KEPT)
    network = lg.Network(cell, lg.Readout(p["A"]))
    rule = lg.RFLO(jnp.asarray(p["R"]), "internal")
    x, y = jnp.asarray(p["x"]), jnp.asarray(p["y"])
    run = lambda: lg.network_update(rule, network, x, y, method=method)[0]  # noqa: E731
    return lambda: jax.block_until_ready(run())


def of_ours(update: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in (update.layers[0].W, update.layers[0].B, update.readout.A)]


# --- braintrace ------------------------------------------------------------------------------------------------------


@jax.custom_jvp
def spike(excess: Any) -> Any:
    return (excess > 0).astype(excess.dtype)


@spike.defjvp
def _surrogate(primals: Any, tangents: Any) -> Any:
    (excess,) = primals
    return spike(excess), 0.3 * jnp.maximum(0, 1 - jnp.abs(excess)) * tangents[0]


@jax.custom_vjp
def heard_with_feedback(z: Any, readout: Any, R: Any) -> Any:
    return z @ readout


heard_with_feedback.defvjp(
    lambda z, readout, R: (z @ readout, (z, R)),
    lambda kept, error: (error @ kept[1], kept[0].T @ error, jnp.zeros_like(kept[1])),
)


class Model(brainstate.nn.Module):
    """One layer; its readout, outside of what is traced, sends credit back by `R`."""

    def __init__(self, kind: str, p: Problem):
        super().__init__()
        self.kind = kind
        self.weights = brainstate.ParamState(jnp.concatenate([p["W"], p["B"]], axis=1).T)
        self.readout = brainstate.ParamState(jnp.asarray(p["A"]).T)
        self.R = jnp.asarray(p["R"])

    def init_state(self, batch_size: int | None = None, **_: Any) -> None:
        self.s = brainstate.HiddenState(jnp.zeros((BATCH, N), jnp.float32))

    def update(self, x: Any) -> Any:
        s = self.s.value
        heard = s if self.kind == "tanh" else spike(s - 1)
        u = braintrace.matmul(jnp.concatenate([heard, x], axis=1), self.weights.value)
        if self.kind == "tanh":
            self.s.value = KEPT * s + (1 - KEPT) * jnp.tanh(u)
            z = self.s.value
        else:
            self.s.value = KEPT * s + u - jax.lax.stop_gradient(heard)
            z = spike(self.s.value - 1)
        return z


def theirs(kind: str, p: Problem) -> Callable[[], Any]:
    model = Model(kind, p)
    x, y = jnp.asarray(p["x"]).swapaxes(0, 1), jnp.asarray(p["y"]).swapaxes(0, 1)
    learner = braintrace.compile(model, braintrace.D_RTRL, x[0], batch_size=BATCH)

    learned = {"weights": model.weights, "readout": model.readout}

    def loss(x: Any, y: Any) -> Any:
        output = heard_with_feedback(learner(x), model.readout.value, model.R)
        return jnp.sum((output - y) ** 2) / (2 * BATCH)

    @brainstate.transform.jit
    def run(x: Any, y: Any) -> Any:
        brainstate.nn.reset_all_states(model, batch_size=BATCH)
        model.s.value = jnp.zeros((BATCH, N), jnp.float32)
        learner.reset_state(batch_size=BATCH)
        return learner.etrace_grad(x, y, step_fn=loss, weights=learned)

    return lambda: jax.block_until_ready(run(x, y))


def of_theirs(grads: Any) -> list[np.ndarray]:
    weights, readout = (np.asarray(grads[name]).T for name in ("weights", "readout"))
    return [weights[:, :N], weights[:, N:], readout]


# --- PyTorch ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def in_torch(kind: str, p: Problem, *, a_source: bool = False) -> list[torch.Tensor]:
    """Forward in time: a trace a synapse, or (`a_source`, of spiking units) one a presynaptic unit."""
    W, B, A, R, x, y = (torch.from_numpy(p[name]) for name in ("W", "B", "A", "R", "x", "y"))
    weights = torch.cat([W, B], 1)
    state, heard = torch.zeros(BATCH, N), torch.zeros(BATCH, N)
    trace = torch.zeros(BATCH, N + INPUT) if a_source else torch.zeros(BATCH, N, N + INPUT)
    by_weights, by_readout = torch.zeros_like(weights), torch.zeros_like(A)
    for t in range(x.shape[1]):
        source = torch.cat([heard, x[:, t]], 1)
        u = source @ weights.T
        if kind == "tanh":
            rate = torch.tanh(u)
            state = KEPT * state + (1 - KEPT) * rate
            entering, shown, heard = (1 - KEPT) * (1 - rate**2), 1.0, state
        else:
            state = KEPT * state + u - heard
            heard = (state > 1).float()
            entering, shown = torch.ones_like(state), 0.3 * torch.clamp(1 - torch.abs(state - 1), min=0)
        error = (heard @ A.T - y[:, t]) / (BATCH * x.shape[1])
        credit = (error @ R) * shown
        if a_source:
            trace = KEPT * trace + source
            by_weights += credit.T @ trace
        else:
            trace.mul_(KEPT).add_(entering[:, :, None] * source[:, None, :])
            by_weights += torch.einsum("bn,bnm->nm", credit, trace)
        by_readout += error.T @ heard
    return [by_weights, by_readout]


def of_torch(update: list[torch.Tensor]) -> list[np.ndarray]:
    weights, readout = (x.numpy() for x in update)
    return [weights[:, :N], weights[:, N:], readout]


def with_threads(count: int, call: Callable[[], Any]) -> Any:
    torch.set_num_threads(count)
    return call()


# --- the run ---------------------------------------------------------------------------------------------------------


def contenders(kind: str) -> dict[str, tuple[Callable[[], Any], Callable[[Any], list[np.ndarray]]]]:
    p = problem(kind)
    found = {
        "localgrad, recorded": (ours(kind, p, "recorded"), of_ours),
        "localgrad, online": (ours(kind, p, "online"), of_ours),
        "braintrace D_RTRL": (theirs(kind, p), of_theirs),
    }
    for threads in (1, 2):
        call = partial(with_threads, threads, partial(in_torch, kind, p))
        found[f"PyTorch loop, {threads} thread{'s' * (threads > 1)}"] = (call, of_torch)
    if kind == "LIF":
        call = partial(with_threads, 1, partial(in_torch, kind, p, a_source=True))
        found["PyTorch loop, a trace a source"] = (call, of_torch)
    return found


def compare(kind: str, rounds: int) -> None:
    both = contenders(kind)
    updates = {name: read(call()) for name, (call, read) in both.items()}
    reference = next(iter(updates.values()))
    for name, update in updates.items():
        gap = max(np.abs(x - y).max() / np.abs(y).max() for x, y in zip(update, reference, strict=True))
        assert gap < 1e-4, f"{name} computes another update: {gap:.1e} of the largest entry"
    seconds = interleaved({name: call for name, (call, _) in both.items()}, rounds=rounds)
    best = min(s for name, s in seconds.items() if name.startswith("localgrad"))
    for name, s in seconds.items():
        print(f"{kind:5} {name:32} {s * 1e3:9.2f} ms an update {s / best:7.1f}", flush=True)


def memory(kind: str) -> None:
    """Bytes that XLA sets aside beside inputs and outputs, for sequences of growing length."""
    for method in ("online", "recorded"):
        sizes = []
        for steps in (100, 1000, 10_000):
            p = problem(kind, steps)
            cell = lg.cells.LeakyRate(p["W"], p["B"], None, leak=1 - KEPT)
            network, rule = lg.Network(cell, lg.Readout(p["A"])), lg.RFLO(jnp.asarray(p["R"]), "internal")
            data = through_time.sequences_of(network, p["x"], p["y"], "mse", None)
            way = through_time.way_of(rule, network, data, method)
            lowered = jax.jit(lambda data: through_time.update_in(way, rule, network, data, "mse")).lower(data)  # noqa: B023
            sizes.append(lowered.compile().memory_analysis().temp_size_in_bytes / 1e6)
        print(f"{kind:5} {method:10} T = 100, 1000, 10000: " + ", ".join(f"{size:.1f} MB" for size in sizes))


def main(*, quick: bool = False) -> None:
    print(f"n = {N}, T = {STEPS}, batch {BATCH}, float32; last column: over the best of ours.")
    for kind in ("tanh", "LIF"):
        compare(kind, rounds=3 if quick else 7)
    print("\nMemory of RFLO beside data and results:")
    memory("tanh")


if __name__ == "__main__":
    main()
