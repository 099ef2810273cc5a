"""The public face of the ensemble engine: checks, broadcasting, threads, results."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from localgrad.models.aligned import Mode
from localgrad.modes.ensemble import lanes
from localgrad.rules.rule import Rule

_LANES = 48
_PLAIN = ("outcome", "branch", "time", "path_length", "peak_loss", "steps")  # fields of an ensemble that are one array
_SMALLEST_CHUNK, _LARGEST_CHUNK = 1024, 16384  # trajectories a thread takes at a time


@dataclass(frozen=True)
class Ensemble:
    """How the trajectories of an ensemble ended; every array has the broadcast shape.

    - `final`: the last state, a `Mode`.
    - `outcome`: codes of `Outcome`. `CONVERGED`: the loss is below 1e-6 of that of a student without output, and the
        Jacobian's transverse eigenvalues are stable. `STALLED`: more loss, and a speed over the Jacobian's largest
        entry below 1e-3 of `min(1 − |w|, √|a* b*|)`. `DIVERGED`: certain to reach the edge of the domain.
    - `branch`: the sign of `a` where `CONVERGED`, else 0.
    - `time`: the learning time at which the loss became negligible for good where `CONVERGED`, else at the end.
    - `path_length`: the length of the way through `(a, b, w)`.
    - `peak_loss`: the largest loss on the way over the initial loss, at least 1; infinite where `DIVERGED`. The initial
        loss counts as no smaller than a negligible one, 1e-6 of the loss of a student without output.
    - `steps`: attempted steps of the integrator.
    - `saved`: with `save_at`, the states at those times, a `Mode` of arrays with one more axis, at the end. After the
        end of a trajectory its last state is repeated.
    """

    final: Mode
    outcome: np.ndarray
    branch: np.ndarray
    time: np.ndarray
    path_length: np.ndarray
    peak_loss: np.ndarray
    steps: np.ndarray
    saved: Mode | None = None


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

    **Returns:** an `Ensemble`. A start that is not finite or lies outside the domain (`|w| ≥ 1`, or `|m w| ≥ 1` with
    all lags kept) is returned as it is, with outcome `DIVERGED` at time 0. Where the field overflows, the trajectory
    is `UNFINISHED` at its last state.

    **Raises:** `ValueError` for an empty ensemble, if no start is valid, for numbers that are not finite in rule or
    teacher, a feedback of 0, `|a* b*|` outside `[1e-150, 1e150]`, `|w*| ≥ 1`, `|decay · w*| ≥ 1` with all lags
    kept, and for tolerances, durations and saving times outside their ranges.

    Source: docs/theory.md, sections 5–8.

    >>> from localgrad import Mode, Outcome, RFLO
    >>> run = integrate_modes(RFLO(-1.0, 0.5), Mode(1.0, 1.0, [0.6, 0.7]), Mode(1.0, 1.0, 0.8), duration=200.0)
    >>> Outcome(run.outcome[0]).name, int(run.branch[0]), round(float(run.path_length[0]), 2)
    ('CONVERGED', -1, 4.71)
    """
    if isinstance(rule, Sequence):
        options: dict[str, Any] = {
            "early_stop": early_stop,
            "save_at": save_at,
            "max_steps": max_steps,
            "threads": threads,
        }
        options |= {"duration": duration, "rtol": rtol, "atol": atol}
        return _stack([integrate_modes(one, initial, teacher, **options) for one in rule])
    problem, shape = _broadcast(rule, initial, teacher)
    _check_problem(rule, problem)
    times = None if save_at is None else np.array(save_at, dtype=float).reshape(-1)
    _check_settings(duration, rtol, atol, max_steps, threads, times)
    values, layout = lay_out(problem)
    count = int(np.prod(shape))
    numbers, codes = np.empty((6, count)), np.empty((3, count), np.int32)
    saved = None if times is None else np.empty((count, 3, len(times)))
    settings = (float(duration), float(rtol), float(atol), float(early_stop), float(max_steps))

    def run(start: int, stop: int) -> None:
        digits = binary_digits(rule.lags)
        arguments = (values, layout, settings, (None,) * _LANES, digits, times, numbers, codes, saved)
        lanes.run(start, stop, *arguments)

    _in_threads(run, count, threads)
    if not codes[2].any():  # a valid start takes at least one step
        raise ValueError(
            f"no start is valid, for example a = {problem[0][0]:g}, b = {problem[1][0]:g}, w = {problem[2][0]:g}; "
            "starts must be finite with |w| < 1, and |m w| < 1 when all lags are kept"
        )
    return _results(numbers, codes, saved, shape)


