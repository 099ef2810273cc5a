"""The ensemble engine against SciPy's Radau, against itself, and at the extremes of double precision."""

import ast
import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import localgrad as lg
from localgrad import Mode, Outcome
from localgrad.modes.ensemble import generate, integrate, lanes
from localgrad.modes.ensemble._mode_field import (
    a_step_later,
    a_step_later_with_jacobian,
    at_poles,
    at_poles_with_jacobian,
    velocity_and_jacobian,
)
from localgrad.modes.ensemble.integrate import binary_digits, integrate_modes, lay_out
from localgrad.modes.equations import field, geometric_sum, loss, mode_jacobian
from localgrad.outcomes import CONVERGED_LOSS
from localgrad.rules.parts import Feedback, Propagator
from localgrad.rules.rule import Rule

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


# --- generated code ---------------------------------------------------------------------------------------------------


def test_generated_module_is_what_the_generator_gives():
    written = ast.dump(ast.parse(generate.TARGET.read_text(encoding="utf-8")))
    assert written == ast.dump(ast.parse(generate.generate())), "run python -m localgrad.modes.ensemble.generate"


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
    numbers = velocity_and_jacobian.py_func(a, b, w, phi0 + phi1 * a, m, phi1, mu1, c, w_star, *sums, *slopes, 1.0, 0.0)
    teacher = Mode(c, 1.0, w_star)
    # Two orders of the same few operations: tens of rounding errors at most.
    np.testing.assert_allclose(numbers[:3], -np.array(field(rule, Mode(a, b, w), teacher)), rtol=1e-13)
    np.testing.assert_allclose(np.reshape(numbers[3:], (3, 3)), mode_jacobian(rule, Mode(a, b, w), teacher), rtol=1e-13)


