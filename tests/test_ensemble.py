"""The ensemble engine against SciPy's Radau, against itself, and at the extremes of double precision."""

import ast
import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import localgrad as lg
from localgrad import Mode, Outcome
from localgrad.ensemble import generate, integrate_modes, lanes
from localgrad.ensemble._mode_field import velocity_and_jacobian
from localgrad.ensemble.integrate import _binary_digits
from localgrad.modes import field, geometric_sum, loss, mode_jacobian
from localgrad.rules import Feedback, Propagator, Rule

TEACHER = Mode(1.0, 1.0, 0.8)
RULES = [
    lg.BPTT(),
    lg.TruncatedBPTT(1),
    lg.TruncatedBPTT(5),
    lg.RFLO(1.0, 0.5),
    lg.RFLO(-1.0, 0.5),
    lg.EProp(),
    lg.EProp(-0.7),
    lg.FeedbackAlignment(0.8),
    lg.ThreeFactor(-1.0),
    Rule(Feedback.blend(0.5, -1.0), Propagator.blend(0.5, 0.4), name="blend"),
    Rule(Feedback.blend(0.3, 1.0), Propagator.blend(0.7, 0.2), 3, name="blend, 3 lags"),
]


def outcomes(run):
    return [Outcome(code).name for code in np.ravel(run.outcome)]


def is_free_of_nan(run):
    numbers = (*run.final, run.time, run.path_length, run.peak_loss)
    return not any(np.isnan(x).any() for x in numbers)


# --- generated code ---------------------------------------------------------------------------------------------------


def test_generated_module_is_what_the_generator_gives():
    written = ast.dump(ast.parse(generate.TARGET.read_text(encoding="utf-8")))
    assert written == ast.dump(ast.parse(generate.generate())), "run python -m localgrad.ensemble.generate"


@pytest.mark.parametrize("lags", [None, 1, 2, 7])
def test_generated_field_and_jacobian_agree_with_the_definition(lags):
    phi0, phi1, mu0, mu1 = 0.3, -0.7, 0.2, 0.6
    rule = Rule(Feedback(phi1, phi0), Propagator(full=mu1, decay=mu0), lags)
    (a, b, w), (c, w_star) = (0.7, -1.3, 0.45), (-0.9, 0.6)
    m = mu0 + mu1 * w

    def slope(z):
        return np.imag(geometric_sum(z + 1e-30j, lags)) / 1e-30

    sums = [1 / (1 - w * w), 1 / (1 - w * w_star), geometric_sum(m * w, lags), geometric_sum(m * w_star, lags)]
    slopes = slope(m * w), slope(m * w_star)
    numbers = velocity_and_jacobian.py_func(a, b, w, phi0 + phi1 * a, m, phi1, mu1, c, w_star, *sums, *slopes)
    teacher = Mode(c, 1.0, w_star)
    # Two orders of the same few operations: tens of rounding errors at most.
    np.testing.assert_allclose(numbers[:3], -np.array(field(rule, Mode(a, b, w), teacher)), rtol=1e-13)
    np.testing.assert_allclose(np.reshape(numbers[3:], (3, 3)), mode_jacobian(rule, Mode(a, b, w), teacher), rtol=1e-13)


@pytest.mark.parametrize("lags", [1, 2, 3, 6, 37, 1000])
@pytest.mark.parametrize("z", [-1.2, -0.5, 0.0, 0.3, 1.0])
def test_sum_over_lags_by_doubling(lags, z):
    from localgrad.ensemble.arithmetic import lag_sum

    total, slope = lag_sum(z, _binary_digits(lags))
    powers = np.arange(lags)
    # All terms have one sign for z > 0; for z < 0 they cancel, but less than |z|^lags in size.
    scale = sum(abs(z) ** powers), sum(powers[1:] * abs(z) ** powers[:-1])
    assert abs(total - sum(z**powers)) <= 1e-13 * scale[0]
    assert abs(slope - sum(powers[1:] * z ** powers[:-1])) <= 1e-13 * max(scale[1], 1)


# --- against another integrator ---------------------------------------------------------------------------------------


