r"""A stream of trajectories through a batch of lanes, and what is concluded of each.

After every attempted step the lanes that are done give way to waiting trajectories. Finished ones gather in a second
batch of the same layout; when it is full, one more evaluation of field, Jacobian and loss at their last states
completes their records and decides how they ended. No trajectory sees its neighbours: the results are the same, bit
for bit, for any number of lanes, threads and trajectories.
"""

# mypy: ignore-errors

from math import inf, log, sqrt

import numpy as np
from numba import njit

from localgrad.ensemble import rows as R
from localgrad.ensemble._mode_field import loss, rule_terms, velocity
from localgrad.ensemble.arithmetic import choose, kernel, larger, room, smaller, sums
from localgrad.ensemble.rosenbrock import TINY, invariants, linearise, record, sweep
from localgrad.ensemble.rows import get3, get4, put3
from localgrad.outcomes import Outcome

CONVERGED, STALLED = float(Outcome.CONVERGED), float(Outcome.STALLED)
DIVERGED, UNFINISHED = float(Outcome.DIVERGED), float(Outcome.UNFINISHED)

NEGLIGIBLE_LOSS = 1e-8  # relative to the loss of a student that outputs nothing
NEUTRAL = 1e-9  # an eigenvalue this small next to the other one counts as not unstable
CREEPING = 1e-3  # speed over the largest rate of the Jacobian, relative to the distances that matter
EDGE, ROUNDING_EDGE = 1e-7, 1e-12  # how close to the edge of the domain: moving outwards; however it moves


@njit(error_model="numpy", nogil=True, cache=True)
def run(
    start, stop, problem, duration, rtol, atol, early_stop, max_steps, lanes, digits, save_at, numbers, codes, saved
):
    """Integrate the trajectories `start ≤ j < stop`.

    `problem` holds `a, b, w, φ₀, φ₁, μ₀, μ₁, c, w*`, each of length 1 or one a trajectory. Results go to column `j`
    of `numbers` (final a, b, w; time, path length, peak loss), `codes` (outcome, branch, steps) and, with `save_at`,
    to `saved[j]`.
    """
    n = len(lanes)
    batch, finished = np.zeros(R.NUM_ROWS * n), np.ones(R.NUM_ROWS * n)
    owner, finished_owner, next_save = np.full(n, -1), np.zeros(n, np.int64), np.zeros(n, np.int64)
    waiting, num_finished, num_active = start, 0, 0
    for i in range(n):
        waiting = _load_next(
            batch, i, owner, waiting, stop, problem, duration, rtol, atol, lanes, digits, numbers, codes
        )
        next_save[i] = 0
        num_active += owner[i] >= 0
    while num_active > 0:
        sweep(batch, lanes, digits, save_at, rtol, atol, early_stop, max_steps)
        for i in range(n):
            if save_at is not None and owner[i] >= 0:
                next_save[i] = _save(batch, n, i, next_save[i], save_at, saved[owner[i]])
            if batch[R.STATUS * n + i] != R.RUNNING and owner[i] >= 0:
                for row in range(R.NUM_KEPT):
                    finished[row * n + num_finished] = batch[row * n + i]
                finished_owner[num_finished] = owner[i]
                num_finished += 1
                waiting = _load_next(
                    batch, i, owner, waiting, stop, problem, duration, rtol, atol, lanes, digits, numbers, codes
                )
                next_save[i] = 0
                num_active -= owner[i] < 0
                if num_finished == n:
                    _conclude(finished, lanes, digits, num_finished, finished_owner, duration, numbers, codes)
                    num_finished = 0
    _conclude(finished, lanes, digits, num_finished, finished_owner, duration, numbers, codes)


@kernel
def _at(values, j):
    return values[j if len(values) > 1 else 0]


@kernel
def _load_next(batch, i, owner, waiting, stop, problem, duration, rtol, atol, lanes, digits, numbers, codes):
    """Put the next valid trajectory into lane `i`, or leave it idle; returns the one after."""
    n = len(lanes)
    while waiting < stop:
        j = waiting
        waiting += 1
        a, b, w = _at(problem[0], j), _at(problem[1], j), _at(problem[2], j)
        phi0, phi1, mu0, mu1 = _at(problem[3], j), _at(problem[4], j), _at(problem[5], j), _at(problem[6], j)
        c, w_star = _at(problem[7], j), _at(problem[8], j)
        f, m = rule_terms(a, w, phi0, phi1, mu0, mu1)
        if not (abs(a) < inf and abs(b) < inf and room(w, m, w_star, digits) > 0):
            numbers[0, j], numbers[1, j], numbers[2, j] = a, b, w
            numbers[3, j], numbers[4, j], numbers[5, j] = 0.0, 0.0, inf
            codes[0, j], codes[1, j], codes[2, j] = DIVERGED, 0, 0
            continue
        for row in range(R.RULE):
            batch[row * n + i] = 0.0
        put3(batch, R.STATE, n, i, a, b, w)
        put3(batch, R.RULE, n, i, phi0, phi1, mu0)
        theirs, scale = 1 / (1 - w_star * w_star), sqrt(abs(c))
        put3(batch, R.RULE + 3, n, i, mu1, c, w_star)
        put3(batch, R.THEIRS, n, i, theirs, scale, NEGLIGIBLE_LOSS * 0.5 * c * c * theirs)
        p, q, r, t, _, _ = sums(w, m, w_star, digits)
        batch[R.FIRST_LOSS * n + i] = loss(a, b, w, c, w_star, p, q, theirs)
        batch[R.LAST_LOSS * n + i] = batch[R.SMALL * n + i]
        fa, fb, fw = velocity(a, b, w, f, c, w_star, p, q, r, t)
        size = larger(abs(a), abs(b)) + scale
        rate = larger(larger(abs(fa), abs(fb)) / size, abs(fw) / (1 - abs(w)))
        batch[R.ATOL * n + i] = atol * smaller(1.0, scale)
        batch[R.LEFT * n + i] = duration
        batch[R.STEP * n + i] = smaller(sqrt(sqrt(rtol)) / (rate + TINY), duration)
        owner[i] = j
        return waiting
    for row in range(R.NUM_ROWS):
        batch[row * n + i] = 0.0
    owner[i] = -1
    return waiting


