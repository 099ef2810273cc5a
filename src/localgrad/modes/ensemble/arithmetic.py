r"""What Numba's loops over lanes are made of: branch-free choices, sums over lags, the mode equations at a point.

A *lane* is one trajectory of a batch. A batch is a flat array of rows (`rows.py`), each as long as there are lanes,
so that a loop over lanes becomes packed arithmetic. What a batch's formulas depend on is known when they are compiled,
the *structure*: the binary digits of the number of lags (`None` for all of them); the place of the poles'
parametrisation (`None` for direct ones), a tuple of that length; and whether errors arrive late (`None` if not): the
binary digits of how many steps before any trace that is kept (`None` for none) and of how many within one. Fast-math is
limited to fused multiply-adds and the sign of zero: NaN and infinity keep their meaning, because rejected steps are
found by them.
"""

# mypy: ignore-errors

from numba import config, njit, types
from numba.extending import intrinsic

from localgrad.modes.ensemble._mode_field import (
    a_step_later,
    a_step_later_with_jacobian,
    at_poles,
    at_poles_with_jacobian,
    denominators,
    pole_slope,
    rule_terms,
    velocity,
)

FASTMATH = {"contract", "nsz"}
kernel = njit(error_model="numpy", fastmath=FASTMATH, nogil=True)
# For functions that must vanish into the loop for it to be vectorised: a call would stop that.
inlined = njit(error_model="numpy", fastmath=FASTMATH, inline="always")
absorbed = njit(error_model="numpy", fastmath=FASTMATH, forceinline=True)


def _choose_in_python(condition, x, y):
    """`x if condition else y`, where `NUMBA_DISABLE_JIT` leaves the kernels to Python."""
    return x if condition else y


@intrinsic
def _choose_compiled(typing_context, condition, x, y):
    """`x if condition else y`, without a branch."""

    def build(context, builder, signature, arguments):
        return builder.select(*arguments)

    return types.float64(types.boolean, types.float64, types.float64), build


choose = _choose_in_python if config.DISABLE_JIT else _choose_compiled


@inlined
def larger(x, y):
    """The larger of two numbers; `y` where one is NaN."""
    return choose(x > y, x, y)


@inlined
def smaller(x, y):
    """The smaller of two numbers; `y` where one is NaN."""
    return choose(x < y, x, y)


@absorbed
def lag_sum(z, digits):
    """`Σ_{j<lags} z^j` and its derivative, by doubling.

    `digits` are `lags` and a tuple as long as it has binary digits, so that the loop is unrolled when it is compiled.
    From the sum of `t` lags come those of `2t` and `2t + 1`.
    """
    lags, places = digits
    if len(places) == 0:
        return 0.0, 0.0
    total, slope, power, power_slope = 1.0, 0.0, z, 1.0
    for k in range(2, len(places) + 1):
        slope = slope * (1 + power) + total * power_slope
        total = total * (1 + power)
        power_slope = 2 * power * power_slope
        power = power * power
        odd = (lags >> (len(places) - k)) & 1 == 1
        slope = choose(odd, total + z * slope, slope)
        total = choose(odd, 1 + z * total, total)
        power_slope = choose(odd, power + z * power_slope, power_slope)
        power = choose(odd, z * power, power)
    return total, slope


@absorbed
def sums(w, m, w_star, digits):
    """`p, q, r, t, dr, dt` of the mode equations; for all lags (`digits = None`) from a single division."""
    own, cross = denominators(w, w_star)
    if digits is None:
        own_lag, cross_lag = 1 - m * w, 1 - m * w_star
        instant, lagged = own * cross, own_lag * cross_lag
        inverse = 1 / (instant * lagged)
        instant, lagged = lagged * inverse, instant * inverse
        r, t = cross_lag * lagged, own_lag * lagged
        return cross * instant, own * instant, r, t, r * r, t * t
    inverse = 1 / (own * cross)
    r, dr = lag_sum(m * w, digits)
    t, dt = lag_sum(m * w_star, digits)
    return cross * inverse, own * inverse, r, t, dr, dt


@kernel
def room(w, m, w_star, digits):
    """How far inside the mode equations' domain: positive where they exist, and zero at the edge."""
    if digits is None:
        return 1 - larger(abs(w), abs(m) * larger(abs(w), abs(w_star)))
    return 1 - abs(w)


@absorbed
def slope_and_bend(w, poles):
    """`g′` of the poles `w = g(ν)` and its derivative by `w`."""
    if poles is None:
        return 1.0, 0.0
    return pole_slope(w, poles)