def radau(rule, start, teacher, duration):
    """The final state and path by SciPy's Radau at tight tolerance, and whether `|w|` came within 1e-6 of 1."""

    def edge(_, state):
        return 1 - abs(state[2]) - 1e-6

    edge.terminal = True

    def flow(_, state):
        return -np.array(field(rule, Mode(*state), teacher))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflow in trial steps beyond |w| = 1
        solution = solve_ivp(flow, (0, duration), start, method="Radau", rtol=1e-9, atol=1e-11, events=edge)
    path = np.linalg.norm(np.diff(solution.y, axis=1), axis=0).sum()
    return solution.y[:, -1], path, solution.status != 0


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_agrees_with_radau_on_a_random_sample(rule):
    rng = np.random.default_rng(7)
    count, duration = 8, 40.0
    start = Mode(*rng.uniform(-2, 2, (2, count)), rng.uniform(-0.9, 0.9, count))
    c, w_star = rng.choice([-1, 1], count) * rng.uniform(0.3, 1.5, count), rng.uniform(-0.8, 0.8, count)
    run = integrate_modes(rule, start, Mode(c, 1.0, w_star), duration=duration, early_stop=False)
    early = integrate_modes(rule, start, Mode(c, 1.0, w_star), duration=duration)
    assert outcomes(run) == outcomes(early)
    for i in range(count):
        teacher = Mode(c[i], 1.0, w_star[i])
        final, path, diverged = radau(rule, [x[i] for x in start], teacher, duration)
        assert diverged == (run.outcome[i] == Outcome.DIVERGED)
        if not diverged:
            negligible = loss(Mode(*final), teacher) < 1e-8 * loss(Mode(0.0, 0.0, 0.0), teacher)
            assert negligible == (run.outcome[i] == Outcome.CONVERGED)
            # Error of a step below 1e-6; errors along the manifold of fixed points add up over a hundred steps.
            np.testing.assert_allclose([x[i] for x in run.final], final, atol=1e-5)
            np.testing.assert_allclose([x[i] for x in early.final], final, atol=1e-5)
            # Chords of Radau's steps and of ours: both miss the arc by the square of the turn in a step.
            np.testing.assert_allclose(run.path_length[i], path, rtol=3e-3)


def test_the_detour_of_the_theory():
    """docs/theory.md, section 8: RFLO ends on the opposite branch after a path of 4.71, its loss rising tenfold."""
    start = Mode(1.0, 1.0, 0.6)
    near = integrate_modes(lg.BPTT(), start, TEACHER, duration=200.0)
    assert (near.outcome, near.branch) == (Outcome.CONVERGED, 1)
    assert near.path_length == pytest.approx(0.23, abs=0.005)
    far = integrate_modes(lg.RFLO(-1.0, 0.5), start, TEACHER, duration=200.0)
    assert (far.outcome, far.branch) == (Outcome.CONVERGED, -1)
    assert far.path_length == pytest.approx(4.71, abs=0.005)
    assert far.peak_loss == pytest.approx(10.5, abs=0.1)
    np.testing.assert_allclose(far.final, (-0.504, -1.982, 0.8), atol=1e-3)
    diverging = integrate_modes(lg.RFLO(-1.0, np.array([0.0, 0.9])), start, TEACHER, duration=200.0)
    assert outcomes(diverging) == ["DIVERGED", "DIVERGED"]
    assert (diverging.peak_loss == np.inf).all()


def test_tolerance_controls_the_error():
    rng = np.random.default_rng(1)
    start = Mode(*rng.uniform(0.2, 2, (2, 200)), rng.uniform(-0.9, 0.9, 200))

    def run(tolerance):
        settings = {"rtol": tolerance, "atol": tolerance, "early_stop": False, "duration": 100.0}
        return np.array(integrate_modes(lg.RFLO(1.0, 0.5), start, TEACHER, **settings).final)

    reference = run(1e-11)
    errors = [abs(run(tolerance) - reference).max() for tolerance in (1e-4, 1e-6, 1e-8)]
    # Order 4 with error control of order 3: a hundredth of the tolerance gives about a hundredth of the error.
    assert errors[0] < 1e-4
    assert errors[1] < errors[0] / 20
    assert errors[2] < errors[1] / 20


def test_saved_states_agree_with_runs_that_end_there():
    times = [0.0, 0.3, 1.7, 5.0, 30.0]
    start = Mode(np.array([1.0, 0.3, -0.5]), 1.0, np.array([0.6, 0.2, -0.4]))
    rule = lg.RFLO(-1.0, 0.5)
    saved = integrate_modes(rule, start, TEACHER, duration=30.0, save_at=times).saved
    assert saved.a.shape == (3, 5)
    np.testing.assert_array_equal([x[..., 0] for x in saved], np.broadcast_arrays(*start))
    for k, time in enumerate(times[1:], start=1):
        final = integrate_modes(rule, start, TEACHER, duration=time, early_stop=False).final
        # The interpolant has order 3, one less than the steps: some hundred tolerances.
        np.testing.assert_allclose([x[..., k] for x in saved], final, atol=2e-4)


