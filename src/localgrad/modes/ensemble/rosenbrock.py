r"""One attempted step in every lane of a batch: RODAS with a Jacobian inverted in closed form.

RODAS has six stages and order 4 with an embedded order 3, and is L-stable and stiffly accurate. For `θ' = F(θ)`,

    (I − γhJ) u_i = γ [h F(θ + Σ_j α_ij u_j) + Σ_j β_ij u_j],   θ_new = θ + Σ_j α_6j u_j + u_6,   error ≈ u_6.

The step is cut into loops over lanes short enough that a processor overlaps several iterations; each is branch-free.
Source: Hairer & Wanner, *Solving Ordinary Differential Equations II* (1996), section VI.4, and their code `rodas.f`.
"""

# mypy: ignore-errors

from math import sqrt

from localgrad.modes.ensemble import rows as row
from localgrad.modes.ensemble._mode_field import loss, rule_terms, velocity_and_jacobian
from localgrad.modes.ensemble.arithmetic import (
    arrived_with_jacobian,
    at_once,
    choose,
    inlined,
    kernel,
    larger,
    rates,
    room,
    slope_and_bend,
    smaller,
    sums,
    within,
)
from localgrad.modes.ensemble.rows import get3, get4, put3
from localgrad.outcomes import CONVERGED_LOSS, ROUNDING_GAP, ROUNDING_LOSS

