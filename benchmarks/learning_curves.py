"""Exact learning curves: how long they take, against a general integrator and against training by samples.

Task: a teacher of four modes (w* = .9, .7, .5, .3, a* = b* = 1) in random frames; a student of n hidden units, 4 inputs
and 4 outputs, Gaussian weights of scale 0.3, feedback R Gaussian / √n, decay 0.5. A curve is followed until its loss is
1e-6 of the initial one, or until it ends otherwise, which `outcome` says.

Peers: diffrax's Tsit5 on the same flow at the same tolerances (`solver="explicit"`; n = 10 only, where it is not yet
hopeless), and the script everybody writes, PyTorch training with sampled gradients: BPTT through T = 100 steps of 128
white-noise sequences, SGD with half the largest step that the exact flow would bear. Its loss is judged as ours is,
exactly. Since the teacher is within the student's reach, the noise of the gradients vanishes with the error and leaves
no floor: what such training takes is the number of steps, and that is said as an extrapolation.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import localgrad as lg
from benchmarks.expected_update import Sampled
from localgrad.outcomes import Outcome

OUTPUT, INPUT = 4, 4
TARGET = 1e-6  # of the initial loss
DURATION, MAX_STEPS = 1e5, 16384


def make_pair(n: int) -> tuple[lg.LinearRNN, lg.LinearRNN]:
    keys = jax.random.split(jax.random.key(n), 2)
    modes = lg.Mode(np.ones(4), np.ones(4), np.array([0.9, 0.7, 0.5, 0.3]))
    teacher = lg.aligned_network(modes, lg.random_frames(OUTPUT, 4, INPUT, key=keys[0]))
    return lg.random_network(OUTPUT, n, INPUT, key=keys[1], scale=0.3), teacher


def make_rules(n: int) -> list[lg.Rule]:
    R = jax.random.normal(jax.random.key(1), (OUTPUT, n)) / np.sqrt(n)
    return [lg.BPTT(), lg.TruncatedBPTT(1), lg.RFLO(R, 0.5), lg.EProp(R), lg.EProp()]


def learn(rule: lg.Rule, student: lg.LinearRNN, teacher: lg.LinearRNN, **settings: Any) -> lg.LearningCurve:
    """To the target, which `lg.learn` counts in losses of a silent student; of a batch, by its first student."""
    first = jax.tree.map(lambda x: x.reshape(-1, *x.shape[-2:])[0], student)
    silent = jax.tree.map(jnp.zeros_like, first)
    unit = float(lg.expected_loss(first, teacher) / lg.expected_loss(silent, teacher))
    method = lg.Flow(max_steps=MAX_STEPS, **settings)
    return lg.learn(rule, student, teacher, duration=DURATION, tolerance=TARGET * unit, method=method)


def timed(call: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def one_curve(rule: lg.Rule, n: int, **settings: Any) -> None:
    """The first call may compile; the second does not."""
    pair = make_pair(n)
    (first, _), (warm, curve) = (timed(lambda: learn(rule, *pair, **settings)) for _ in range(2))
    print(
        f"{rule.name:18} {n:4d} {settings.get('solver', 'stabilized'):>10} {first:8.2f} {warm:8.2f} {curve.steps:7d}"
        f" {curve.time[-1]:9.3g} {curve.loss[-1] / curve.loss[0]:9.1e}  {curve.outcome.name}",
        flush=True,
    )


def many_seeds(count: int, n: int = 10) -> None:
    """A batch of students, from a teacher of 6 units with one input and one output."""
    keys = jax.random.split(jax.random.key(2), count + 1)
    teacher = lg.random_network(1, 6, 1, key=keys[0], spectral_radius=0.9)
    students = jax.vmap(lambda key: lg.random_network(1, n, 1, key=key, scale=0.3))(keys[1:])
    (first, _), (warm, curves) = (timed(lambda: learn(lg.BPTT(), students, teacher)) for _ in range(2))
    ended = {Outcome(k).name: int(np.sum(curves.outcome == k)) for k in np.unique(curves.outcome)}
    print(
        f"{count} seeds of n = {n} together, BPTT: {first:.2f} s with compiling, {warm:.2f} s warm; {ended}", flush=True
    )


class Training(Sampled):
    """PyTorch training by stochastic gradient descent, its loss judged exactly."""

    def __init__(self, student: lg.LinearRNN, teacher: lg.LinearRNN, learning_rate: float):
        super().__init__(*(jax.tree.map(lambda x: np.asarray(x, np.float32), net) for net in (student, teacher)))
        self.start, self.exact_teacher, self.learning_rate = student, teacher, learning_rate

    def step(self) -> None:
        for weights, gradient in zip(self.student, self(), strict=True):
            weights.data -= self.learning_rate * gradient

    def exact_loss(self) -> float:
        """Relative to that of the start; infinite where the network has become unstable."""
        A, W, B = (x.detach().numpy().astype(np.float64) for x in self.student)
        if not np.all(np.isfinite(W)) or lg.spectral_radius(W) >= 1:
            return np.inf
        start = lg.expected_loss(self.start, self.exact_teacher)
        return float(lg.expected_loss(lg.LinearRNN(A, W, B), self.exact_teacher) / start)


def against_training(n: int) -> None:
    """Exact error of both after the same time, the exact curve's, warm; and how long training would need to go on."""
    student, teacher = make_pair(n)
    seconds, curve = timed(lambda: learn(lg.BPTT(), student, teacher))
    # Steps stable for the fastest mode at its balanced optimum; half of that, since noise costs stability too.
    critical = float(lg.critical_learning_rate(lg.BPTT(), lg.Mode(1.0, 1.0, 0.9), 1.0))
    training = Training(student, teacher, critical / 2)
    training.step()
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        training.step()
        steps += 1
    spent = time.perf_counter() - start
    needed = curve.time[-1] / training.learning_rate
    print(
        f"n = {n}: exact curve {seconds:.2f} s to {curve.loss[-1] / curve.loss[0]:.1e} of the initial loss; PyTorch, "
        f"learning rate {training.learning_rate:.2g}: {steps} steps in {spent:.2f} s to {training.exact_loss():.2g}; "
        f"the {needed:.0f} steps of the whole curve would take {needed * spent / steps:.0f} s (extrapolated)",
        flush=True,
    )


def main(*, quick: bool = False) -> None:
    jax.config.update("jax_enable_x64", True)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    n = 16 if quick else 64
    print(f"Exact learning curves to {TARGET:g} of the initial loss, float64. Seconds of the first and a second call.")
    print(f"{'rule':18} {'n':>4} {'method':>10} {'first':>8} {'warm':>8} {'steps':>7} {'time':>9} {'loss':>9}  outcome")
    for rule in make_rules(n):
        one_curve(rule, n)
    for solver in ("stabilized",) if quick else ("stabilized", "explicit"):
        one_curve(lg.BPTT(), 10, solver=solver)
    many_seeds(5 if quick else 20)
    against_training(n)
