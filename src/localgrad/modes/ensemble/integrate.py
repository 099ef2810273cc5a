"""A million learning trajectories a second: the mode equations integrated from many starts, for many rules.

Initial modes, teacher modes and the numbers of a rule broadcast against each other; `integrate_modes` follows
`dθ/dk = −Δθ` for each and says where it ended, when, by which way, and how high the loss rose on it. The integrator is
a Rosenbrock method (`rosenbrock.py`) on many trajectories at once (`lanes.py`), its formulas generated from the one
definition of the mode equations (`generate.py`). Here arguments are checked, broadcast and shared among threads.

Limits: CPU and float64; `|w| < 1`; outcomes are decided by local criteria (see `Outcome`).
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from localgrad.checks import check_flag, check_memory, in_our_arithmetic
from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, Poles, find_poles
from localgrad.modes.arguments import (
    as_float,
    as_mode,
    as_rule,
    check_count,
    check_positive,
    check_times,
)
from localgrad.modes.domain import check_start
from localgrad.modes.ensemble import lanes
from localgrad.modes.ensemble._mode_field import POLE_PLACES
from localgrad.modes.ensemble.result import Ensemble, stack
from localgrad.modes.equations import lags_before, lags_met
from localgrad.rules.rule import Rule

_LANES = 48
_SMALLEST_CHUNK, _LARGEST_CHUNK = 1024, 16384  # trajectories a thread takes at a time


@in_our_arithmetic
def integrate_modes(
    rule: Rule | Sequence[Rule],
    initial: Mode,
    teacher: Mode,
    *,
    duration: float,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    early_stop: bool = True,
    save_at: Sequence[float] | np.ndarray | None = None,
    max_steps: int = 100_000,
    threads: int | None = None,
    poles: str | Poles = "direct",
) -> Ensemble:
    r"""Follow the learning flow `dθ/dk = −Δθ` of many modes at once.

    **Arguments:**

    - `rule`: its numbers (feedback and decay, and their blends) are scalars or broadcasting arrays. Rules that keep
        different numbers of lags go into a sequence; the results then have one more axis, in front, for the rules.
    - `initial`, `teacher`: `Mode`s of scalars or broadcasting arrays, dimensionless; `|w*| < 1`.
    - `duration`: learning time (learning rate × steps), positive.
    - `rtol`, `atol`: relative and absolute error allowed in a step, positive. For `a` and `b` the absolute one is in
        units of `√|a* b*|` where that is below 1.
    - `early_stop`: end a trajectory as soon as its outcome is certain.
    - `save_at`: learning times in `[0, duration]`, ascending, at which states are kept (interpolated with order 3).
    - `max_steps`: attempted steps after which a trajectory is given up as `UNFINISHED`.
    - `threads`: how many to use, by default one a core. Results do not depend on it.
    - `poles`: as in `mode_update`. With bounded ones errors of `w` are judged in units of `1 − w²`.

    **Returns:** an `Ensemble`. A start that is not finite or lies outside the domain (`|w| ≥ 1`, or `|m w| ≥ 1` with
    all lags kept) is returned as it is, with outcome `DIVERGED` at time 0. Where the field overflows, the trajectory
    is `UNFINISHED` at its last state, and so is one on its way to `|w| = 1` under bounded poles, which takes for ever:
    these never have `DIVERGED` while `|m| ≤ 1`.

    **Raises:** `ValueError` for an empty ensemble, if no start is valid, for numbers that are not finite in rule or
    teacher, a feedback of 0, `|a* b*|` outside `[1e-150, 1e150]`, `|w*| ≥ 1`, `|decay · w*| ≥ 1` with all lags kept,
    for starts or teachers whose `w` no such pole has, for tolerances, durations and saving times outside their ranges.

    Source: docs/theory.md, sections 5–8.

    >>> from localgrad import Mode, Outcome, RFLO
    >>> run = integrate_modes(RFLO(-1.0, 0.5), Mode(1.0, 1.0, [0.6, 0.7]), Mode(1.0, 1.0, 0.8), duration=200.0)
    >>> Outcome(run.outcome[0]).name, int(run.branch[0]), round(float(run.path_length[0]), 2)
    ('CONVERGED', -1, 4.71)
    """
    times = None if save_at is None else np.asarray(as_float(save_at, "save_at"), dtype=float).reshape(-1)
    settings = _checked_settings(duration, rtol, atol, early_stop, max_steps, times)
    parametrisation = find_poles(poles)
    if threads is not None:
        check_count(threads, "threads")
    if isinstance(rule, Sequence):
        runs = [_integrate(one, initial, teacher, settings, times, threads, parametrisation) for one in rule]
        return stack(runs)
    return _integrate(rule, initial, teacher, settings, times, threads, parametrisation)


def _integrate(
    rule: Rule,
    initial: Mode,
    teacher: Mode,
    settings: dict[str, Any],
    times: np.ndarray | None,
    threads: int | None,
    poles: Poles,
) -> Ensemble:
    rule, initial, teacher = as_rule(rule), as_mode(initial, "initial mode"), as_mode(teacher, "teacher")
    problem, shape = _broadcast(rule, initial, teacher, 0 if times is None else len(times))
    _check_problem(rule, problem, poles)
    values, layout = lay_out(problem)
    count = math.prod(shape)
    numbers, codes = np.empty((6, count)), np.empty((3, count), np.int32)
    saved = None if times is None else np.empty((count, 3, len(times)))
    limits = tuple(map(float, settings.values()))
    structure = binary_digits(lags_before(rule)), place_of(poles), lateness(rule)

    def run(start: int, stop: int) -> None:
        arguments = (values, layout, limits, (None,) * _LANES, structure, times, numbers, codes, saved)
        with np.errstate(all="ignore"):  # where kernels are not compiled, see `cache.py`
            lanes.run(start, stop, *arguments)

    _in_threads(run, count, threads)
    if not codes[2].any():  # a valid start takes at least one step
        raise ValueError(
            f"no start is valid, for example a = {problem[0][0]:g}, b = {problem[1][0]:g}, w = {problem[2][0]:g}; "
            "starts must be finite with |w| < 1, and |m w| < 1 when all lags are kept"
        )
    a, b, w, time, path_length, peak_loss = (row.reshape(shape) for row in numbers)
    outcome, branch, steps = (row.reshape(shape) for row in codes)
    states = None if saved is None else Mode(*(saved[:, axis].reshape(*shape, -1) for axis in range(3)))
    arrays = (Mode(a, b, w), outcome, branch, time, path_length, peak_loss, steps, states, times)
    return Ensemble(*arrays, rule=rule, initial=initial, teacher=teacher, settings=settings | {"poles": poles.key})


def _broadcast(
    rule: Rule, initial: Mode, teacher: Mode, num_times: int
) -> tuple[tuple[np.ndarray, ...], tuple[int, ...]]:
    """`a, b, w, φ₀, φ₁, μ₀, μ₁, c, w*`, each flat with one entry or one a trajectory, and the common shape."""
    phi0, phi1, mu0, mu1 = (np.asarray(x, dtype=float) for x in rule.require_affine("an ensemble of modes"))
    a, b, w, a_star, b_star, w_star = (np.asarray(x, dtype=float) for x in (*initial, *teacher))
    try:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            arrays = (a, b, w, phi0, phi1, mu0, mu1, a_star * b_star, w_star)
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError as error:
        raise ValueError(f"initial modes, rule and teacher do not broadcast against each other: {error}") from error
    if 0 in shape:
        raise ValueError(f"the ensemble has shape {shape} and so is empty; give at least one trajectory")
    # Nine numbers of a problem and nine of its result, and what is saved of it.
    check_memory(
        f"{math.prod(shape):,} trajectories",
        math.prod(shape) * 8 * (18 + 3 * num_times),
        "give fewer, or fewer times to save at",
    )
    full = [x if x.size == 1 or x.shape == shape else np.broadcast_to(x, shape) for x in arrays]
    return tuple(x.reshape(-1) for x in full), shape


def lay_out(problem: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One array of all numbers, and for each kind of number its offset and stride (0 for one that all share)."""
    sizes = np.array([x.size for x in problem])
    return np.concatenate(problem), np.stack([np.cumsum(sizes) - sizes, sizes > 1], axis=1).astype(np.int64)