def _stack(runs: list[Ensemble]) -> Ensemble:
    """The results of several rules as one, with the rules on a new first axis."""
    if not runs:
        raise ValueError("the sequence of rules is empty; give at least one rule")
    shapes = [run.outcome.shape for run in runs]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ValueError(f"the rules' ensembles, of shapes {shapes}, do not broadcast against each other") from error

    def stack(*arrays: np.ndarray) -> np.ndarray:
        # `saved` has one more axis, at the end.
        return np.stack([np.broadcast_to(x, shape + x.shape[len(s) :]) for x, s in zip(arrays, shapes, strict=True)])

    fields = {name: stack(*(getattr(run, name) for run in runs)) for name in _PLAIN}
    final = Mode(*map(stack, *(run.final for run in runs)))
    saved = None if runs[0].saved is None else Mode(*map(stack, *(run.saved or () for run in runs)))
    return Ensemble(final=final, saved=saved, **fields)


def _broadcast(rule: Rule, initial: Mode, teacher: Mode) -> tuple[tuple[np.ndarray, ...], tuple[int, ...]]:
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
    full = [x if x.size == 1 or x.shape == shape else np.broadcast_to(x, shape) for x in arrays]
    return tuple(x.reshape(-1) for x in full), shape


def lay_out(problem: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One array of all numbers, and for each kind of number its offset and stride (0 for one that all share)."""
    sizes = np.array([x.size for x in problem])
    return np.concatenate(problem), np.stack([np.cumsum(sizes) - sizes, sizes > 1], axis=1).astype(np.int64)


def _check_problem(rule: Rule, problem: tuple[np.ndarray, ...]) -> None:
    *_, phi0, phi1, mu0, mu1, c, w_star = problem
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
    if rule.lags is None:
        product = mu0 * w_star + 0 * mu1
        remedy = "must have modulus below 1 when all lags are kept; lower the decay or set lags"
        _require((abs(product) < 1) | (mu1 != 0), product, "decay times teacher w", remedy)


def _check_settings(
    duration: float, rtol: float, atol: float, max_steps: int, threads: int | None, times: np.ndarray | None
) -> None:
    for name, value in (("duration", duration), ("rtol", rtol), ("atol", atol)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
    for name, number in (("max_steps", max_steps), ("threads", 1 if threads is None else threads)):
        if number < 1 or number != int(number):
            raise ValueError(f"{name} must be a whole number of at least 1, got {number}")
    if times is not None and not (
        times.size and times[0] >= 0 and times[-1] <= duration and (np.diff(times) >= 0).all()
    ):
        raise ValueError(f"save_at must hold ascending times between 0 and the duration {duration:g}, got {times}")


def _require(fine: np.ndarray, values: np.ndarray, name: str, complaint: str) -> None:
    if not fine.all():
        raise ValueError(f"{name} = {np.broadcast_to(values, fine.shape)[~fine][0]:.6g} {complaint}")


def binary_digits(lags: int | None) -> tuple[int, tuple[None, ...]] | None:
    """A number of lags, and a tuple as long as it has binary digits: a length known when the kernel is compiled."""
    return None if lags is None else (lags, (None,) * lags.bit_length())


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


def _results(numbers: np.ndarray, codes: np.ndarray, saved: np.ndarray | None, shape: tuple[int, ...]) -> Ensemble:
    a, b, w, time, path_length, peak_loss = (row.reshape(shape) for row in numbers)
    outcome, branch, steps = (row.reshape(shape) for row in codes)
    modes = None if saved is None else Mode(*(saved[:, axis].reshape(*shape, -1) for axis in range(3)))
    return Ensemble(Mode(a, b, w), outcome, branch, time, path_length, peak_loss, steps, modes)
