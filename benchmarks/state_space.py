"""The exact update of a diagonal state-space layer against the dense one, and against one PyTorch gradient.

Task: BPTT's update of a layer of n complex units (4 inputs, 4 outputs, poles of modulus up to 0.9 or 0.99) from a
teacher of the same size. Peers: the exact update of a dense network of n units (spectral radius 0.9), and what a script
does, `loss.backward()` through T = 100 steps of the recurrence with a batch of 128 white-noise sequences, complex64,
forward pass of the teacher included. Both use two threads and both are warm.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import resource

import jax
import numpy as np
import torch

import localgrad as lg
from benchmarks.expected_update import BATCH, HORIZON, INPUT, OUTPUT, exact, make_pair
from benchmarks.timing import interleaved


def make_layer(n: int, radius: float, dtype: type, seed: int) -> lg.DiagonalSSM:
    """Poles spread evenly over a disc, weights that keep the output of order one."""
    rng = np.random.default_rng(seed)

    def gaussian(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    poles = radius * np.sqrt(rng.uniform(size=n)) * np.exp(2j * np.pi * rng.uniform(size=n))
    arrays = (gaussian(OUTPUT, n) / n**0.5, poles, gaussian(n, INPUT))
    return lg.DiagonalSSM(*(x.astype(dtype) for x in arrays))


class Sampled:
    """One PyTorch-autograd gradient a call, through the recurrence."""

    def __init__(self, student: lg.DiagonalSSM, teacher: lg.DiagonalSSM):
        self.student, self.teacher = (
            [torch.tensor(np.asarray(x)) for x in layer.arrays] for layer in (student, teacher)
        )  # fmt: skip
        for x in self.student:
            x.requires_grad_()

    @staticmethod
    def run(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        C, poles, B = weights
        h = torch.zeros(BATCH, len(poles), dtype=C.dtype)
        for t in range(HORIZON):
            h = poles * h + x[t] @ B.T
        return (h @ C.T).real

    def __call__(self) -> tuple[torch.Tensor, ...]:
        x = torch.randn(HORIZON, BATCH, INPUT).to(self.student[0].dtype)
        with torch.no_grad():
            target = self.run(self.teacher, x)
        loss = ((self.run(self.student, x) - target) ** 2).sum(1).mean() / 2
        return torch.autograd.grad(loss, self.student)


def one_size(n: int, radius: float, rounds: int) -> None:
    layers = {bits: [make_layer(n, radius, dtype, seed) for seed in (0, 1)]
              for bits, dtype in (("32", np.complex64), ("64", np.complex128))}  # fmt: skip
    contenders: dict = {f"layer {bits}": (lambda pair=pair: exact(*pair)) for bits, pair in layers.items()}
    networks = {bits: make_pair(n, dtype) for bits, dtype in (("32", np.float32), ("64", np.float64))}
    contenders |= {f"dense {bits}": (lambda pair=pair: exact(*pair)) for bits, pair in networks.items()}
    contenders["torch 32"] = Sampled(*layers["32"])
    seconds = interleaved(contenders, rounds=rounds)
    ms = {name: 1e3 * value for name, value in seconds.items()}
    print(
        f"n = {n}, |λ| ≤ {radius}: layer {ms['layer 64']:.2f} ms (float32 {ms['layer 32']:.2f}), "
        f"dense {ms['dense 64']:.0f} ms ({ms['dense 32']:.0f}), PyTorch {ms['torch 32']:.0f} ms; "
        f"dense over layer {ms['dense 64'] / ms['layer 64']:.0f}x (float32 {ms['dense 32'] / ms['layer 32']:.0f}x), "
        f"PyTorch over layer {ms['torch 32'] / ms['layer 64']:.0f}x (float32 {ms['torch 32'] / ms['layer 32']:.0f}x)",
        flush=True,
    )


def large(n: int, radius: float) -> None:
    pair = [make_layer(n, radius, np.complex128, seed) for seed in (0, 1)]
    seconds = interleaved({"layer": lambda: exact(*pair)}, rounds=3)["layer"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"n = {n}, |λ| ≤ {radius}, float64: {seconds:.2f} s; at most {memory:.2f} GiB by this process so far")


def main(*, quick: bool = False) -> None:
    jax.config.update("jax_enable_x64", True)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    size = 256 if quick else 1024
    large(1024 if quick else 8192, 0.99)
    for radius in (0.9, 0.99):
        one_size(size, radius, rounds=3 if quick else 5)
