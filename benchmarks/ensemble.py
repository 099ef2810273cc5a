"""A million learning trajectories: the ensemble engine against SciPy, diffrax and heyoka.

Task: RFLO with â = 1, ŵ = 0.5 and teacher (1, 1, 0.8), from starts uniform in [0.2, 2]² × [−0.9, 0.9] to learning time
100, without early stopping. Everyone runs at the loosest tolerance at which the largest error in `(a, b, w)` at the
end, over a sample of starts and against a reference at rtol 1e-11, is at most 1e-6. The reference is ours; it is
checked here against SciPy's Radau. SciPy runs in one process and is credited with perfect scaling to two.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import diffrax
import heyoka
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from numba import njit
from scipy.integrate import solve_ivp

from benchmarks.timing import interleaved
from localgrad import RFLO, Mode
from localgrad.models.poles import POLES
from localgrad.modes.ensemble import rosenbrock, rows
from localgrad.modes.ensemble.arithmetic import rates
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.ensemble.result import Ensemble
from localgrad.modes.equations import field

RULE, TEACHER, DURATION, ALLOWED = RFLO(1.0, 0.5), Mode(1.0, 1.0, 0.8), 100.0, 1e-6
THREADS, LANES = 2, (None,) * 48
Solver = Callable[[np.ndarray, float], np.ndarray]  # starts "3 count", tolerance -> final states "3 count"


def starts(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([*rng.uniform(0.2, 2, (2, count)), rng.uniform(-0.9, 0.9, count)])


def run(
    start: np.ndarray, tolerance: float, *, threads: int = THREADS, early_stop: bool = False, poles: str = "direct"
) -> Ensemble:
    settings = {"rtol": tolerance, "atol": tolerance, "threads": threads, "early_stop": early_stop, "poles": poles}
    return integrate_modes(RULE, Mode(*start), TEACHER, duration=DURATION, **settings)


def ours(start: np.ndarray, tolerance: float) -> np.ndarray:
    return np.array(run(start, tolerance).final)


@njit
def _velocity(_, state):
    return np.array(rates(state[0], state[1], state[2], 1.0, 0.0, 0.5, 0.0, 1.0, 0.8, (None, None, None)))


def scipy(start: np.ndarray, tolerance: float, *, method: str = "LSODA", velocity: Callable = _velocity) -> np.ndarray:
    settings = {"method": method, "rtol": tolerance, "atol": tolerance}
    return np.array([solve_ivp(velocity, (0, DURATION), x, **settings).y[:, -1] for x in start.T]).T


def scipy_in_python(start: np.ndarray, tolerance: float) -> np.ndarray:
    """With the field as a script would have it: plain Python arithmetic, nothing compiled."""
    symbols = sympy.symbols("a b w")
    update = sympy.lambdify(symbols, list(field(RULE, Mode(*symbols), TEACHER)), modules="math")
    return scipy(start, tolerance, velocity=lambda _, state: [-x for x in update(*state.tolist())])


def diffrax_with(solver: diffrax.AbstractSolver) -> Solver:
    """A compiled vmapped solve; all its trajectories step together until the last is done."""

    def velocity(_, state, __):
        return -jnp.stack(field(RULE, Mode(*state), TEACHER))

    def solve(state, tolerance):
        controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
        settings = {"stepsize_controller": controller, "max_steps": 100_000, "saveat": diffrax.SaveAt(t1=True)}
        return diffrax.diffeqsolve(diffrax.ODETerm(velocity), solver, 0, DURATION, 1e-3, state, **settings).ys[0]

    batched = jax.jit(jax.vmap(solve, in_axes=(1, None), out_axes=1))
    return lambda start, tolerance: np.asarray(batched(start, tolerance))


def with_heyoka(start: np.ndarray, tolerance: float) -> np.ndarray:
    """Taylor integration in batches as wide as the processor's vectors, one integrator a thread."""
    symbols = heyoka.make_vars("a", "b", "w")
    system = [(x, -dx) for x, dx in zip(symbols, field(RULE, Mode(*symbols), TEACHER), strict=True)]
    width = heyoka.recommended_simd_size()
    final = np.empty_like(start)

    def integrate(columns: np.ndarray) -> None:
        integrator = heyoka.taylor_adaptive_batch(system, start[:, columns[:width]], tol=tolerance)
        for group in columns.reshape(-1, width):
            integrator.set_time(0.0)
            integrator.state[:] = start[:, group]
            integrator.propagate_until(DURATION)
            final[:, group] = integrator.state

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(integrate, np.array_split(np.arange(start.shape[1]), THREADS)))
    return final


