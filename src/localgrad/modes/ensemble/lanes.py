r"""A stream of trajectories through a batch of lanes, and what is concluded of each.

After every attempted step the lanes that are done give way to waiting trajectories. Finished ones gather in a second
batch of the same layout; when it is full, one more evaluation of field, Jacobian and loss at their last states
completes their records and decides how they ended. No trajectory sees its neighbours: the results are the same, bit
for bit, for any number of lanes, threads and trajectories.
"""

# mypy: ignore-errors

from hashlib import sha256
from math import inf, log, sqrt
from pathlib import Path

import numpy as np
from numba import njit

from localgrad import outcomes
from localgrad.modes import verdict
from localgrad.modes.ensemble import rows as row
from localgrad.modes.ensemble._mode_field import loss, rule_terms
from localgrad.modes.ensemble.arithmetic import kernel, larger, rates, room, smaller, sums
from localgrad.modes.ensemble.cache import keep_on_disk
from localgrad.modes.ensemble.rosenbrock import TINY, invariants, linearise, record, sweep
from localgrad.modes.ensemble.rows import get3, get4, put3
from localgrad.outcomes import CONVERGED_LOSS, ROUNDING_GAP, Outcome

CONVERGED, DIVERGED = float(Outcome.CONVERGED), float(Outcome.DIVERGED)

FIRST_STEP = 0.2  # times the fourth root of rtol: part of the time in which the state would change by its size
EDGE, ROUNDING_EDGE = 1e-7, ROUNDING_GAP  # how close to the edge of the domain: moving outwards; however it moves

outcome_at = kernel(verdict.outcome_at)


@kernel
def stream(start, stop, values, layout, settings, lanes, structure, save_at, numbers, codes, saved):
    """Integrate the trajectories `start ≤ j < stop`.

    `values` and `layout` hold `a, b, w, φ₀, φ₁, μ₀, μ₁, c, w*` of every trajectory (see `value`); `settings` the
    duration, `rtol`, `atol`, `early_stop` and `max_steps` as floats. Results go to column `j` of `numbers` (final
    a, b, w; time, path length, peak loss) and `codes` (outcome, branch, steps) and, with `save_at`, to `saved[j]`.
    """
    n = len(lanes)
    duration, rtol, atol, early_stop, max_steps = settings
    batch, finished = np.zeros(row.NUM_ROWS * n), np.ones(row.NUM_ROWS * n)
    owner, finished_owner, next_save = np.full(n, -1), np.zeros(n, np.int64), np.zeros(n, np.int64)
    waiting, num_finished, num_active = start, 0, 0
    for i in range(n):
        waiting = _load_next(batch, i, owner, waiting, stop, values, layout, settings, lanes, structure, numbers, codes)
        num_active += owner[i] >= 0
    while num_active > 0:
        sweep(batch, lanes, structure, save_at, rtol, atol, early_stop, max_steps)
        for i in range(n):
            if save_at is not None and owner[i] >= 0:
                next_save[i] = _save(batch, n, i, next_save[i], save_at, saved[owner[i]])
            if batch[row.STATUS * n + i] != row.RUNNING and owner[i] >= 0:
                for k in range(row.NUM_KEPT):
                    finished[k * n + num_finished] = batch[k * n + i]
                finished_owner[num_finished] = owner[i]
                num_finished += 1
                waiting = _load_next(
                    batch, i, owner, waiting, stop, values, layout, settings, lanes, structure, numbers, codes
                )
                next_save[i] = 0
                num_active -= owner[i] < 0
                if num_finished == n:
                    _conclude(finished, lanes, structure, num_finished, finished_owner, duration, numbers, codes)
                    num_finished = 0
    _conclude(finished, lanes, structure, num_finished, finished_owner, duration, numbers, codes)


