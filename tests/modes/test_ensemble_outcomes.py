"""How the ensemble engine judges trajectories: at saddles and singularities, at the extremes of double precision."""

import numpy as np
import pytest
from test_ensemble import TEACHER, outcomes

import localgrad as lg
from localgrad import Mode, Outcome
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.equations import loss
from localgrad.outcomes import CONVERGED_LOSS


def is_free_of_nan(run):
    numbers = (*run.final, run.time, run.path_length, run.peak_loss)
    return not any(np.isnan(x).any() for x in numbers)


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_time_to_convergence_is_when_the_loss_becomes_negligible():
    """The loss decays exponentially, and the time is interpolated so within a step."""
    run = integrate_modes(lg.BPTT(), Mode(1.3, 0.9, 0.6), TEACHER, duration=100.0)
    states = integrate_modes(lg.BPTT(), Mode(1.3, 0.9, 0.6), TEACHER, duration=100.0, save_at=[run.time])
    there = Mode(*(float(x[0]) for x in states.saved))
    # A loss 20 % off is a time 1 % off here.
    assert loss(there, TEACHER) == pytest.approx(CONVERGED_LOSS * loss(Mode(0.0, 0.0, 0.0), TEACHER), rel=0.2)


def test_symmetric_feedback_stalls_on_the_saddle():
    start = Mode(np.array([0.0, 0.0, 1e-150]), np.array([0.0, 0.0, 2e-150]), np.array([0.3, 0.8, 0.5]))
    for rule in (lg.BPTT(), lg.TruncatedBPTT(1)):
        run = integrate_modes(rule, start, TEACHER, duration=100.0)
        assert outcomes(run) == ["STALLED"] * 3
        np.testing.assert_array_equal(run.time, 100.0)
    # Growth from 1e-150 takes ln(1e150)/λ = 345/λ, and must lead to the start's own branch.
    late = integrate_modes(lg.BPTT(), Mode(np.array([1e-150, -1e-150]), 0.0, 0.5), TEACHER, duration=500.0)
    assert outcomes(late) == ["CONVERGED"] * 2
    np.testing.assert_array_equal(late.branch, [1, -1])
    rate = 1 / (1 - 0.5 * 0.8)
    np.testing.assert_allclose(late.time, np.log(1e150) / rate, rtol=0.1)


def test_stable_manifold_of_the_saddle():
    """From a = −b BPTT runs into the saddle; in floating point it leaves again, once rounding errors have grown."""
    # Times at which the distance, which falls as fast as rounding grows, is below 1e-6.
    for gain, w, duration in ((1.0, 0.5, 15.0), (0.3, 0.1, 15.0), (-0.7, -0.5, 22.0)):
        run = integrate_modes(lg.BPTT(), Mode(gain, -gain, w), TEACHER, duration=duration)
        assert outcomes(run) == ["STALLED"]
    start = Mode(np.array([1.0, 0.3, -0.7]), np.array([-1.0, -0.3, 0.7]), np.array([0.5, 0.1, -0.5]))
    # RFLO has no such fixed points.
    assert outcomes(integrate_modes(lg.RFLO(1.0, 0.5), start, TEACHER, duration=15.0)) == ["CONVERGED"] * 3


def test_slow_is_not_stalled():
    """With next to no feedback `a` is soon at its optimum and the rest creeps, but no fixed point is near."""
    run = integrate_modes(lg.RFLO(1e-9, 0.5), Mode(1.0, 1.0, 0.2), TEACHER, duration=100.0)
    assert outcomes(run) == ["UNFINISHED"]
    for duration in (1.0, 2.0, 3.0, 5.0):  # on the way to the optimum, ever slower
        run = integrate_modes(lg.BPTT(), Mode(1.0, 1.0, 0.6), TEACHER, duration=duration)
        assert outcomes(run) in (["UNFINISHED"], ["CONVERGED"])


def test_out_of_steps_is_unfinished():
    for start, max_steps in ((Mode(1e6, 0.9, 0.5), 100), (Mode(0.0, 2000.0, 0.0), 1)):
        run = integrate_modes(lg.BPTT(), start, TEACHER, duration=1000.0, max_steps=max_steps)
        assert outcomes(run) == ["UNFINISHED"]


