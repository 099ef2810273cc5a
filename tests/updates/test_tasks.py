"""Any linear task: closed form = sums over responses = gradient = SciPy's covariances = simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    BY_ID,
    CASES,
    FEEDBACK,
    HIDDEN,
    HORIZON,
    INPUT,
    STUDENT,
    TASK_BY_ID,
    TASKS,
    TEACHER,
    assert_close,
    distance,
    matrices,
    network,
)
from oracles import (
    finite_differences,
    run_task,
    task_loss,
    task_moments,
    task_update,
    task_update_through_the_plant,
)
from tiers import some

import localgrad as lg
from localgrad.rules.compiled import in_compiled_form
from localgrad.updates.exact import exact_update
from localgrad.updates.horizon import Horizon

ROUNDING = 1e-11  # sums of some hundred terms of order one, in float64
CLOSED = [case for case in TASKS if np.any(case.matrices.K)]
tasks = pytest.mark.parametrize("task", TASKS, ids=lambda case: case.id)
closed_loops = pytest.mark.parametrize("task", CLOSED, ids=lambda case: case.id)

# In general form, as in `learn`, rules without lags and terms share one program a task.
RULES = [pytest.param(case, id=case.id, marks=pytest.mark.slow if case.lags or case().terms else []) for case in CASES]


def update_of(rule, task, horizon=None, loss="final"):
    form = in_compiled_form(rule, *network(STUDENT).sizes[:2])
    return matrices(exact_update(form, network(STUDENT), task(), Horizon.of(horizon, loss)))


def in_tiers(*fast, of=TASKS):
    return pytest.mark.parametrize("task", some(of, fast))


@pytest.mark.parametrize("rule", RULES)
@tasks
def test_infinite_horizon_is_the_long_sum(task, rule):
    expected = task_update(*rule.reference(STUDENT), STUDENT, task.matrices)
    assert_close(update_of(rule(), task), expected, ROUNDING)


@pytest.mark.parametrize("loss", ["final", "sequence"])
@pytest.mark.parametrize("rule", RULES)
@in_tiers("closed-loop", "noise-on-the-student")
def test_finite_horizon_is_the_sum(task, rule, loss):
    expected = task_update(*rule.reference(STUDENT), STUDENT, task.matrices, HORIZON, loss)
    assert_close(update_of(rule(), task, HORIZON, loss), expected, ROUNDING)


@pytest.mark.slow
@tasks
def test_rules_as_they_are_given(task):
    """Not in the form in which rules share a program: with a scalar and a diagonal propagator, and with few lags."""
    for rule in (BY_ID["rflo"], BY_ID["eprop"], BY_ID["tbptt"]):
        for settings in ({}, {"method": "lags"}, {"horizon": HORIZON, "loss": "sequence"}):
            update = lg.expected_update(rule(), network(STUDENT), task(), **settings)
            limits = {name: x for name, x in settings.items() if name != "method"}
            assert_close(
                matrices(update), task_update(*rule.reference(STUDENT), STUDENT, task.matrices, **limits), ROUNDING
            )


@tasks
def test_losses(task):
    for settings in ({}, {"horizon": HORIZON}, {"horizon": HORIZON, "loss": "sequence"}):
        value = lg.expected_loss(network(STUDENT), task(), **settings)
        np.testing.assert_allclose(value, task_loss(STUDENT, task.matrices, **settings), rtol=ROUNDING)


@tasks
def test_covariances_are_scipys(task):
    P, dynamics = task_moments(STUDENT, task.matrices)
    C = np.concatenate([STUDENT[0], -task.matrices.Y], axis=1)
    assert np.abs(np.linalg.eigvals(dynamics)).max() < 0.75  # so that 120 lags are all that count
    np.testing.assert_allclose(lg.expected_loss(network(STUDENT), task()), np.trace(C @ P @ C.T) / 2, rtol=ROUNDING)
    update = lg.expected_update(lg.ThreeFactor(FEEDBACK), network(STUDENT), task())
    X = np.concatenate([np.zeros((INPUT, HIDDEN)), task.matrices.X], axis=1)
    N = np.concatenate([STUDENT[2] @ task.matrices.X0 + task.matrices.Nh, task.matrices.N])
    expected = (
        (C @ P)[:, :HIDDEN],
        FEEDBACK.T @ (C @ dynamics @ P)[:, :HIDDEN],
        FEEDBACK.T @ C @ (dynamics @ P @ X.T + N @ task.matrices.X0.T),
    )
    assert_close(matrices(update), expected, ROUNDING)


@pytest.mark.parametrize(
    "settings", [{}, pytest.param({"horizon": HORIZON, "loss": "sequence"}, marks=pytest.mark.slow)]
)
@in_tiers("closed-loop")
def test_bptt_is_the_gradient(task, settings):
    """Of every task; in a closed loop BPTT through the plant is, and BPTT on the network alone is not."""
    rule, given = lg.BPTT(through_plant=task in CLOSED), task()
    update = matrices(lg.expected_update(rule, network(STUDENT), given, **settings))
    gradient = jax.jit(jax.grad(lambda s: lg.expected_loss(s, given, **settings)))(network(STUDENT))
    assert_close(matrices(gradient), update, ROUNDING)
    differences = finite_differences(lambda s: task_loss(s, task.matrices, **settings), STUDENT)
    assert_close(differences, update, 1e-8)  # central differences: truncation 1e-10, rounding 1e-11 of the loss
    if task in CLOSED:
        local = matrices(lg.expected_update(lg.BPTT(), network(STUDENT), given, **settings))
        assert distance(local, update) > 0.01


@pytest.mark.parametrize("rule", ["bptt", "rflo", "random-11-lags-None", pytest.param("tbptt", marks=pytest.mark.slow)])
@in_tiers("closed-loop", of=CLOSED)
def test_credit_through_the_plant_is_the_sum(task, rule):
    rule = BY_ID[rule]
    own = rule()
    through = lg.Rule(own.feedback, own.propagator, own.lags, through_plant=True)
    for horizon in (None, HORIZON):
        settings = {} if horizon is None else {"horizon": horizon}
        expected = task_update_through_the_plant(*rule.reference(STUDENT), STUDENT, task.matrices, **settings)
        assert_close(update_of(through, task, horizon), expected, ROUNDING)
        assert distance(update_of(own, task, horizon), expected) > 1e-3


def test_in_an_open_loop_there_is_no_plant_to_pass():
    task = TASK_BY_ID["open-loop"]
    assert_close(update_of(lg.BPTT(through_plant=True), task), update_of(lg.BPTT(), task), 0)


@pytest.mark.parametrize(
    "rule", ["bptt", *(pytest.param(x, marks=pytest.mark.slow) for x in ("rflo", "random-12-lags-3"))]
)
def test_a_teacher_is_a_task(rule):
    """The general algorithm, which takes student and task as one, against the one made for teachers."""
    A, W, B = TEACHER
    rule, student = BY_ID[rule](), network(STUDENT)

    def general(X, X0, **settings):  # inside jit nobody knows that the two are 0 and 1
        return lg.expected_update(rule, student, lg.LinearTask(W, B, X, X0, A), **settings)

    known = lg.LinearTask(W, B, np.zeros((INPUT, len(W))), np.eye(INPUT), A)
    assert known.is_white_teacher
    for settings in ({}, {"horizon": HORIZON}):
        expected = matrices(lg.expected_update(rule, student, network(TEACHER), **settings))
        one = jax.jit(lambda X, X0, kw=settings: general(X, X0, **kw))
        assert_close(matrices(one(np.zeros((INPUT, len(W))), np.eye(INPUT))), expected, ROUNDING)
        assert_close(matrices(lg.expected_update(rule, student, known, **settings)), expected, 0)


@pytest.mark.slow
@pytest.mark.parametrize("through", [False, True])
@closed_loops
def test_a_long_simulation(task, through):
    """20,000 sequences, their errors and states as they come out, against the exact update with error bars."""
    horizon, num = 12, 20_000
    xi = np.random.default_rng(0).standard_normal((horizon, num, task.matrices.N.shape[1]))
    record = run_task(STUDENT, task.matrices, xi)
    rule = lg.Rule(FEEDBACK, "full", through_plant=through)
    update = matrices(lg.expected_update(rule, network(STUDENT), task(), horizon=horizon))
    _, W, B = STUDENT
    error = record.error[horizon]
    of_h, of_s = error @ FEEDBACK, -error @ task.matrices.Y
    samples = [np.einsum("ka,kb->kab", error, record.h[horizon]), 0.0, 0.0]
    for t in reversed(range(horizon)):
        of_y = of_s @ task.matrices.K * through
        samples[0] = samples[0] + np.einsum("ka,kb->kab", of_y, record.h[t])
        samples[1] = samples[1] + np.einsum("ka,kb->kab", of_h, record.h[t])
        samples[2] = samples[2] + np.einsum("ka,kb->kab", of_h, record.x[t])
        of_h, of_s = of_h @ W + of_y @ FEEDBACK, of_s @ task.matrices.D + of_h @ B @ task.matrices.X
    for exact, sampled in zip(update, samples, strict=True):
        error_bar = sampled.std(axis=0, ddof=1) / np.sqrt(num)
        assert np.all(np.abs(exact - sampled.mean(axis=0)) < 5 * error_bar)
        assert np.linalg.norm(error_bar) < 0.2 * np.linalg.norm(exact)


# --- transformations -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@in_tiers("closed-loop", "open-loop")
def test_derivatives_and_batches(task):
    """Forward and reverse mode agree, and a batch of tasks and students in one program is one call each."""
    given, student = task(), network(STUDENT)

    def size(scale):
        moved = jax.tree.map(lambda x: scale * x, given)
        return jnp.sum(lg.expected_update(lg.EProp(), student, moved).W ** 2)

    slopes = jax.jit(lambda s: (jax.jacfwd(size)(s), jax.jacrev(size)(s)))(0.9)
    np.testing.assert_allclose(*slopes, rtol=1e-10)
    scales = jnp.array([0.8, 1.0])
    batch = jax.vmap(lambda s: lg.expected_loss(student, jax.tree.map(lambda x: s * x, given)))(scales)
    single = [lg.expected_loss(student, jax.tree.map(lambda x, s=s: s * x, given)) for s in scales]
    np.testing.assert_allclose(batch, single, rtol=ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_noise_of_any_size(size):
    """Noise enters update and loss as its square; what is far from 1 is scaled, not lost."""
    task = TASK_BY_ID["closed-loop"].matrices
    half = np.sqrt(size)
    small = lg.LinearTask(task.D, half * task.N, task.X, half * task.X0, task.Y, task.K, half * task.Nh)
    plain = lg.expected_update(lg.BPTT(), network(STUDENT), TASK_BY_ID["closed-loop"]())
    update = lg.expected_update(lg.BPTT(), network(STUDENT), small)
    assert_close([x / half / half for x in matrices(update)], matrices(plain), ROUNDING)