GAMMA = 0.25
# (α_ij), (β_ij) of the stages after the first.
STAGE_2 = ((1.544,), (-5.6688,))
STAGE_3 = ((0.9466785280815826, 0.2557011698983284), (-2.430093356833875, -0.2063599157091915))
STAGE_4 = (
    (3.314825187068521, 2.896124015972201, 0.9986419139977817),
    (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
)
STAGE_5 = (
    (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950),
    (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
)
STAGE_6 = (
    (*STAGE_5[0], 1.0),
    (8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054),
)
# The two coefficients of the continuous extension.
BENDS = (
    (10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823, 1.025137723295662),
    (-0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386, -6.594389125716872),
)

SAFETY, SMALLEST_FACTOR, LARGEST_FACTOR = 0.8, 0.1, 6.0
# Largest step in units of the growth time at a saddle. Without it an L-stable method with an absolute tolerance
# would damp a growing mode that is still below the tolerance, and with it the choice of branch.
GROWTH_A_STEP = 0.5
ROUNDING = 1e-13  # of the squared trace: what the minors may be below zero by rounding alone
STUCK_STEP = 1e-15  # relative to the learning time
TINY, HUGE = 1e-300, 1e300
ROUNDED = ROUNDING_LOSS / CONVERGED_LOSS  # of a negligible loss: what remains on the optimum by rounding alone


@kernel
def sweep(batch, lanes, structure, dense, rtol, atol, early_stop, max_steps):
    """Attempt one step in every lane; `len(lanes)` is their number, known when this is compiled."""
    linearise(batch, lanes, structure)
    record(batch, lanes)
    judge(batch, lanes, structure[1], rtol, early_stop)
    first_stage(batch, lanes)
    later_stage(batch, lanes, structure, STAGE_2[0], STAGE_2[1])
    later_stage(batch, lanes, structure, STAGE_3[0], STAGE_3[1])
    later_stage(batch, lanes, structure, STAGE_4[0], STAGE_4[1])
    later_stage(batch, lanes, structure, STAGE_5[0], STAGE_5[1])
    later_stage(batch, lanes, structure, STAGE_6[0], STAGE_6[1])
    if dense is not None:
        keep_interpolant(batch, lanes, BENDS[0], BENDS[1])
    advance(batch, lanes, structure, rtol, atol, max_steps)


@kernel
def linearise(batch, lanes, structure):
    """Velocity, Jacobian and loss at the state."""
    n = len(lanes)
    for i in range(n):
        a, b, w = get3(batch, row.STATE, n, i)
        phi0, phi1, mu0, mu1 = get4(batch, row.RULE, n, i)
        c, w_star, theirs = get3(batch, row.C, n, i)
        f, m = rule_terms(a, w, phi0, phi1, mu0, mu1)
        p, q, r, t, dr, dt = sums(w, m, w_star, structure[0])
        slope, bend = slope_and_bend(w, structure[1])
        own_slope, own_bend = at_once(slope, 1.0, structure[2]), at_once(bend, 0.0, structure[2])
        on_time = velocity_and_jacobian(
            a, b, w, f, m, phi1, mu1, c, w_star, p, q, r, t, dr, dt, own_slope, own_bend
        )  # fmt: skip
        fa, fb, fw, jaa, jab, jaw, jba, jbb, jbw, jwa, jwb, jww = arrived_with_jacobian(
            f, m, w, phi1, mu1, on_time, slope, bend, structure[2]
        )
        put3(batch, row.VELOCITY, n, i, fa, fb, fw)
        put3(batch, row.JACOBIAN, n, i, jaa, jab, jaw)
        put3(batch, row.JACOBIAN + 3, n, i, jba, jbb, jbw)
        put3(batch, row.JACOBIAN + 6, n, i, jwa, jwb, jww)
        batch[row.LOSS * n + i] = loss(a, b, w, c, w_star, p, q, theirs)


@kernel
def record(batch, lanes):
    """Path length, peak loss, and the step in which the loss became negligible, up to the state.

    The arc over a chord with unit tangents `t, t'` at its ends has length `chord · (1 + |t' − t|²/24)` to fourth order.
    Conditional changes are arithmetic: a conditional store would be a masked one, which some processors do slowly.
    """
    n = len(lanes)
    for i in range(n):
        fa, fb, fw = get3(batch, row.VELOCITY, n, i)
        inverse = 1 / sqrt(fa * fa + fb * fb + fw * fw + TINY)
        ta, tb, tw = fa * inverse, fb * inverse, fw * inverse
        sa, sb, sw = get3(batch, row.TANGENT, n, i)
        turn = (ta - sa) * (ta - sa) + (tb - sb) * (tb - sb) + (tw - sw) * (tw - sw)
        batch[row.PATH * n + i] += batch[row.CHORD * n + i] * (1 + choose(turn < 5, turn, 0.0) * (1 / 24))
        put3(batch, row.TANGENT, n, i, ta, tb, tw)

        now, time, small = batch[row.LOSS * n + i], batch[row.TIME * n + i], batch[row.SMALL * n + i]
        last, last_time, peak = batch[row.LAST_LOSS * n + i], batch[row.LAST_TIME * n + i], batch[row.PEAK_LOSS * n + i]
        batch[row.PEAK_LOSS * n + i] = peak + choose(now > peak, now - peak, 0.0)
        crossing = (now < small) & (last >= small)
        t0, t1, l0, l1 = get4(batch, row.CROSSING, n, i)
        new, old = choose(crossing, 1.0, 0.0), choose(crossing, 0.0, 1.0)
        batch[row.CROSSING * n + i] = new * last_time + old * t0
        batch[(row.CROSSING + 1) * n + i] = new * time + old * t1
        batch[(row.CROSSING + 2) * n + i] = new * smaller(last, HUGE) + old * l0
        batch[(row.CROSSING + 3) * n + i] = new * smaller(now, HUGE) + old * l1
        batch[row.LAST_LOSS * n + i], batch[row.LAST_TIME * n + i] = now, time


@inlined
def invariants(batch, n, i, unit):
    """Trace and sum of the principal minors of `unit` times the Jacobian; the unit keeps products from overflowing.

    One eigenvalue is 0 on a line of fixed points; the other two have this sum and product, and so are stable where
    the trace is negative and the minors positive.
    """
    jaa, jab, jaw = get3(batch, row.JACOBIAN, n, i)
    jba, jbb, jbw = get3(batch, row.JACOBIAN + 3, n, i)
    jwa, jwb, jww = get3(batch, row.JACOBIAN + 6, n, i)
    jaa, jab, jaw = jaa * unit, jab * unit, jaw * unit
    jba, jbb, jbw = jba * unit, jbb * unit, jbw * unit
    jwa, jwb, jww = jwa * unit, jwb * unit, jww * unit
    return jaa + jbb + jww, jaa * jbb - jab * jba + jaa * jww - jaw * jwa + jbb * jww - jbw * jwb


@kernel
def judge(batch, lanes, poles, rtol, early_stop):
    """Whether the outcome is certain, and how long the step may be.

    *Settled*: the loss is negligible, the transverse eigenvalues are stable, and the way left to go, at most about
    `|F| (|trace| / minors + 2 / |trace|)`, is below the tolerance and far below the distance to anything else; or
    the state does not move, but by rounding errors. *Diverging*: `w` heads for ±1 with a velocity that grows the
    closer it gets, and arrives before `a` and `b` have changed by a thousandth; only direct poles do.
    """
    n = len(lanes)
    for i in range(n):
        a, b, w = get3(batch, row.STATE, n, i)
        fa, fb, fw = get3(batch, row.VELOCITY, n, i)
        h = smaller(batch[row.STEP * n + i], batch[row.LEFT * n + i])
        trace, minors = invariants(batch, n, i, h)
        gap, size, speed = 1 - abs(w), smaller(abs(a), abs(b)), abs(fa) + abs(fb) + abs(fw)

        near = 0.1 * smaller(batch[row.ATOL * n + i] + rtol * size, 1e-3 * smaller(size, gap))
        at_rest = h * speed * (trace * trace + 2 * minors) < -near * trace * minors
        negligible = batch[row.LOSS * n + i] < batch[row.SMALL * n + i]
        still = (speed == 0) | (batch[row.LOSS * n + i] <= ROUNDED * batch[row.SMALL * n + i])
        settled = (negligible & (trace < 0) & (minors > 0) & at_rest) | still

        outward = choose(w > 0, fw, -fw)
        singular = (batch[(row.JACOBIAN + 8) * n + i] * gap > 0.5 * outward) & (gap < 0.05)
        frozen = (abs(fa) * gap < 1e-3 * outward * abs(a)) & (abs(fb) * gap < 1e-3 * outward * abs(b))
        diverging = (outward > 0) & singular & frozen & (poles is None)

        verdict = choose(settled & (early_stop > 0), row.SETTLED, row.RUNNING)
        batch[row.VERDICT * n + i] = choose(diverging, row.DIVERGING, verdict)
        saddle, half = larger(-minors - ROUNDING * trace * trace, 0.0), 0.5 * trace
        root = sqrt(half * half + saddle)  # the larger eigenvalue is half + root, the product of both −saddle
        growth = choose(half > 0, half + root, saddle / (root - half + TINY))
        batch[row.STEP * n + i] = h * smaller(1.0, GROWTH_A_STEP / (growth + TINY))


@kernel
def first_stage(batch, lanes):
    """`γ (I − γhJ)⁻¹` by cofactors, and the first stage."""
    n = len(lanes)
    for i in range(n):
        h = batch[row.STEP * n + i]
        g = -GAMMA * h
        jaa, jab, jaw = get3(batch, row.JACOBIAN, n, i)
        jba, jbb, jbw = get3(batch, row.JACOBIAN + 3, n, i)
        jwa, jwb, jww = get3(batch, row.JACOBIAN + 6, n, i)
        a1, a2, a3 = 1 + g * jaa, g * jab, g * jaw
        b1, b2, b3 = g * jba, 1 + g * jbb, g * jbw
        w1, w2, w3 = g * jwa, g * jwb, 1 + g * jww
        x, y, z = b2 * w3 - b3 * w2, b3 * w1 - b1 * w3, b1 * w2 - b2 * w1
        d = GAMMA / (a1 * x + a2 * y + a3 * z)
        put3(batch, row.INVERSE, n, i, x * d, (a3 * w2 - a2 * w3) * d, (a2 * b3 - a3 * b2) * d)
        put3(batch, row.INVERSE + 3, n, i, y * d, (a1 * w3 - a3 * w1) * d, (a3 * b1 - a1 * b3) * d)
        put3(batch, row.INVERSE + 6, n, i, z * d, (a2 * w1 - a1 * w2) * d, (a1 * b2 - a2 * b1) * d)
        fa, fb, fw = get3(batch, row.VELOCITY, n, i)
        _solve(batch, n, i, 0, h * fa, h * fb, h * fw)
        batch[row.ROOM * n + i] = 1.0


@inlined
def _solve(batch, n, i, stage, x, y, z):
    """The increment of a stage from its right-hand side."""
    a1, a2, a3 = get3(batch, row.INVERSE, n, i)
    b1, b2, b3 = get3(batch, row.INVERSE + 3, n, i)
    w1, w2, w3 = get3(batch, row.INVERSE + 6, n, i)
    u = row.INCREMENTS + 3 * stage
    put3(batch, u, n, i, a1 * x + a2 * y + a3 * z, b1 * x + b2 * y + b3 * z, w1 * x + w2 * y + w3 * z)


@kernel
def later_stage(batch, lanes, structure, alphas, betas):
    """A stage after the first, and whether all stages so far had `|w| < 1`."""
    n, stage = len(lanes), len(alphas)
    for i in range(n):
        a, b, w = get3(batch, row.STATE, n, i)
        x, y, z = 0.0, 0.0, 0.0
        for j in range(stage):
            ua, ub, uw = get3(batch, row.INCREMENTS + 3 * j, n, i)
            a, b, w = a + alphas[j] * ua, b + alphas[j] * ub, w + alphas[j] * uw
            x, y, z = x + betas[j] * ua, y + betas[j] * ub, z + betas[j] * uw
        put3(batch, row.STAGE, n, i, a, b, w)
        batch[(row.ROOM + stage) * n + i] = smaller(1 - w * w, batch[(row.ROOM + stage - 1) * n + i])
        phi0, phi1, mu0, mu1 = get4(batch, row.RULE, n, i)
        c, w_star = batch[row.C * n + i], batch[row.W_STAR * n + i]
        fa, fb, fw = rates(a, b, w, phi0, phi1, mu0, mu1, c, w_star, structure)
        h = batch[row.STEP * n + i]
        _solve(batch, n, i, stage, x + h * fa, y + h * fb, z + h * fw)


@kernel
def keep_interpolant(batch, lanes, bends, second_bends):
    """What dense output needs of the step."""
    n = len(lanes)
    for i in range(n):
        a, b, w = get3(batch, row.STATE, n, i)
        put3(batch, row.BEFORE, n, i, a, b, w)
        a, b, w, x, y, z = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(5):
            ua, ub, uw = get3(batch, row.INCREMENTS + 3 * j, n, i)
            a, b, w = a + bends[j] * ua, b + bends[j] * ub, w + bends[j] * uw
            x, y, z = x + second_bends[j] * ua, y + second_bends[j] * ub, z + second_bends[j] * uw
        put3(batch, row.BEND, n, i, a, b, w)
        put3(batch, row.BEND + 3, n, i, x, y, z)


@kernel
def advance(batch, lanes, structure, rtol, atol_w, max_steps):
    """Accept or reject the step, and choose the next one's size from the error's fourth root."""
    n = len(lanes)
    for i in range(n):
        a, b, w = get3(batch, row.STATE, n, i)
        ua, ub, uw = get3(batch, row.INCREMENTS + 15, n, i)
        a_new, b_new, w_new = get3(batch, row.STAGE, n, i)
        a_new, b_new, w_new = a_new + ua, b_new + ub, w_new + uw
        atol, h, verdict = batch[row.ATOL * n + i], batch[row.STEP * n + i], batch[row.VERDICT * n + i]
        sa = atol + rtol * larger(abs(a), abs(a_new))
        sb = atol + rtol * larger(abs(b), abs(b_new))
        sw = (atol_w + rtol * larger(abs(w), abs(w_new))) * within(w, structure[1])
        error = 0.5 * (abs(ua) * (sb * sw) + abs(ub) * (sa * sw) + abs(uw) * (sa * sb)) / (sa * sb * sw)
        phi0, phi1, mu0, mu1 = get4(batch, row.RULE, n, i)
        _, m = rule_terms(a_new, w_new, phi0, phi1, mu0, mu1)
        inside = (batch[(row.ROOM + 5) * n + i] > 0) & (room(w_new, m, batch[row.W_STAR * n + i], structure[0]) > 0)
        good = (error <= 1) & inside
        factor = smaller(larger(SAFETY / sqrt(sqrt(error + TINY)), SMALLEST_FACTOR), LARGEST_FACTOR)
        next_step = h * choose(good, factor, smaller(factor, 0.5))

        accepted = good & (verdict == row.RUNNING)
        da, db, dw = (
            choose(accepted, a_new - a, 0.0),
            choose(accepted, b_new - b, 0.0),
            choose(accepted, w_new - w, 0.0),
        )
        step = choose(accepted, h, 0.0)
        put3(batch, row.STATE, n, i, a + da, b + db, w + dw)
        batch[row.CHORD * n + i] = sqrt(da * da + db * db + dw * dw)
        time, left, steps = batch[row.TIME * n + i] + step, batch[row.LEFT * n + i] - step, batch[row.STEPS * n + i] + 1
        batch[row.TIME * n + i], batch[row.LEFT * n + i], batch[row.STEPS * n + i] = time, left, steps
        batch[row.STEP * n + i] = next_step

        status = choose(left <= 0, row.ENDED, choose(steps >= max_steps, row.OUT_OF_STEPS, row.RUNNING))
        stuck = (~good) & ~(next_step > STUCK_STEP * time + TINY)
        beyond = (1 - abs(w + dw) < ROUNDING_GAP) & (structure[1] is not None)
        status = choose(stuck | beyond, row.STUCK, status)
        batch[row.STATUS * n + i] = choose(verdict == row.RUNNING, status, verdict)