@kernel
def _load_next(batch, i, owner, waiting, stop, values, layout, settings, lanes, structure, numbers, codes):
    """Put the next valid trajectory into lane `i`, or leave it idle; returns the one after."""
    n = len(lanes)
    for j in range(waiting, stop):
        a, b, w = value(values, layout, 0, j), value(values, layout, 1, j), value(values, layout, 2, j)
        _, m = rule_terms(a, w, 0.0, 0.0, value(values, layout, 5, j), value(values, layout, 6, j))
        w_star = value(values, layout, 8, j)
        if abs(a) < inf and abs(b) < inf and room(w, m, w_star, structure[0]) > 0:
            _load(batch, n, i, j, values, layout, settings, structure)
            owner[i] = j
            return j + 1
        numbers[0, j], numbers[1, j], numbers[2, j] = a, b, w
        numbers[3, j], numbers[4, j], numbers[5, j] = 0.0, 0.0, inf
        codes[0, j], codes[1, j], codes[2, j] = DIVERGED, 0, 0
    owner[i] = -1
    for k in range(row.NUM_ROWS):
        batch[k * n + i] = 0.0
    return stop


@kernel
def value(values, layout, k, j):
    """Number `k` of trajectory `j`; `layout[k]` says where its first is, and how far the next (0: one for all)."""
    return values[layout[k, 0] + layout[k, 1] * j]


@kernel
def _load(batch, n, i, j, values, layout, settings, structure):
    """Start trajectory `j` in lane `i`."""
    for k in range(row.RULE):
        batch[k * n + i] = 0.0
    duration, rtol, atol, _, _ = settings
    a, b, w = value(values, layout, 0, j), value(values, layout, 1, j), value(values, layout, 2, j)
    phi0, phi1 = value(values, layout, 3, j), value(values, layout, 4, j)
    mu0, mu1 = value(values, layout, 5, j), value(values, layout, 6, j)
    c, w_star = value(values, layout, 7, j), value(values, layout, 8, j)
    theirs, scale = 1 / (1 - w_star * w_star), sqrt(abs(c))
    put3(batch, row.STATE, n, i, a, b, w)
    put3(batch, row.RULE, n, i, phi0, phi1, mu0)
    put3(batch, row.RULE + 3, n, i, mu1, c, w_star)
    put3(batch, row.THEIRS, n, i, theirs, scale, CONVERGED_LOSS * 0.5 * c * c * theirs)
    _, m = rule_terms(a, w, phi0, phi1, mu0, mu1)
    p, q, _, _, _, _ = sums(w, m, w_star, structure[0])
    batch[row.FIRST_LOSS * n + i] = loss(a, b, w, c, w_star, p, q, theirs)
    batch[row.LAST_LOSS * n + i] = batch[row.SMALL * n + i]
    fa, fb, fw = rates(a, b, w, phi0, phi1, mu0, mu1, c, w_star, structure)
    change = (larger(abs(a), abs(b)) + scale) / (larger(abs(fa), abs(fb)) + TINY)
    change = smaller(change, (1 - abs(w)) / (abs(fw) + TINY))  # time in which the state would change by its size
    batch[row.ATOL * n + i] = atol * smaller(1.0, scale)
    batch[row.LEFT * n + i] = duration
    batch[row.STEP * n + i] = smaller(FIRST_STEP * sqrt(sqrt(rtol)) * change, duration)


@kernel
def _save(batch, n, i, k, times, saved):
    """Write the states at the saving times that the last step of lane `i` passed; returns the next time's index."""
    time, h = batch[row.TIME * n + i], batch[row.TIME * n + i] - batch[row.LAST_TIME * n + i]
    last = batch[row.STATUS * n + i] != row.RUNNING
    while k < len(times) and (times[k] <= time or last):
        x = (times[k] - time) / h + 1 if h > 0 else 1.0
        x = min(max(x, 0.0), 1.0)
        for axis in range(3):
            old, new = batch[(row.BEFORE + axis) * n + i], batch[(row.STATE + axis) * n + i]
            bend, second = batch[(row.BEND + axis) * n + i], batch[(row.BEND + 3 + axis) * n + i]
            value = old * (1 - x) + x * (new + (1 - x) * (bend + x * second))
            saved[axis, k] = value if x < 1 else new
        k += 1
    return k