def _check_problem(rule: Rule, problem: tuple[np.ndarray, ...], poles: Poles) -> None:
    _, _, w, phi0, phi1, mu0, mu1, c, w_star = problem
    for name, values in (
        ("feedback", phi0),
        ("feedback", phi1),
        ("decay", mu0),
        ("propagator", mu1),
        ("teacher w", w_star),
    ):
        _require(np.isfinite(values), values, name, "is not finite; give finite numbers")
    _require((phi0 != 0) | (phi1 != 0), phi0 + 0 * phi1, "feedback", "teaches nothing; give a feedback other than 0")
    remedy = "must lie between 1e-150 and 1e150 in size; rescale the teacher"
    _require((abs(c) >= 1e-150) & (abs(c) <= 1e150), c, "teacher a* b*", remedy)
    _require(abs(w_star) < 1, w_star, "teacher w", "must lie strictly between −1 and 1 (stable mode)")
    check_start(poles, w_star, "teacher w")
    check_start(poles, w, "initial w")
    if rule.lags is None:
        product = mu0 * w_star + 0 * mu1
        remedy = "must have modulus below 1 when all lags are kept; lower the decay or set lags"
        _require((abs(product) < 1) | (mu1 != 0), product, "decay times teacher w", remedy)


def _checked_settings(
    duration: float, rtol: float, atol: float, early_stop: bool, max_steps: int, times: np.ndarray | None
) -> dict[str, Any]:
    check_positive(duration=duration, rtol=rtol, atol=atol)
    check_flag("early_stop", early_stop)
    if times is not None:
        check_times(times, duration, "save_at")
    settings: dict[str, Any] = {"duration": float(duration), "rtol": float(rtol), "atol": float(atol)}
    return settings | {"early_stop": bool(early_stop), "max_steps": check_count(max_steps, "max_steps")}


def _require(fine: np.ndarray, values: np.ndarray, name: str, complaint: str) -> None:
    if not fine.all():
        raise ValueError(f"{name} = {np.broadcast_to(values, fine.shape)[~fine][0]:.6g} {complaint}")


def binary_digits(lags: int | None) -> tuple[int, tuple[None, ...]] | None:
    """A number of lags, and a tuple as long as it has binary digits: a length known when the kernel is compiled."""
    return None if lags is None else (lags, (None,) * lags.bit_length())


def lateness(rule: Rule) -> tuple[Any, Any] | None:
    """By how many steps errors are late, before the first lag that is kept and within those kept; `None` on time."""
    if not rule.delay:
        return None
    met = lags_met(rule)
    return binary_digits(rule.delay - met or None), binary_digits(met)


def place_of(poles: Poles) -> tuple[None, ...] | None:
    """A parametrisation as the kernels know it: a tuple whose length is its place; `None` for direct poles."""
    return None if poles is DIRECT else (None,) * POLE_PLACES[poles.key]


def _in_threads(run: Any, count: int, threads: int | None) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = threads or cores
    chunk = min(_LARGEST_CHUNK, max(_SMALLEST_CHUNK, -(-count // threads)))
    if count <= chunk:
        run(0, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(run, start, min(start + chunk, count)) for start in range(0, count, chunk)]
        for future in futures:
            future.result()