def test_too_little_time_and_too_few_steps_are_unfinished():
    start = Mode(1.0, 1.0, 0.2)
    assert outcomes(integrate_modes(lg.BPTT(), start, TEACHER, duration=0.5)) == ["UNFINISHED"]
    few = integrate_modes(lg.BPTT(), start, TEACHER, duration=50.0, max_steps=3)
    assert outcomes(few) == ["UNFINISHED"]
    assert few.steps == 3


def test_unstable_part_of_the_optimal_manifold_is_not_convergence():
    s = 0.3  # with â s < 0 and small |s| this branch is unstable for RFLO
    for distance, expected in ((0.0, "STALLED"), (1e-4, "UNFINISHED")):
        start = Mode(s * (1 + distance), 1 / s, 0.8)
        for outcome in (
            integrate_modes(lg.RFLO(-1.0, 0.5), start, TEACHER, duration=1e-3).outcome,
            lg.learn_mode(lg.RFLO(-1.0, 0.5), start, TEACHER, duration=1e-3).outcome,
        ):
            assert Outcome(int(outcome)).name == expected


def test_invalid_starts_are_diverged_and_leave_the_rest_alone():
    w = np.array([0.3, 1.0, -3.0, np.nan, 0.3, 0.3])
    a = np.array([1.0, 1.0, 1.0, 1.0, np.inf, 1.0])
    run = integrate_modes(lg.RFLO(1.0, 0.5), Mode(a, 1.0, w), TEACHER, duration=50.0)
    assert outcomes(run) == ["CONVERGED", "DIVERGED", "DIVERGED", "DIVERGED", "DIVERGED", "CONVERGED"]
    alone = integrate_modes(lg.RFLO(1.0, 0.5), Mode(1.0, 1.0, 0.3), TEACHER, duration=50.0)
    assert run.time[0] == run.time[5] == alone.time
    np.testing.assert_array_equal(run.steps[1:5], 0)


def test_a_decay_above_one_ends_where_the_credit_sum_diverges():
    """With ŵ = 1.2 the update exists for |w| < 1/1.2 only."""
    start = Mode(np.array([-0.231, 1.0]), np.array([-0.0495, 1.0]), np.array([-0.785, 0.9]))
    run = integrate_modes(lg.RFLO(1.0, 1.2), start, Mode(0.752, 1.0, -0.59), duration=60.0)
    assert outcomes(run) == ["DIVERGED", "DIVERGED"]
    assert abs(run.final.w[0]) == pytest.approx(1 / 1.2, abs=1e-6)
    assert run.steps[1] == 0


@pytest.mark.parametrize("rule", [lg.BPTT(), lg.TruncatedBPTT(1), lg.RFLO(1.0, 0.5), lg.RFLO(-1.0, 0.5)], ids=str)
def test_starts_next_to_the_singularity(rule):
    edge = 1 - 1e-12
    start = Mode(np.array([1.0, 1.0, -1.0, 1.0]), 1.0, np.array([edge, -edge, edge, 1 - 1e-16]))
    run = integrate_modes(rule, start, TEACHER, duration=100.0)
    assert is_free_of_nan(run)
    # The own term of Δw is f b² a w p r: it pushes outwards exactly where f a < 0.
    feedback = rule.feedback(start.a) * np.ones(4)
    expected = ["CONVERGED" if f * a > 0 else "DIVERGED" for f, a in zip(feedback, start.a, strict=True)]
    assert outcomes(run) == expected


def test_w_reaches_one_even_where_the_loss_stays_finite():
    """With large b, a follows its optimum c (1 − w²)/(b (1 − w w*)) → 0 and w arrives with finite velocity."""
    run = integrate_modes(lg.RFLO(1.0, 0.5), Mode(1e-3, np.array([-2.0, -20.0, -100.0]), 0.5), TEACHER, duration=100.0)
    assert outcomes(run) == ["DIVERGED"] * 3


