"""Sampled training of 20 seeds at once, its memory, and what an update costs against `n`, `T` and the batch.

Task: students of n = 64 units (4 inputs, 4 outputs, spectral radius 0.9), a teacher of the same size, T = 100, batches
of 64 sequences, float32. Ours is a whole warm call of `lg.train`. Peers do one seed after the other, and draw their
noise, run the teacher and take the step, as ours does. Updates are counted one a seed.

- PyTorch: BPTT by autograd; RFLO by hand, forward only, a trace a unit. With two threads and with one, since products
    this small gain little from a second and lose much where the cores are busy: judge by the better.
- NumPy: BPTT backwards through the recorded states; RFLO forward with a trace a unit, or with one a weight, as it was
    published (Murray 2019), here over the batch at once.

Before any timing each peer's update is compared with ours on the same noise. Figures go to `benchmarks-figures/`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from matplotlib.figure import Figure

import localgrad as lg
from benchmarks.timing import interleaved
from localgrad.outcomes import Outcome
from localgrad.tasks.linear_task import as_task
from localgrad.updates.sampled import METHODS, Noise

OUTPUT, INPUT = 4, 4
SEEDS, HIDDEN, HORIZON, BATCH = 20, 64, 100, 64
DECAY, LEARNING_RATE = 0.5, 1e-4
FIGURES = Path("benchmarks-figures")

Weights = list[Any]
"""`[A, W, B]`, or an update of them: NumPy arrays or tensors."""


# --- peers -----------------------------------------------------------------------------------------------------------


def affine(offset: Any, h: Any, matrix: Any) -> Any:
    return torch.addmm(offset, h, matrix) if isinstance(h, torch.Tensor) else h @ matrix + offset


def states(library: Any, network: Weights, x: Any) -> Iterator[Any]:
    """`h_1 … h_T`, one by one."""
    _, W, B = network
    h = library.zeros((x.shape[1], W.shape[0]), dtype=x.dtype)
    for driven in x @ B.T:
        h = affine(driven, h, W.T)
        yield h


def outputs(library: Any, network: Weights, x: Any, num_learning: int) -> Any:
    """The last outputs, of the steps in the loss."""
    return library.stack(list(states(library, network, x))[-num_learning:]) @ network[0].T


def autograd_bptt(student: Weights, teacher: Weights, x: torch.Tensor, num_learning: int) -> Weights:
    student = [weights.detach().requires_grad_() for weights in student]
    with torch.no_grad():
        target = outputs(torch, teacher, x, num_learning)
    error = outputs(torch, student, x, num_learning) - target
    return list(torch.autograd.grad((error**2).sum() / (2 * x.shape[1] * num_learning), student))


def recorded_bptt(student: Weights, teacher: Weights, x: np.ndarray, num_learning: int) -> Weights:
    """Backwards through the recorded states, `λ_t = λ_{t+1} W + ε_t A`."""
    A, W, _ = student
    T, N, _ = x.shape
    h = np.stack([np.zeros((N, len(W)), x.dtype), *states(np, student, x)])
    errors = h[-num_learning:] @ A.T - outputs(np, teacher, x, num_learning)
    credit, carried = np.empty_like(h[1:]), np.zeros_like(h[0])
    for t in reversed(range(T)):
        carried = carried @ W
        if t >= T - num_learning:
            carried += errors[t - T] @ A
        credit[t] = carried
    pairs = ((errors, h[-num_learning:]), (credit, h[:-1]), (credit, x))
    flat = lambda z: z.reshape(-1, z.shape[-1])  # noqa: E731
    return [flat(post).T @ flat(pre) / (N * num_learning) for post, pre in pairs]


@torch.no_grad()
def online_rflo(
    library: Any, R: Any, student: Weights, teacher: Weights, x: Any, num_learning: int, *, a_weight: bool = False
) -> Weights:
    """Forward with eligibility traces: one a unit, since all of a presynaptic unit are equal, or one a weight."""
    (A, W, B), (T, N, _) = student, x.shape
    rows = (N, W.shape[0]) if a_weight else (N,)
    trace_h, trace_x = (library.zeros((*rows, m.shape[1]), dtype=x.dtype) for m in (W, B))
    total = [library.zeros(m.shape, dtype=x.dtype) for m in student]
    entering = (lambda z: z[:, None, :]) if a_weight else (lambda z: z)
    credited = (lambda c, p: np.einsum("na,nab->ab", c, p)) if a_weight else (lambda c, p: c.T @ p)
    before = library.zeros((N, W.shape[0]), dtype=x.dtype)
    runs = zip(x, states(library, student, x), states(library, teacher, x), strict=True)
    for t, (x_t, h, h_star) in enumerate(runs):
        for trace, pre in ((trace_h, before), (trace_x, x_t)):
            trace *= DECAY
            trace += entering(pre)
        before = h
        if t >= T - num_learning:
            error = h @ A.T - h_star @ teacher[0].T
            credit = error @ R
            total[0] += error.T @ h
            total[1] += credited(credit, trace_h)
            total[2] += credited(credit, trace_x)
    return [change / (N * num_learning) for change in total]


class SeedLoop:
    """One step of one seed a call, the seeds in turn."""

    def __init__(self, update: Callable, library: Any, students: list[Weights], teacher: Weights, threads: int):
        self.update, self.library, self.teacher, self.seeds = update, library, teacher, cycle(students)
        self.random, self.threads = np.random.default_rng(0), threads

    def draw(self) -> Any:
        shape = (HORIZON, BATCH, INPUT)
        return torch.randn(shape) if self.library is torch else self.random.standard_normal(shape, dtype=np.float32)

    def __call__(self) -> None:
        torch.set_num_threads(self.threads)
        student = next(self.seeds)
        for weights, change in zip(student, self.update(student, self.teacher, self.draw()), strict=True):
            weights -= LEARNING_RATE * change


# --- throughput ------------------------------------------------------------------------------------------------------


def single(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(np.float32), tree)


def make_problem(n: int) -> tuple[lg.LinearRNN, lg.LinearRNN, jax.Array]:
    """Students, teacher and feedback."""
    make = partial(lg.random_network, OUTPUT, n, INPUT, spectral_radius=0.9)
    keys = jax.random.split(jax.random.key(n), SEEDS + 2)
    students = jax.tree.map(lambda *networks: np.stack(networks), *(make(key=key) for key in keys[2:]))
    return single((students, make(key=keys[0]), jax.random.normal(keys[1], (OUTPUT, n)) / np.sqrt(n)))


def seed_of(students: lg.LinearRNN, seed: int) -> lg.LinearRNN:
    return jax.tree.map(lambda x: x[seed], students)


def as_weights(library: Any, network: lg.LinearRNN) -> Weights:
    return [np.array(x) if library is np else torch.tensor(np.array(x)) for x in network.matrices]


def make_peers(rule: lg.Rule, R: jax.Array, num_learning: int) -> dict[str, tuple[Any, Callable[..., Weights]]]:
    if rule.name == "BPTT":
        peers = {"PyTorch autograd": (torch, autograd_bptt), "NumPy recorded": (np, recorded_bptt)}
    else:
        in_numpy = partial(online_rflo, np, np.array(R))
        peers = {
            "PyTorch online": (torch, partial(online_rflo, torch, torch.tensor(np.array(R)))),
            "NumPy online, a trace a unit": (np, in_numpy),
            "NumPy online, a trace a weight": (np, partial(in_numpy, a_weight=True)),
        }
    return {name: (library, partial(f, num_learning=num_learning)) for name, (library, f) in peers.items()}


def check_agreement(rule: lg.Rule, loss: str, problem: tuple, peers: dict) -> None:
    """Peers and all our methods give the same update of the same batch, to single precision."""
    students, teacher, _ = problem
    student, noise = seed_of(students, 0), Noise(jax.random.key(5), HORIZON, BATCH)
    x = np.array(noise.all(as_task(teacher)))
    found = {}
    for name, (library, update) in peers.items():
        own = (as_weights(library, student), as_weights(library, teacher), x if library is np else torch.tensor(x))
        found[name] = update(*own)
    for method in methods_of(rule):
        found[method] = METHODS[method](rule, student, as_task(teacher), noise, loss)[0].matrices
    reference = [np.asarray(m, np.float64) for m in found["recorded"]]
    for name, update in found.items():
        for ours, theirs in zip(reference, update, strict=True):
            if not np.linalg.norm(np.asarray(theirs) - ours) <= 1e-4 * np.linalg.norm(ours):
                raise RuntimeError(f"{name} and our update by recording differ, {rule.name}, {loss} loss")


def methods_of(rule: lg.Rule) -> list[str]:
    return [method for method in METHODS if method != "online" or rule.propagator.full is None]


def train(rule: lg.Rule, students: lg.LinearRNN, teacher: lg.LinearRNN, **settings: Any) -> None:
    sizes = {"learning_rate": LEARNING_RATE, "batch_size": BATCH, "horizon": HORIZON}
    run = lg.train(rule, students, teacher, key=jax.random.key(1), **sizes, **settings)
    if np.any(run.outcome == Outcome.DIVERGED):
        raise RuntimeError("a student diverged, so that its steps say nothing; lower the learning rate")


def throughput(rule: lg.Rule, loss: str, problem: tuple, num_steps: int, rounds: int) -> None:
    students, teacher, R = problem
    peers = make_peers(rule, R, 1 if loss == "final" else HORIZON)
    check_agreement(rule, loss, problem, peers)
    settings = {"loss": loss, "num_steps": num_steps}
    methods = [method for method in methods_of(rule) if method != "recorded"]
    ours = {f"ours, {method}": partial(train, rule, students, teacher, method=method, **settings) for method in methods}
    loops: dict[str, Callable[[], object]] = {}
    for name, (library, update) in peers.items():
        for threads in (2, 1) if library is torch else (2,):
            own = [as_weights(library, seed_of(students, seed)) for seed in range(SEEDS)]
            label = f"{name}, threads: {threads}" if library is torch else name
            loops[label] = SeedLoop(update, library, own, as_weights(library, teacher), threads)
    seconds = interleaved(ours | loops, rounds=rounds)
    each = {name: total / (SEEDS * num_steps if name in ours else 1) for name, total in seconds.items()}
    for name, one in each.items():
        ratio = one / each["ours, correlation"]
        print(f"{rule.name:5} {loss:9} {name:31} {one * 1e6:10.1f} {1 / one:10.0f} {ratio:8.1f}x", flush=True)


# --- memory ----------------------------------------------------------------------------------------------------------


def working_memory(rule: lg.Rule, method: str, horizon: int, problem: tuple) -> int:
    """Bytes that the compiled update of one seed needs beside its arguments and its result."""
    students, teacher, _ = problem
    update = lambda key, student: METHODS[method](rule, student, as_task(teacher), Noise(key, horizon, BATCH), "final")  # noqa: E731
    compiled = jax.jit(update).lower(jax.random.key(0), seed_of(students, 0)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def memory(rules: list[lg.Rule], problem: tuple, horizons: tuple[int, ...]) -> None:
    print(f"\nWorking memory of one update, kB (as compiled), n = {HIDDEN}, batch {BATCH}, final-step loss.")
    print(f"{'rule':18} {'method':12}" + "".join(f" {f'T = {T}':>10}" for T in horizons))
    for rule in rules:
        for method in methods_of(rule):
            cells = "".join(f" {working_memory(rule, method, T, problem) / 1e3:10.1f}" for T in horizons)
            print(f"{rule.name:18} {method:12}{cells}", flush=True)


# --- cost ------------------------------------------------------------------------------------------------------------


def updates_at(n: int, horizon: int, batch_size: int) -> dict[str, Callable[[], object]]:
    """One warm update of one student, exact and sampled."""
    students, teacher, R = make_problem(n)
    student, rflo = seed_of(students, 0), lg.RFLO(R, DECAY)
    sizes = {"learning_rate": LEARNING_RATE, "batch_size": batch_size, "horizon": horizon}
    sampled = {
        "sampled by correlation, BPTT": lg.Trainer(lg.BPTT(), teacher, **sizes),
        "sampled online, RFLO": lg.Trainer(rflo, teacher, method="online", **sizes),
    }
    calls = {name: partial(trainer.update, jax.random.key(0), student) for name, trainer in sampled.items()}
    calls["exact, BPTT"] = partial(lg.expected_update, lg.BPTT(), student, teacher, horizon=horizon)
    return {name: lambda call=call: jax.block_until_ready(call()) for name, call in calls.items()}


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log time over log size, in the upper half of the sizes."""
    upper = slice(len(sizes) // 2, None)
    return float(np.polyfit(np.log(sizes[upper]), np.log(seconds[upper]), 1)[0])


def cost(variable: str, sizes: list[int], out: Path, rounds: int) -> None:
    """One figure of seconds an update, and its exponents."""
    base = {"n": HIDDEN, "horizon": HORIZON, "batch_size": BATCH}
    points = [interleaved(updates_at(**base | {variable: size}), rounds=rounds) for size in sizes]
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in points[0]:
        seconds = [point[name] for point in points]
        slope = exponent(sizes, seconds)
        axes.loglog(sizes, seconds, "o-", label=f"{name}: exponent {slope:.2f}")
        shown = ", ".join(f"{s * 1e3:.3g}" for s in seconds)
        print(f"{variable:10} {name:30} {slope:8.2f}   {shown}", flush=True)
    fixed = ", ".join(f"{name} = {value}" for name, value in base.items() if name != variable)
    axes.set(xlabel=variable, ylabel="seconds an update", title=f"{fixed}, float32")
    axes.legend(fontsize="small")
    figure.savefig(out / f"cost_{variable}.png", dpi=150)


def main(*, quick: bool = False, out: Path = FIGURES) -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    problem = make_problem(HIDDEN)
    rflo = lg.RFLO(problem[2], DECAY)
    print(
        f"Sampled training, {SEEDS} seeds, n = {HIDDEN}, T = {HORIZON}, batch {BATCH}, float32; ratio to correlation."
    )
    print(f"{'rule':5} {'loss':9} {'contender':31} {'µs/update':>10} {'updates/s':>10} {'ratio':>9}")
    for rule in (lg.BPTT(), rflo):
        for loss in ("final", "sequence"):
            throughput(rule, loss, problem, num_steps=50 if quick else 200, rounds=3 if quick else 5)
    memory([rflo, lg.EProp()], problem, (10, 100, 1000))
    out.mkdir(parents=True, exist_ok=True)
    print(f"\nCost of one update: exponent in the upper half of the sizes, and milliseconds; figures in {out}/.")
    highest = {"n": 7, "horizon": 9, "batch_size": 7} if quick else {"n": 10, "horizon": 12, "batch_size": 10}
    for variable, high in highest.items():
        sizes = [2**k for k in range(3, high + 1, 2 if quick else 1)]
        print(f"{variable}: {', '.join(map(str, sizes))}")
        cost(variable, sizes, out, rounds=3 if quick else 5)