@pytest.mark.parametrize("poles", ["direct", "tanh"])
def test_generated_steps_of_late_errors_agree_with_the_definition(poles):
    delay, rule = 3, Rule(Feedback(-0.7, 0.3), Propagator(full=0.6, decay=0.2))
    student, teacher = Mode(0.7, -1.3, 0.45), Mode(-0.9, 1.0, 0.6)
    f, m, w = rule.feedback.on_mode(student.a), rule.propagator.on_mode(student.w), student.w
    found = [-x for x in lg.mode_update(rule, student, teacher)], mode_jacobian(rule, student, teacher).ravel()
    velocity, both = list(found[0]), [*found[0], *found[1]]
    for _ in range(delay):
        velocity = a_step_later.py_func(f, m, w, *velocity)
        both = a_step_later_with_jacobian.py_func(f, m, w, -0.7, 0.0, 0.6, 1.0, *both)
    slope, bend = (1.0, 0.0) if poles == "direct" else (1 - w * w, -2 * w)
    both = at_poles_with_jacobian.py_func(slope, bend, *both)
    late = rule.with_delay(delay)
    expected = -np.array(lg.mode_update(late, student, teacher, poles=poles))
    np.testing.assert_allclose(at_poles.py_func(slope, *velocity), expected, rtol=1e-13)
    np.testing.assert_allclose(both[:3], expected, rtol=1e-13)
    J = mode_jacobian(late, student, teacher, poles=poles)
    np.testing.assert_allclose(np.reshape(both[3:], (3, 3)), J, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("steps", [1, 5, 6])
def test_steps_of_delay_by_doubling(steps):
    from localgrad.modes.ensemble.arithmetic import steps_of

    mu0, mu1, w, h = 0.2, -0.6, 0.7, 1e-30
    found = steps_of(w, mu0 + mu1 * w, mu1, binary_digits(steps))
    z = w + 1j * h
    m = mu0 + mu1 * z
    expected = np.array([z**steps, m**steps, sum(m**j * z ** (steps - 1 - j) for j in range(steps))])
    np.testing.assert_allclose(found, [*expected.real, *(expected.imag / h)], rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(  # each compiles a kernel of its own
    ("rule", "delay", "poles"),
    [
        (lg.BPTT(), 1, "direct"),
        (lg.RFLO(-1.0, 0.5), 2, "direct"),
        (lg.TruncatedBPTT(3), 5, "direct"),
        (lg.TruncatedBPTT(1), 2, "tanh"),
    ],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_late_errors_move_modes_as_learn_mode_does(rule, delay, poles):
    rng, late = np.random.default_rng(3), rule.with_delay(delay)
    start = Mode(*rng.uniform(-2, 2, (2, 4)), rng.uniform(-0.9, 0.9, 4))
    run = integrate_modes(late, start, TEACHER, duration=20.0, early_stop=False, poles=poles)
    for i in range(4):
        path = lg.learn_mode(late, Mode(*(x[i] for x in start)), TEACHER, duration=20.0, poles=poles)
        assert path.outcome is Outcome(run.outcome[i])
        if path.outcome is not Outcome.DIVERGED:
            np.testing.assert_allclose([x[i] for x in run.final], path.final, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lags", [1, 2, 3, 6, 37, 1000])
@pytest.mark.parametrize("z", [-1.2, -0.5, 0.0, 0.3, 1.0])
def test_sum_over_lags_by_doubling(lags, z):
    from localgrad.modes.ensemble.arithmetic import lag_sum

    total, slope = lag_sum(z, binary_digits(lags))
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
    count, duration = 4, 40.0
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
            negligible = loss(Mode(*final), teacher) < CONVERGED_LOSS * loss(Mode(0.0, 0.0, 0.0), teacher)
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
def test_the_number_of_lanes_changes_no_more_than_rounding():
    # Bit for bit they agree on some processors only: the compiler chooses anew, for each, which products it fuses.
    rng = np.random.default_rng(3)
    count = 150
    start = [*rng.uniform(-2, 2, (2, count)), rng.uniform(-0.95, 0.95, count)]
    problem = (*start, *(np.array([x]) for x in (-1.0, 0.1, 0.5, 0.0, 1.0, 0.8)))
    results = []
    for num_lanes in (16, integrate._LANES):  # the second program is compiled anyway
        numbers, codes = np.empty((6, count)), np.empty((3, count), np.int32)
        settings = (50.0, 1e-6, 1e-8, 1.0, 1e5)
        lanes.run(
            0, count, *lay_out(problem), settings, (None,) * num_lanes, (None, None, None), None, numbers, codes, None
        )
        results.append((numbers, codes))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-10)
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


@pytest.mark.parametrize(
    ("rules", "times"),  # in kernels that other tests compile too
    [([lg.TruncatedBPTT(1), lg.TruncatedBPTT(3), lg.BPTT()], None), ([lg.RFLO(1.0, 0.5), lg.BPTT()], [0.5, 1.0])],
)
def test_a_sequence_of_rules_adds_an_axis(rules, times):
    start = Mode(np.array([0.5, -1.0]), 1.0, 0.2)
    together = integrate_modes(rules, start, Mode(1.0, 1.0, 0.5), duration=50.0, save_at=times)
    assert together.outcome.shape == (len(rules), 2)
    for i, rule in enumerate(rules):
        alone = integrate_modes(rule, start, Mode(1.0, 1.0, 0.5), duration=50.0, save_at=times)
        for name in ("outcome", "branch", "time", "path_length", "peak_loss", "steps"):
            np.testing.assert_array_equal(getattr(together, name)[i], getattr(alone, name))
        np.testing.assert_array_equal(together.final.w[i], alone.final.w)
        if times is not None:
            np.testing.assert_array_equal(together.saved.w[i], alone.saved.w)
    assert f"{len(rules) - 1} more" in repr(together)
    with pytest.raises(ValueError, match="the sequence of rules is empty"):
        integrate_modes([], start, Mode(1.0, 1.0, 0.5), duration=1.0)