def loosest_tolerance(solver: Solver, start: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """The largest of `10^(−k/16)` (peers: `10^(−k/4)`) whose error is allowed, and that error."""
    for k in range(56, 200, 1 if solver is ours else 4):
        error = abs(solver(start, 10 ** (-k / 16)) - reference).max()
        if error <= ALLOWED:
            return 10 ** (-k / 16), float(error)
    return float("nan"), float("nan")


def compare(*, quick: bool) -> float:
    """Print the table of contenders; returns the tolerance we need."""
    reference = ours(starts(10_000), 1e-11)
    checked = 3 if quick else 20
    deviation = abs(scipy(starts(10_000)[:, :checked], 1e-11, method="Radau") - reference[:, :checked]).max()
    print(f"reference against SciPy Radau at rtol 1e-11, {checked} trajectories: {deviation:.0e}")
    peers: dict[str, tuple[Solver, int, int]] = {  # solver, trajectories to time, to choose the tolerance with
        "localgrad": (ours, 10**5 if quick else 10**6, 10_000),
        "heyoka, batch": (with_heyoka, 400 if quick else 8000, 400),
        "diffrax, Kvaerno5": (diffrax_with(diffrax.Kvaerno5()), 50 if quick else 1000, 50 if quick else 200),
        "diffrax, Tsit5": (diffrax_with(diffrax.Tsit5()), 50 if quick else 1000, 50 if quick else 200),
        "SciPy LSODA, compiled": (scipy, 50 if quick else 400, 50 if quick else 200),
        "SciPy LSODA, Python": (scipy_in_python, 50 if quick else 200, 50 if quick else 200),
    }
    chosen = {
        name: loosest_tolerance(solver, starts(10_000)[:, :sample], reference[:, :sample])
        for name, (solver, _, sample) in peers.items()
    }
    calls = {name: partial(peers[name][0], starts(peers[name][1]), chosen[name][0]) for name in peers}
    seconds = interleaved(calls, rounds=1 if quick else 5)
    rate = {name: peers[name][1] / seconds[name] * (THREADS if name.startswith("SciPy") else 1) for name in peers}
    print(f"{'':22} {'trajectories/s':>14} {'localgrad is':>14} {'tolerance':>10} {'largest error':>14}")
    for name, (tolerance, error) in chosen.items():
        ratio = f"{rate['localgrad'] / rate[name]:.0f} times"
        print(f"{name:22} {rate[name]:14,.0f} {ratio:>14} {tolerance:10.1e} {error:14.1e}")
    return chosen["localgrad"][0]


def with_poles(*, quick: bool) -> None:
    """Direct, tanh and LRU poles from the same starts, `w > 0`, each at the loosest tolerance that the error allows."""
    sample, many = (starts(count) for count in (10_000, 10**5 if quick else 10**6))
    for start in (sample, many):
        start[2] = 0.05 + 0.85 * (start[2] + 0.9) / 1.8
    tolerance, errors, steps = {}, {}, {}
    for poles in POLES:
        reference = np.array(run(sample, 1e-11, poles=poles).final)
        for k in range(56, 200):
            tolerance[poles] = 10 ** (-k / 16)
            found = run(sample, tolerance[poles], poles=poles)
            errors[poles], steps[poles] = abs(np.array(found.final) - reference).max(), found.steps.mean()
            if errors[poles] <= ALLOWED:
                break
    calls = {poles: partial(run, many, tolerance[poles], poles=poles) for poles in POLES}
    alike = {f"{poles}, alike": partial(run, many, tolerance["direct"], poles=poles) for poles in POLES}
    seconds = interleaved(calls | alike, rounds=3 if quick else 5)
    print(
        f"\n{'poles':>8} {'trajectories/s':>15} {'of direct':>10} {'one tolerance':>14} {'tolerance':>10} {'error':>8}"
    )
    for poles in POLES:
        share, same = seconds["direct"] / seconds[poles], seconds["direct, alike"] / seconds[f"{poles}, alike"]
        numbers = f"{many.shape[1] / seconds[poles]:15,.0f} {share:10.0%} {same:14.0%} {tolerance[poles]:10.1e}"
        print(f"{poles:>8} {numbers} {errors[poles]:8.1e}, {steps[poles]:.1f} steps")


def scaling(tolerance: float, *, quick: bool) -> None:
    print(f"\n{'trajectories':>12} {'1 thread, µs each':>18} {'2 threads, µs each':>19} {'1 → 2 threads':>14}")
    for exponent in range(2, 6 if quick else 8):
        start = starts(10**exponent)
        calls = {threads: partial(run, start, tolerance, threads=threads) for threads in (1, 2)}
        seconds = interleaved(calls, rounds=5 if exponent < 7 else 1)
        one, two = (seconds[threads] / 10**exponent * 1e6 for threads in (1, 2))
        print(f"{10**exponent:12,} {one:18.3f} {two:19.3f} {one / two:14.2f}", flush=True)


@njit(fastmath={"contract"}, nogil=True)
def _multiply_add(repetitions):
    values = np.zeros(32)
    for _ in range(repetitions):
        for i in range(32):
            x = values[i]
            x = x * 0.999 + 0.1
            x = x * 0.999 + 0.1
            x = x * 0.999 + 0.1
            x = x * 0.999 + 0.1
            x = x * 0.999 + 0.1
            x = x * 0.999 + 0.1
            x = x * 0.999 + 0.1
            x = x * 0.999 + 0.1
            values[i] = x
    return values


def operations_per_step() -> int:
    """Additions, multiplications, divisions and roots of a step in one lane, counted in the compiled loops."""
    rosenbrock.sweep(np.zeros(rows.NUM_ROWS * len(LANES)), LANES, (None, None, None), None, 1e-6, 1e-6, 0.0, 1e5)
    assembly = next(iter(rosenbrock.sweep.inspect_asm().values()))
    packed = re.findall(r"^\s+(v\w+)pd\s.*[yz]mm", assembly, flags=re.MULTILINE)
    fused = sum(name.startswith(("vfma", "vfms", "vfnm")) for name in packed)
    return 2 * fused + sum(name in ("vadd", "vsub", "vmul", "vdiv", "vsqrt") for name in packed)


def arithmetic(tolerance: float, *, quick: bool) -> None:
    count, repetitions = 10**5 if quick else 10**6, 2_000_000
    start = starts(count)
    steps = run(start, tolerance).steps.sum()

    def peak() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(_multiply_add, [repetitions] * THREADS))

    early = run(start, tolerance, early_stop=True).steps.sum()
    calls = {
        "peak": peak,
        "run": lambda: run(start, tolerance),
        "early": lambda: run(start, tolerance, early_stop=True),
    }
    seconds = interleaved(calls, rounds=3 if quick else 5)
    highest = THREADS * repetitions * 32 * 8 * 2 / seconds["peak"]
    if operations := operations_per_step():
        achieved = operations * steps / seconds["run"]
        print(
            f"\n{steps / count:.1f} steps a trajectory, {operations} operations a step: {achieved / 1e9:.1f} Gflop/s,"
        )
        print(f"{achieved / highest:.0%} of a measured peak of {highest / 1e9:.1f} (fused multiply-adds alone)")
    gain = seconds["run"] / seconds["early"]
    print(
        f"early stopping: {early / count:.1f} steps, {count / seconds['early']:,.0f} trajectories/s, {gain:.2f} times"
    )


def second_process() -> None:
    code = (
        "import time, localgrad as lg; lg.integrate_modes; t = time.perf_counter();"  # imported before it is timed
        "lg.integrate_modes(lg.RFLO(1.0, 0.5), lg.Mode(1.0, 1.0, 0.6), lg.Mode(1.0, 1.0, 0.8), duration=9.0);"
        "import sys; print(time.perf_counter() - t, 'sympy' in sys.modules)"
    )
    seconds, imported = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    print(f"first call in a second process: {float(seconds):.2f} s (SymPy imported: {imported})")


def main(*, quick: bool = False) -> None:
    jax.config.update("jax_enable_x64", True)
    tolerance = compare(quick=quick)
    with_poles(quick=quick)
    scaling(tolerance, quick=quick)
    arithmetic(tolerance, quick=quick)
    second_process()
