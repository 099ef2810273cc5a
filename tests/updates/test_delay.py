"""Errors that arrive late: closed form = moments of responses = recorded sequences, for networks, tasks and modes."""

import jax
import numpy as np
import pytest
from cases import (
    BY_ID,
    FEEDBACK,
    GAMMA,
    HORIZON,
    LAYER,
    LAYER_CASES,
    LAYER_TEACHER,
    STUDENT,
    TASK_BY_ID,
    TEACHER,
    assert_close,
    layer,
    matrices,
    network,
)
from numpy.linalg import matrix_power
from oracles import layer_update_of_noise, task_update, updates_of_noise

import localgrad as lg
from localgrad.rules.compiled import in_compiled_form
from localgrad.tasks.linear_task import as_task
from localgrad.updates.engines import engine_of
from localgrad.updates.exact import exact_update
from localgrad.updates.horizon import Horizon
from localgrad.updates.sampled import METHODS, Noise

ROUNDING = 1e-11
RULES = ["bptt", "rflo", "eprop-random", "rflo-lags-3", "three-factor"]
NETWORK, TARGET = network(STUDENT), network(TEACHER)
BATCH = 2


def cases():
    return [BY_ID[name] for name in RULES]


def update_of(rule, task, horizon=None, loss="final"):
    form = in_compiled_form(rule, *NETWORK.sizes[:2])
    return matrices(exact_update(form, NETWORK, task, Horizon.of(horizon, loss)))


# --- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [1, 4])
@pytest.mark.parametrize("name", ["teacher", "closed-loop"])
def test_infinite_horizon_is_the_sum_of_moments(name, delay):
    task = TASK_BY_ID[name]
    for case in cases():
        expected = task_update(*case.reference(STUDENT), STUDENT, task.matrices, delay=delay)
        assert_close(update_of(case().with_delay(delay), task()), expected, ROUNDING)


@pytest.mark.parametrize("loss", ["final", "sequence"])
def test_finite_horizon_is_the_sum_of_moments(loss):
    task, delay = TASK_BY_ID["closed-loop"], 3
    for case in cases():
        expected = task_update(*case.reference(STUDENT), STUDENT, task.matrices, HORIZON, loss, delay)
        assert_close(update_of(case().with_delay(delay), task(), HORIZON, loss), expected, ROUNDING)


def test_white_noise_has_a_closed_form():
    """Section 10 of the theory: `ΔA (W^d)ᵀ`, `(M^d)ᵀ ΔB`, and for W what came after the error and what before."""
    delay, W = 3, STUDENT[1]
    for name in ("bptt", "rflo", "eprop-random"):
        F, M, _ = BY_ID[name].reference(STUDENT)
        dA, dW, dB = update_of(BY_ID[name](), TARGET)
        after = sum(matrix_power(M, j).T @ F.T @ dA @ matrix_power(W, delay - 1 - j).T for j in range(delay))
        power = matrix_power(M, delay).T
        expected = dA @ matrix_power(W, delay).T, after + power @ dW, power @ dB
        assert_close(update_of(BY_ID[name]().with_delay(delay), TARGET), expected, ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["final", "sequence"])
@pytest.mark.parametrize("method", METHODS)
def test_sampled_updates_are_those_of_their_sequences(method, loss):
    delay, key = 2, jax.random.key(3)
    online = {"rflo", "eprop-random", "three-factor"}
    for case in cases():
        if method == "online" and case.id not in online:
            continue
        rule = case().with_delay(delay)
        update, value = METHODS[method](rule, NETWORK, as_task(TARGET), Noise(key, HORIZON, BATCH), loss)
        x = np.asarray(Noise(key, HORIZON, BATCH).all(as_task(TARGET), delay))
        expected = updates_of_noise(*case.reference(STUDENT), STUDENT, TEACHER, x, loss, delay)
        assert_close(matrices(update), tuple(u.mean(axis=0) for u in expected), ROUNDING)
        on_time = METHODS[method](case(), NETWORK, as_task(TARGET), Noise(key, HORIZON, BATCH), loss)[1]
        np.testing.assert_allclose(value, on_time, rtol=1e-12)  # the loss does not wait