@pytest.mark.parametrize("rule", [lg.BPTT(), lg.TruncatedBPTT(3), lg.RFLO(1.0, 0.5), lg.RFLO(-1.0, 0.5)], ids=str)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_sizes_from_the_smallest_to_the_largest(rule, sign):
    sizes = np.array([1e-310, 1e-150, 1e-100, 1e-20, 1.0, 1e20, 1e100, 1e150])
    teacher = Mode(sign, 1.0, 0.8)
    settings = {"duration": 200.0, "max_steps": 3000}
    for start in (Mode(sizes, 2 * sizes, 0.5), Mode(sizes, sizes[::-1], 0.5), Mode(-sizes, 0.9, -0.3)):
        run = integrate_modes(rule, start, teacher, **settings)
        assert is_free_of_nan(run)
        # Of ordinary size nothing may be left undecided.
        assert run.outcome[4] in (Outcome.CONVERGED, Outcome.DIVERGED)


def test_teachers_of_all_sizes():
    c = np.array([1e-150, 1e-20, 1e20]) * np.array([[1.0], [-1.0]])
    root = np.sqrt(abs(c))
    # For w = w* and f = a the equations for a/√|c|, b/√|c| in time |c| k do not know c.
    run = integrate_modes(lg.BPTT(), Mode(root, 2 * root, 0.0), Mode(c, 1.0, 0.0), duration=1e152, max_steps=3000)
    assert is_free_of_nan(run)
    assert outcomes(run) == ["CONVERGED"] * 6
    np.testing.assert_allclose(run.final.a * run.final.b, c, rtol=1e-4)


# --- bad input --------------------------------------------------------------------------------------------------------

START = Mode(1.0, 1.0, 0.3)


@pytest.mark.parametrize(
    ("rule", "initial", "teacher", "settings", "message"),
    [
        (lg.BPTT(), Mode(1.0, 1.0, np.nan), TEACHER, {}, "no start is valid"),
        (lg.BPTT(), Mode(1.0, 1.0, [1.0, -2.0]), TEACHER, {}, "no start is valid"),
        (lg.RFLO(1.0, 4.0), START, Mode(1.0, 1.0, 0.1), {}, "no start is valid"),
        (lg.BPTT(), Mode(np.ones(0), 1.0, 0.3), TEACHER, {}, "empty"),
        (lg.BPTT(), Mode(np.ones(2), np.ones(3), 0.3), TEACHER, {}, "do not broadcast"),
        (lg.RFLO(np.nan, 0.5), START, TEACHER, {}, "feedback = nan is not finite"),
        (lg.RFLO(1.0, np.inf), START, TEACHER, {}, "decay = inf is not finite"),
        (lg.RFLO(0.0, 0.5), START, TEACHER, {}, "feedback = 0 teaches nothing"),
        (lg.RFLO(np.array([1.0, 0.0]), 0.5), START, TEACHER, {}, "feedback = 0 teaches nothing"),
        (lg.RFLO(1.0, 1.5), START, TEACHER, {}, "decay times teacher w = 1.2"),
        (lg.BPTT(), START, Mode(0.0, 1.0, 0.5), {}, "teacher a"),
        (lg.BPTT(), START, Mode(1e-150, 1e-150, 0.5), {}, "rescale the teacher"),
        (lg.BPTT(), START, Mode(np.nan, 1.0, 0.5), {}, "teacher a"),
        (lg.BPTT(), START, Mode(1.0, 1.0, 1.0), {}, "teacher w = 1 must lie"),
        (lg.BPTT(), START, Mode(1.0, 1.0, np.nan), {}, "teacher w = nan is not finite"),
        (lg.BPTT(), START, TEACHER, {"rtol": 0.0}, "rtol must be positive"),
        (lg.BPTT(), START, TEACHER, {"atol": -1.0}, "atol must be positive"),
        (lg.BPTT(), START, TEACHER, {"duration": np.inf}, "duration must be positive"),
        (lg.BPTT(), START, TEACHER, {"max_steps": 0}, "max_steps must be"),
        (lg.BPTT(), START, TEACHER, {"threads": 0}, "threads must be"),
        (lg.BPTT(), START, TEACHER, {"save_at": [1.0, 0.5]}, "ascending"),
        (lg.BPTT(), START, TEACHER, {"save_at": [np.nan]}, "ascending"),
        (lg.BPTT(), START, TEACHER, {"save_at": []}, "ascending"),
        (lg.BPTT(), START, TEACHER, {"save_at": [99.0]}, "ascending"),
    ],
)
def test_bad_input_is_named(rule, initial, teacher, settings, message):
    with pytest.raises(ValueError, match=message):
        integrate_modes(rule, initial, teacher, **{"duration": 10.0, **settings})