@absorbed
def within(w, poles):
    """By how much an error of the pole must be smaller than an error of what is trained: a bound that all `g` share."""
    if poles is None:
        return 1.0
    return 1 - w * w


@inlined
def rates(a, b, w, phi0, phi1, mu0, mu1, c, w_star, structure):
    """The learning velocity at a point."""
    f, m = rule_terms(a, w, phi0, phi1, mu0, mu1)
    p, q, r, t, _, _ = sums(w, m, w_star, structure[0])
    slope, _ = slope_and_bend(w, structure[1])
    fa, fb, fw = velocity(a, b, w, f, c, w_star, p, q, r, t, at_once(slope, 1.0, structure[2]))
    return arrived(f, m, w, fa, fb, fw, slope, structure[2])


@absorbed
def at_once(value, otherwise, late):
    """What the poles put into the velocity on time; where errors are late, they come after (`at_poles`)."""
    if late is None:
        return value
    return otherwise


@absorbed
def steps_of(w, m, m_slope, digits):
    """`w^d`, `m^d` and `Σ_{j<d} m^j w^{d−1−j}` for d steps, by doubling as in `lag_sum`, then their derivatives by `w`.

    A step of delay multiplies by `w`, `m` and adds `f` times the velocity of a; d of them by these, with `f` times the
    last.
    """
    own, carried, between = w, m, 1.0
    own_slope, carried_slope, between_slope = 1.0, m_slope, 0.0
    steps, places = digits
    for k in range(2, len(places) + 1):
        between_slope = between_slope * (own + carried) + between * (own_slope + carried_slope)
        between = between * (own + carried)
        own_slope, carried_slope = 2 * own * own_slope, 2 * carried * carried_slope
        own, carried = own * own, carried * carried
        odd = (steps >> (len(places) - k)) & 1 == 1
        between_slope = choose(odd, between + w * between_slope + carried_slope, between_slope)
        between = choose(odd, w * between + carried, between)
        own_slope = choose(odd, own + w * own_slope, own_slope)
        carried_slope = choose(odd, m_slope * carried + m * carried_slope, carried_slope)
        own, carried = choose(odd, w * own, own), choose(odd, m * carried, carried)
    return own, carried, between, own_slope, carried_slope, between_slope


@absorbed
def arrived(f, m, w, fa, fb, fw, slope, late):
    """The velocity of errors that arrive so late, from that of errors on time with direct poles."""
    if late is None:
        return fa, fb, fw
    fa = before_any_trace(w, fa, late[0])
    own, carried, between, _, _, _ = steps_of(w, m, 0.0, late[1])
    fa, fb, fw = a_step_later(f * between, carried, own, fa, fb, fw)
    return at_poles(slope, fa, fb, fw)


@absorbed
def before_any_trace(w, fa, digits):
    """The velocity of a after the steps of which no trace is left."""
    if digits is None:
        return fa
    return steps_of(w, w, 0.0, digits)[0] * fa


@absorbed
def slope_before_any_trace(w, fa, jaw, digits):
    """The same of its derivative by `w`."""
    if digits is None:
        return jaw
    own, _, _, own_slope, _, _ = steps_of(w, w, 0.0, digits)
    return own * jaw + own_slope * fa


@absorbed
def arrived_with_jacobian(f, m, w, phi1, mu1, found, slope, bend, late):
    """The same of velocity and Jacobian, twelve numbers."""
    if late is None:
        return found
    fa, fb, fw, jaa, jab, jaw, jba, jbb, jbw, jwa, jwb, jww = found
    jaw = slope_before_any_trace(w, fa, jaw, late[0])
    fa, jaa = before_any_trace(w, fa, late[0]), before_any_trace(w, jaa, late[0])
    jab = before_any_trace(w, jab, late[0])
    own, carried, between, own_slope, carried_slope, between_slope = steps_of(w, m, mu1, late[1])
    fa, fb, fw, jaa, jab, jaw, jba, jbb, jbw, jwa, jwb, jww = a_step_later_with_jacobian(
        f * between, carried, own, phi1 * between, f * between_slope, carried_slope, own_slope,
        fa, fb, fw, jaa, jab, jaw, jba, jbb, jbw, jwa, jwb, jww,
    )  # fmt: skip
    return at_poles_with_jacobian(slope, bend, fa, fb, fw, jaa, jab, jaw, jba, jbb, jbw, jwa, jwb, jww)