def test_the_mean_of_many_sequences_is_the_expected_update():
    delay, count = 2, 20_000
    case = BY_ID["rflo"]
    x = np.random.default_rng(0).standard_normal((HORIZON + delay, count, STUDENT[2].shape[1]))
    updates = updates_of_noise(*case.reference(STUDENT), STUDENT, TEACHER, x, "final", delay)
    expected = update_of(case().with_delay(delay), TARGET, HORIZON)
    for sampled, exact in zip(updates, expected, strict=True):
        error = sampled.std(axis=0, ddof=1) / np.sqrt(count)
        assert np.all(np.abs(sampled.mean(axis=0) - exact) < 5 * error)


def test_a_delay_of_0_is_none_and_others_differ():
    rule = BY_ID["rflo"]()
    on_time, late = (update_of(rule.with_delay(delay), TARGET) for delay in (0, 1))
    assert_close(on_time, update_of(rule, TARGET), 0)
    for one, other in zip(on_time, late, strict=True):
        assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(one)


# --- layers, and modes that oscillate --------------------------------------------------------------------------------

LAYERS = ["bptt", "rflo-per-unit", "blend-lags-17", "three-factor"]


def layer_of(rule, delay, teacher=None, **over):
    teacher = layer(LAYER_TEACHER) if teacher is None else teacher
    return lg.expected_update(rule.with_delay(delay), layer(LAYER), teacher, **over).arrays