# --- the same whatever the machine ------------------------------------------------------------------------------------


def test_results_do_not_depend_on_threads_or_company():
    rng = np.random.default_rng(2)
    start = Mode(*rng.uniform(-2, 2, (2, 300)), rng.uniform(-0.95, 0.95, 300))
    rule = lg.RFLO(np.array(-1.0), 0.5)
    one = integrate_modes(rule, start, TEACHER, duration=50.0, threads=1)
    two = integrate_modes(rule, start, TEACHER, duration=50.0, threads=3)
    part = integrate_modes(rule, Mode(*(x[37:39] for x in start)), TEACHER, duration=50.0)
    for name in ("outcome", "branch", "time", "path_length", "peak_loss", "steps"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        np.testing.assert_array_equal(getattr(one, name)[37:39], getattr(part, name))
    np.testing.assert_array_equal(one.final, two.final)
    np.testing.assert_array_equal([x[37:39] for x in one.final], part.final)


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_lanes():
    rng = np.random.default_rng(3)
    count = 150
    start = [*rng.uniform(-2, 2, (2, count)), rng.uniform(-0.95, 0.95, count)]
    problem = (*start, *(np.array([x]) for x in (-1.0, 0.1, 0.5, 0.0, 1.0, 0.8)))
    results = []
    for num_lanes in (16, 48):
        numbers, codes = np.empty((6, count)), np.empty((3, count), np.int32)
        settings = (50.0, 1e-6, 1e-8, 1.0, 1e5)
        lanes.run(0, count, problem, settings, (None,) * num_lanes, None, None, (numbers, codes), None)
        results.append((numbers, codes))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_starts_teachers_and_rules_broadcast():
    start = Mode(np.linspace(0.5, 1.5, 4), 1.0, 0.3)
    rule = lg.RFLO(np.array([1.0, -1.0])[:, None], 0.5)
    teacher = Mode(1.0, 1.0, np.array([0.2, 0.5, 0.8])[:, None, None])
    run = integrate_modes(rule, start, teacher, duration=20.0)
    assert run.outcome.shape == (3, 2, 4)
    single = integrate_modes(lg.RFLO(-1.0, 0.5), Mode(start.a[2], 1.0, 0.3), Mode(1.0, 1.0, 0.5), duration=20.0)
    assert single.time.shape == ()
    assert run.time[1, 1, 2] == single.time


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_time_to_convergence_is_when_the_loss_becomes_negligible():
    """The loss decays exponentially, and the time is interpolated so within a step."""
    run = integrate_modes(lg.BPTT(), Mode(1.3, 0.9, 0.6), TEACHER, duration=100.0)
    states = integrate_modes(lg.BPTT(), Mode(1.3, 0.9, 0.6), TEACHER, duration=100.0, save_at=[run.time])
    there = Mode(*(float(x[0]) for x in states.saved))
    # A loss 20 % off is a time 1 % off here.
    assert loss(there, TEACHER) == pytest.approx(1e-8 * loss(Mode(0.0, 0.0, 0.0), TEACHER), rel=0.2)


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
    start = Mode(np.array([1.0, 0.3, -0.7]), np.array([-1.0, -0.3, 0.7]), np.array([0.5, 0.1, -0.5]))
    assert outcomes(integrate_modes(lg.BPTT(), start, TEACHER, duration=15.0)) == ["STALLED"] * 3
    # RFLO has no such fixed points.
    assert outcomes(integrate_modes(lg.RFLO(1.0, 0.5), start, TEACHER, duration=15.0)) == ["CONVERGED"] * 3


def test_no_feedback_worth_the_name_creeps():
    run = integrate_modes(lg.RFLO(1e-9, 0.5), Mode(1.0, 1.0, 0.2), TEACHER, duration=100.0)
    assert outcomes(run) == ["STALLED"]


def test_too_little_time_and_too_few_steps_are_unfinished():
    start = Mode(1.0, 1.0, 0.2)
    assert outcomes(integrate_modes(lg.BPTT(), start, TEACHER, duration=0.5)) == ["UNFINISHED"]
    few = integrate_modes(lg.BPTT(), start, TEACHER, duration=50.0, max_steps=3)
    assert outcomes(few) == ["UNFINISHED"]
    assert few.steps == 3


def test_unstable_part_of_the_optimal_manifold_is_not_convergence():
    s = 0.3  # with â s < 0 and small |s| this branch is unstable for RFLO
    run = integrate_modes(lg.RFLO(-1.0, 0.5), Mode(s, 1 / s, 0.8), TEACHER, duration=1e-3)
    assert outcomes(run) == ["UNFINISHED"]


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
