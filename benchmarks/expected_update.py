"""The exact expected update against one gradient sampled by PyTorch autograd.

Task: BPTT's update of a student with n hidden units (4 inputs, 4 outputs, spectral radius 0.9) from a teacher of the
same size. Peer: what a script does, `loss.backward()` through T = 100 steps of a batch of 128 white-noise sequences,
forward pass of the teacher included. Both use two threads and both are warm.

Its gradient is noisy; `to 1 %` says how many such batches bring the relative error of the mean gradient to 1 % (it
falls like one over the square root of their number) and how much longer that takes than the exact update.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import jax
import numpy as np
import torch

import localgrad as lg
from benchmarks.timing import interleaved

HORIZON, BATCH, OUTPUT, INPUT = 100, 128, 4, 4


def make_pair(n: int, dtype: type) -> tuple[lg.LinearRNN, lg.LinearRNN]:
    keys = jax.random.split(jax.random.key(n), 2)
    pair = (lg.random_network(OUTPUT, n, INPUT, key=key, spectral_radius=0.9) for key in keys)
    return tuple(jax.tree.map(lambda x: x.astype(dtype), network) for network in pair)


def exact(student: lg.LinearRNN, teacher: lg.LinearRNN) -> object:
    return jax.block_until_ready(lg.expected_update(lg.BPTT(), student, teacher))


class Sampled:
    """One PyTorch-autograd gradient a call."""

    def __init__(self, student: lg.LinearRNN, teacher: lg.LinearRNN):
        as_tensor = lambda x: torch.tensor(np.asarray(x))  # noqa: E731
        self.student = [as_tensor(x).requires_grad_() for x in (student.A, student.W, student.B)]
        self.teacher = [as_tensor(x) for x in (teacher.A, teacher.W, teacher.B)]

    @staticmethod
    def run(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        A, W, B = weights
        h = torch.zeros(BATCH, W.shape[0], dtype=x.dtype)
        for t in range(HORIZON):
            h = h @ W.T + x[t] @ B.T
        return h @ A.T

    def __call__(self) -> tuple[torch.Tensor, ...]:
        x = torch.randn(HORIZON, BATCH, INPUT, dtype=self.student[0].dtype)
        with torch.no_grad():
            target = self.run(self.teacher, x)
        loss = ((self.run(self.student, x) - target) ** 2).sum(1).mean() / 2
        return torch.autograd.grad(loss, self.student)


def relative_noise(sampled: Sampled, student: lg.LinearRNN, teacher: lg.LinearRNN, batches: int) -> float:
    """Root mean square relative error of one sampled gradient about the exact one of the same horizon."""
    update = lg.expected_update(lg.BPTT(), student, teacher, horizon=HORIZON)
    mean = [np.asarray(x, dtype=np.float64) for x in (update.A, update.W, update.B)]
    size = sum(np.sum(x**2) for x in mean)
    errors = [
        sum(np.sum((g.numpy() - m) ** 2) for g, m in zip(sampled(), mean, strict=True)) / size for _ in range(batches)
    ]
    return float(np.sqrt(np.mean(errors)))


def one_network(n: int, rounds: int) -> None:
    pairs = {"32": make_pair(n, np.float32), "64": make_pair(n, np.float64)}
    contenders: dict = {f"exact {bits}": (lambda pair=pair: exact(*pair)) for bits, pair in pairs.items()}
    contenders |= {f"torch {bits}": Sampled(*pair) for bits, pair in pairs.items()}
    seconds = interleaved(contenders, rounds=rounds)
    noise = relative_noise(contenders["torch 64"], *pairs["64"], batches=20)
    batches = (noise / 0.01) ** 2
    to_one_percent = batches * seconds["torch 32"] / seconds["exact 64"]
    ratio = lambda exact, torch: seconds[f"torch {torch}"] / seconds[f"exact {exact}"]  # noqa: E731
    print(
        f"{n:5d} {seconds['exact 64'] * 1e3:9.3f} {seconds['torch 32'] * 1e3:9.2f}"
        f" {ratio(32, 32):9.1f}x {ratio(64, 64):9.1f}x {ratio(64, 32):11.1f}x"
        f" {noise:8.0%} {batches:9.0f} {to_one_percent:11.2g}x",
        flush=True,
    )


def many_networks(count: int, n: int, rounds: int) -> None:
    """A batch of students by `vmap`, against a loop of sampled gradients."""
    student, teacher = make_pair(n, np.float32)
    students = jax.vmap(lambda key: lg.random_network(OUTPUT, n, INPUT, key=key, spectral_radius=0.9))(
        jax.random.split(jax.random.key(0), count)
    )
    students = jax.tree.map(lambda x: x.astype(np.float32), students)
    batched = jax.jit(jax.vmap(lambda s: lg.expected_update(lg.BPTT(), s, teacher)))
    wide = jax.tree.map(lambda x: x.astype(np.float64), (students, teacher))
    batched_wide = jax.jit(jax.vmap(lambda s: lg.expected_update(lg.BPTT(), s, wide[1])))
    seconds = interleaved(
        {
            "exact 32": lambda: jax.block_until_ready(batched(students)),
            "exact 64": lambda: jax.block_until_ready(batched_wide(wide[0])),
            "torch 32": Sampled(student, teacher),
        },
        rounds=rounds,
    )
    for bits in ("32", "64"):
        each = seconds[f"exact {bits}"] / count
        print(
            f"{count} students of n = {n} in one vmap, float{bits}: {each * 1e6:.1f} µs a network, "
            f"{seconds['torch 32'] / each:.0f}x PyTorch (float32)"
        )


def any_task(size: int, rounds: int) -> None:
    """Tasks that hear the student, or that it hears through a colour, against a teacher; `size` units of each."""
    student, teacher = make_pair(size, np.float64)
    A, W, B = map(np.asarray, teacher.matrices)
    rng = np.random.default_rng(0)
    X, X0, K = (rng.standard_normal(shape) for shape in ((INPUT, size), (INPUT, INPUT), (size, OUTPUT)))
    tasks = {
        "a teacher": teacher,
        "an open loop with coloured input": lg.LinearTask(W, B, X / size, X0, A),
        "a closed loop": lg.LinearTask(0.8 * W, B, X / size, X0, A, 0.02 * K),
    }
    R = rng.standard_normal((OUTPUT, size))
    for rule in (lg.BPTT(), lg.RFLO(R, 0.5), lg.EProp(R)):
        calls = {name: lambda task=task, rule=rule: jax.block_until_ready(lg.expected_update(rule, student, task))
                 for name, task in tasks.items()}  # fmt: skip
        seconds = interleaved(calls, rounds=rounds)
        times = ", ".join(f"{name} {1e3 * s:.2f} ms" for name, s in seconds.items())
        most = max(seconds.values()) / seconds["a teacher"]
        print(f"{rule.name}, joint dimension {2 * size}: {times}; at most {most:.1f} times the teacher's")


def main(*, quick: bool = False) -> None:
    jax.config.update("jax_enable_x64", True)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    print("Exact expected update against one sampled gradient (T = 100, batch 128). Ratios: PyTorch's time over ours.")
    print(
        f"{'n':>5} {'exact64/ms':>9} {'torch32/ms':>9} {'32 vs 32':>10} {'64 vs 64':>10} {'64 vs 32':>12}"
        f" {'noise':>8} {'to 1 %':>9} {'time to 1 %':>12}"
    )
    for n in (8, 64) if quick else (8, 64, 256, 512):
        one_network(n, rounds=11 if n < 256 else 7)
    many_networks(64, 8, rounds=11)
    any_task(64, rounds=11)
