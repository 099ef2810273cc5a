"""Which algorithm serves which size: Stein equations by doubling, or sums lag by lag (float64, infinite horizon).

`expected_update` chooses by the outcome (docs/decisions.md). Students and teachers have spectral radius 0.9 and as many
inputs as outputs.
"""

import jax
import numpy as np

import localgrad as lg
from benchmarks.timing import interleaved


def main(*, quick: bool = False) -> None:
    jax.config.update("jax_enable_x64", True)
    print("Milliseconds for one update, doubling / lags.")
    print(f"{'n':>5} {'outputs':>7} {'BPTT':>19} {'tBPTT(1)':>19} {'RFLO':>19} {'e-prop':>19}")
    sizes = [(8, 4), (64, 4)] if quick else [(n, o) for n in (8, 64, 128, 256, 512) for o in (4, 16) if o <= n]
    for n, output in sizes:
        keys = jax.random.split(jax.random.key(0), 2)
        student, teacher = (lg.random_network(output, n, output, key=key, spectral_radius=0.9) for key in keys)
        R = np.random.default_rng(0).standard_normal((output, n))
        rules = (lg.BPTT(), lg.TruncatedBPTT(1), lg.RFLO(R, 0.5), lg.EProp())
        cells = [compare(rule, student, teacher, rounds=21 if n < 128 else 7) for rule in rules]
        print(f"{n:5d} {output:7d} " + " ".join(cells), flush=True)


def compare(rule: lg.Rule, student: lg.LinearRNN, teacher: lg.LinearRNN, *, rounds: int) -> str:
    def run(method: str) -> object:
        return jax.block_until_ready(lg.expected_update(rule, student, teacher, method=method))

    seconds = interleaved({"doubling": lambda: run("doubling"), "lags": lambda: run("lags")}, rounds=rounds)
    return f"{seconds['doubling'] * 1e3:9.2f}/{seconds['lags'] * 1e3:9.2f}"