@kernel
def _conclude(batch, lanes, structure, count, owner, duration, numbers, codes):
    """Complete the records of finished trajectories and write their results."""
    n = len(lanes)
    linearise(batch, lanes, structure)
    record(batch, lanes)
    _classify(batch, lanes, structure)
    for i in range(count):
        j = owner[i]
        outcome, peak, time = batch[row.VERDICT * n + i], batch[row.PEAK_LOSS * n + i], batch[row.TIME * n + i]
        numbers[0, j], numbers[1, j], numbers[2, j] = get3(batch, row.STATE, n, i)
        if outcome == CONVERGED:
            time = _crossing_time(batch, n, i)
        elif batch[row.STATUS * n + i] == row.ENDED or batch[row.STATUS * n + i] == row.SETTLED:
            time = duration
        initial = max(batch[row.FIRST_LOSS * n + i], batch[row.SMALL * n + i])
        ratio = peak / initial if peak > initial and initial < inf else 1.0
        numbers[3, j], numbers[4, j] = time, batch[row.PATH * n + i]
        numbers[5, j] = inf if outcome == DIVERGED else ratio
        codes[0, j], codes[2, j] = outcome, batch[row.STEPS * n + i]
        codes[1, j] = np.sign(numbers[0, j]) if outcome == CONVERGED else 0


@kernel
def _classify(batch, lanes, structure):
    """The outcome of each lane, into `VERDICT`.

    A trajectory whose steps became too small diverged if that happened at the edge of the domain.
    """
    n = len(lanes)
    for i in range(n):
        fastest = 0.0
        for k in range(9):
            fastest = larger(abs(batch[(row.JACOBIAN + k) * n + i]), fastest)
        trace, minors = invariants(batch, n, i, 1 / (fastest + TINY))
        batch[row.STAGE * n + i], batch[(row.STAGE + 1) * n + i] = trace, minors
        batch[(row.STAGE + 2) * n + i] = batch[row.LOSS * n + i] / batch[row.SMALL * n + i] * CONVERGED_LOSS
    for i in range(n):
        point, velocities = get3(batch, row.STATE, n, i), get3(batch, row.VELOCITY, n, i)
        trace, minors, relative_loss = get3(batch, row.STAGE, n, i)
        phi0, phi1, mu0, mu1 = get4(batch, row.RULE, n, i)
        f, m = rule_terms(point[0], point[2], phi0, phi1, mu0, mu1)
        c, w_star, status = batch[row.C * n + i], batch[row.W_STAR * n + i], batch[row.STATUS * n + i]
        speed = abs(velocities[0]) + abs(velocities[1]) + abs(velocities[2])
        outcome = float(outcome_at(point, (c, w_star), (f, phi1), relative_loss, speed, (trace, minors)))
        can_leave = structure[1] is None or abs(m) > 1
        if status == row.STUCK and batch[row.TIME * n + i] > 0 and can_leave:
            left = room(point[2], m, w_star, structure[0])
            if left < ROUNDING_EDGE or (left < EDGE and point[2] * velocities[2] > 0):
                outcome = DIVERGED
        batch[row.VERDICT * n + i] = DIVERGED if status == row.DIVERGING else outcome


@kernel
def _crossing_time(batch, n, i):
    """When the loss last became negligible, by the exponential through its values before and after."""
    t0, t1, l0, l1 = get4(batch, row.CROSSING, n, i)
    small = batch[row.SMALL * n + i]
    if not (l0 > small > l1):
        return t0
    return t0 + (t1 - t0) * log(l0 / small) / log(l0 / max(l1, TINY))


def _compile(sources):
    """`stream`, with the compiled code kept on disk for as long as `sources` are the same."""

    @keep_on_disk
    @njit(error_model="numpy", nogil=True)
    def run(start, stop, values, layout, settings, lanes, structure, save_at, numbers, codes, saved):
        sources  # noqa: B018 (what a function closes over is part of the key by which Numba finds it again)
        stream(start, stop, values, layout, settings, lanes, structure, save_at, numbers, codes, saved)

    return run


_SOURCES = ("_mode_field", "logarithm", "arithmetic", "rows", "rosenbrock", "lanes")
_FILES = [
    *(Path(__file__).with_name(f"{name}.py") for name in _SOURCES),
    *(Path(module.__file__) for module in (verdict, outcomes)),
]
run = _compile(sha256(b"".join(path.read_bytes() for path in _FILES)).hexdigest())