@kernel
def _save(batch, n, i, k, times, saved):
    """Write the states at the saving times that the last step of lane `i` passed; returns the next time's index."""
    time, h = batch[R.TIME * n + i], batch[R.TIME * n + i] - batch[R.LAST_TIME * n + i]
    last = batch[R.STATUS * n + i] != R.RUNNING
    while k < len(times) and (times[k] <= time or last):
        x = (times[k] - time) / h + 1 if h > 0 else 1.0
        x = min(max(x, 0.0), 1.0)
        for axis in range(3):
            old, new = batch[(R.BEFORE + axis) * n + i], batch[(R.STATE + axis) * n + i]
            bend, second = batch[(R.BEND + axis) * n + i], batch[(R.BEND + 3 + axis) * n + i]
            value = old * (1 - x) + x * (new + (1 - x) * (bend + x * second))
            saved[axis, k] = value if x < 1 else new
        k += 1
    return k


@kernel
def _conclude(batch, lanes, digits, count, owner, duration, numbers, codes):
    """Complete the records of finished trajectories and write their results."""
    n = len(lanes)
    linearise(batch, lanes, digits)
    record(batch, lanes)
    _classify(batch, lanes, digits)
    for i in range(count):
        j = owner[i]
        outcome, peak, time = batch[R.VERDICT * n + i], batch[R.PEAK_LOSS * n + i], batch[R.TIME * n + i]
        numbers[0, j], numbers[1, j], numbers[2, j] = get3(batch, R.STATE, n, i)
        if outcome == CONVERGED:
            time = _crossing_time(batch, n, i)
        elif batch[R.STATUS * n + i] == R.SETTLED:
            time = duration
        initial = max(batch[R.FIRST_LOSS * n + i], batch[R.SMALL * n + i])
        ratio = peak / initial if peak > initial and initial < inf else 1.0
        numbers[3, j], numbers[4, j] = time, batch[R.PATH * n + i]
        numbers[5, j] = inf if outcome == DIVERGED else ratio
        codes[0, j], codes[2, j] = outcome, batch[R.STEPS * n + i]
        codes[1, j] = np.sign(numbers[0, j]) if outcome == CONVERGED else 0


@kernel
def _classify(batch, lanes, digits):
    """The outcome of each lane, into `VERDICT`.

    A trajectory whose steps became too small diverged if that happened at the edge of the domain.
    """
    n = len(lanes)
    for i in range(n):
        a, b, w = get3(batch, R.STATE, n, i)
        fa, fb, fw = get3(batch, R.VELOCITY, n, i)
        status, scale = batch[R.STATUS * n + i], batch[R.SCALE * n + i]
        negligible = batch[R.LOSS * n + i] < batch[R.SMALL * n + i]
        speed, fastest = abs(fa) + abs(fb) + abs(fw), 0.0
        for k in range(9):
            fastest = larger(abs(batch[(R.JACOBIAN + k) * n + i]), fastest)
        trace, minors = invariants(batch, n, i, 1 / (fastest + TINY))
        creeping = (speed <= CREEPING * fastest * smaller(1 - abs(w), scale)) & (speed < inf) & ~negligible
        phi0, phi1, mu0, mu1 = get4(batch, R.RULE, n, i)
        _, m = rule_terms(a, w, phi0, phi1, mu0, mu1)
        left = room(w, m, batch[R.W_STAR * n + i], digits)
        at_edge = (left < ROUNDING_EDGE) | ((left < EDGE) & (w * fw > 0))
        hit = (status == R.STUCK) & (batch[R.TIME * n + i] > 0) & at_edge
        outcome = choose(creeping, STALLED, UNFINISHED)
        outcome = choose(negligible & (trace < 0) & (minors > -NEUTRAL * trace * trace), CONVERGED, outcome)
        batch[R.VERDICT * n + i] = choose((status == R.DIVERGING) | hit, DIVERGED, outcome)


@kernel
def _crossing_time(batch, n, i):
    """When the loss last became negligible, by the exponential through its values before and after."""
    t0, t1, l0, l1 = get4(batch, R.CROSSING, n, i)
    small = batch[R.SMALL * n + i]
    if not (l0 > small > l1):
        return t0
    return t0 + (t1 - t0) * log(l0 / small) / log(l0 / max(l1, TINY))