@pytest.mark.parametrize("delay", [1, 3])
@pytest.mark.parametrize(
    "name", [LAYERS[1], *(pytest.param(x, marks=pytest.mark.slow) for x in (LAYERS[0], *LAYERS[2:]))]
)
def test_a_layer_is_its_network_of_real_blocks(name, delay):
    """On a teacher that is a network a layer learns by its blocks, which have the moments above."""
    rule, teacher = LAYER_CASES[name][0], lg.real_blocks(layer(LAYER_TEACHER))
    for over in ({}, {"horizon": HORIZON, "loss": "sequence"}):
        assert_close(layer_of(rule, delay, **over), layer_of(rule, delay, teacher, **over), ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_sampled_updates_of_layers_are_those_of_their_sequences(method):
    delay, key = 2, jax.random.key(3)
    for name in LAYERS:
        rule, credit, lags = LAYER_CASES[name]
        if method == "online" and lags not in (None, 1):
            continue
        F, m = credit(*LAYER[:2])
        noise = Noise(key, HORIZON, BATCH)
        sampled = engine_of(layer(LAYER)).sampled
        update, _ = sampled(rule.with_delay(delay), layer(LAYER), layer(LAYER_TEACHER), noise, "sequence", method)
        x = np.asarray(noise.all(as_task(layer(LAYER_TEACHER)), delay))
        expected = layer_update_of_noise(F, m, lags, LAYER, LAYER_TEACHER, x, "sequence", delay)
        assert_close(update.arrays, expected, ROUNDING)


@pytest.mark.parametrize("rule", [lg.BPTT(), lg.RFLO(-0.7, 0.4), lg.TruncatedBPTT(2)], ids=lambda rule: rule.name)
def test_an_oscillating_mode_is_a_layer_of_one_unit(rule):
    student, teacher = lg.Mode(0.8 + 0.3j, -0.6, 0.5 + 0.4j), lg.Mode(1.2, 0.7j, -0.4 + 0.1j)
    on_layer = rule.with_feedback([[-0.7]]) if rule.feedback.is_random else rule
    for delay in (1, 3):
        found = lg.mode_update(rule.with_delay(delay), student, teacher)
        layers = [lg.DiagonalSSM([[x.a]], [x.w], [[x.b]]) for x in (student, teacher)]
        C, poles, B = lg.expected_update(on_layer.with_delay(delay), *layers).arrays
        np.testing.assert_allclose(found, [C[0, 0], B[0, 0], poles[0]], rtol=1e-12)
        step, J = 1e-6, lg.mode_jacobian(rule.with_delay(delay), student, teacher)
        up, down = (
            lg.mode_update(rule.with_delay(delay), student._replace(w=student.w + sign * step), teacher)
            for sign in (1, -1)
        )
        slope = -np.array([(x - y) / (2 * step) for x, y in zip(up, down, strict=True)])
        np.testing.assert_allclose(J[::2, 4] + 1j * J[1::2, 4], slope, atol=1e-8)


# --- modes -----------------------------------------------------------------------------------------------------------

STUDENT_MODE, TEACHER_MODE = lg.Mode(0.8, -0.6, 0.5), lg.Mode(1.2, 0.7, -0.4)


@pytest.mark.parametrize("delay", [1, 2, 5])
def test_a_mode_is_a_network_of_one_unit(delay):
    def as_network(mode):
        return lg.LinearRNN(*([[x]] for x in (mode.a, mode.w, mode.b)))

    for case in cases():
        rule = case.rule(np.float64(-1.3), 0.6).with_delay(delay)
        of_network = case.rule(np.full((1, 1), -1.3), np.array([0.6])).with_delay(delay)
        expected = matrices(lg.expected_update(of_network, as_network(STUDENT_MODE), as_network(TEACHER_MODE)))
        a, b, w = lg.mode_update(rule, STUDENT_MODE, TEACHER_MODE)
        np.testing.assert_allclose([a, w, b], [x[0, 0] for x in expected], rtol=1e-11, atol=1e-13)


def test_jacobian_of_a_mode():
    rule, step = lg.RFLO(-0.7, 0.5).with_delay(2), 1e-6
    J = lg.mode_jacobian(rule, STUDENT_MODE, TEACHER_MODE)
    for axis in range(3):
        shifted = [
            np.array(
                lg.mode_update(rule, lg.Mode(*(np.array(STUDENT_MODE) + sign * step * np.eye(3)[axis])), TEACHER_MODE)
            )
            for sign in (1, -1)
        ]
        np.testing.assert_allclose(J[:, axis], -(shifted[0] - shifted[1]) / (2 * step), atol=1e-8)


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_late_errors_multiply_the_product_of_the_rates(delay):
    """`λ₊λ₋` is `(m w*)^d` times that without delay, for every rule that keeps all lags (theory, section 10)."""
    rng = np.random.default_rng(0)
    teacher = lg.Mode(1.0, 1.0, rng.uniform(-0.9, 0.9, 50))
    s = rng.uniform(0.3, 2, 50)
    for rule, m in ((lg.BPTT(), teacher.w), (lg.RFLO(0.8, 0.5), 0.5), (lg.RFLO(-0.8, -0.3), -0.3)):
        late, on_time = (lg.spectrum(r, teacher, s)[..., 1:].prod(-1) for r in (rule.with_delay(delay), rule))
        np.testing.assert_allclose(late, on_time * (m * teacher.w) ** delay, rtol=1e-9)


def test_learning_after_odd_delays_leaves_optima_with_negative_w():
    start = lg.Mode(0.9, 1.1, -0.5)
    for delay, stable in ((0, True), (1, False), (2, True)):
        path = lg.learn_mode(lg.BPTT().with_delay(delay), start, lg.Mode(1.0, 1.0, -0.6), duration=3000.0)
        assert (path.outcome is lg.Outcome.CONVERGED) == stable


@pytest.mark.slow
def test_equations_on_symbols_are_those_computed():
    import sympy as sp

    from localgrad.modes.derivation import derive, symbolic_rule

    found = derive(symbolic_rule("rflo", delay=2))
    values = dict(zip(("a", "b", "w"), STUDENT_MODE, strict=True))
    values |= dict(zip(("a_star", "b_star", "w_star"), TEACHER_MODE, strict=True)) | {"a_hat": -0.7, "w_hat": 0.5}
    numbers = [float(sp.sympify(x).subs({s: values[s.name] for s in x.free_symbols})) for x in found.update]
    np.testing.assert_allclose(numbers, lg.mode_update(lg.RFLO(-0.7, 0.5).with_delay(2), STUDENT_MODE, TEACHER_MODE))
    assert "2 steps late" in found.text()


# --- what it may be, and who refuses it ------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [-1, 0.5, "1", None, True, np.nan, 10**9])
def test_a_delay_is_a_count_of_steps(delay):
    with pytest.raises(ValueError, match="delay must be a whole number of steps"):
        lg.RFLO(1.0, 0.5).with_delay(delay)


def test_a_rule_tells_of_its_delay():
    rule = lg.RFLO(FEEDBACK, GAMMA).with_delay(2)
    assert rule.describe().endswith("errors 2 steps late")
    assert rule.with_feedback("symmetric").delay == rule.with_internal(0.5).delay == 2


@pytest.mark.slow
def test_basins_and_boundaries_of_late_errors():
    rule, teacher = lg.BPTT().with_delay(2), lg.Mode(1.0, 1.0, 0.6)
    axis = np.array([-1.0, 0.4, 1.2])
    found = lg.basins(rule, teacher, a=axis, b=0.9, w=0.3, duration=300.0)
    assert found.rule == "BPTT: F = A, M = J, all lags, errors 2 steps late"
    for a, outcome, branch in zip(axis, found.outcome.values, found.branch.values, strict=True):
        path = lg.learn_mode(rule, lg.Mode(a, 0.9, 0.3), teacher, duration=300.0)
        assert (path.outcome, path.branch) == (lg.Outcome(int(outcome)), branch)
    switches = lg.boundary(rule, lg.Mode(-1.0, 0.9, 0.3), lg.Mode(1.2, 0.9, 0.3), teacher, duration=300.0)
    assert len(switches) >= 1
    for a in switches.points.a:
        before, after = (
            lg.learn_mode(rule, lg.Mode(a + side * 1e-5, 0.9, 0.3), teacher, duration=300.0) for side in (-1, 1)
        )
        assert (before.outcome, before.branch) != (after.outcome, after.branch)


def test_late_errors_let_rflo_rest_where_nothing_is_remembered():
    """Section 10: besides the optima a curve at `w = 0`, part of it attracting; a root search finds no more."""
    rule = lg.RFLO(0.7, 0.5).with_delay(1)
    _, late = lg.fixed_points(rule, TEACHER_MODE)
    assert (late.name, late.formula, late.domain) == ("late", "(a, c/(a(1−0.5 w*)), 0)", (-np.inf, np.inf))
    a = np.array([-2.0, -0.5, 0.5, 2.0])
    assert np.abs(lg.mode_update(rule, late.at(a), TEACHER_MODE)).max() < 1e-14
    assert np.all(late.loss(a) > 0.05)
    found = lg.search_fixed_points(rule, TEACHER_MODE, num_starts=60)
    assert found.count("late") > 10
    assert found.count("optimal") > 10
    assert found.count("unknown") == 0
    assert lg.spectrum_at(rule, late.at(0.5), TEACHER_MODE).real.max() < 1e-12
    path = lg.learn_mode(rule, lg.Mode(0.6, 1.1, 0.1), TEACHER_MODE, duration=200.0)
    assert path.outcome is not lg.Outcome.CONVERGED
    assert late.distance(path.final) < 1e-6


def test_fixed_points_of_other_rules_with_late_errors_are_refused():
    with pytest.raises(ValueError, match="errors 1 step late the optimal manifold stays"):
        lg.fixed_points(lg.BPTT().with_delay(1), TEACHER_MODE)


@pytest.mark.slow
def test_the_law_of_odd_delays():
    """Section 10: under RFLO with `âs > 0` optima are unstable exactly for odd delays and a negative `w*` or `ŵ`."""
    rng, count = np.random.default_rng(1), 500
    w_star, decay = (rng.choice([-1, 1], count) * rng.uniform(0.1, 0.95, count) for _ in range(2))
    s, feedback = np.exp(rng.uniform(-2, 2, (2, count)))
    for delay in range(5):
        rates = lg.spectrum(lg.RFLO(feedback, decay).with_delay(delay), lg.Mode(1.0, 1.0, w_star), s)[..., 1:]
        unstable = rates.real.max(-1) > 1e-9 * np.abs(rates).max(-1)
        np.testing.assert_array_equal(unstable, (delay % 2 == 1) & ((w_star < 0) | (decay < 0)))


@pytest.mark.slow
def test_a_run_keeps_its_delay(tmp_path):
    rule = lg.RFLO(FEEDBACK, 0.3).with_delay(1)
    run = lg.train(
        rule, NETWORK, TARGET, key=jax.random.key(0), learning_rate=0.01, num_steps=2, batch_size=2, horizon=3
    )
    lg.save(run, tmp_path / "run.npz")
    assert lg.load_run(tmp_path / "run.npz").rule.delay == 1
    with pytest.raises(ValueError, match="is not that of the run"):
        lg.load_run(tmp_path / "run.npz", rule=rule.with_delay(0))
