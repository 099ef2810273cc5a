"""Exact updates of diagonal layers, three ways: closed form, brute-force lag sums, and the network of real blocks."""

import jax
import numpy as np
import pytest
from cases import (
    COMPLEX_FEEDBACK,
    DECAY,
    FEEDBACK,
    GAMMA,
    HIDDEN,
    HORIZON,
    LAYER,
    LAYER_CASES,
    LAYER_TEACHER,
    STUDENT,
    TEACHER,
    assert_close,
    layer,
    network,
    random_layer,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import LONG, layer_loss, layer_update

import localgrad as lg
from localgrad.updates import diagonal

OVER = [(None, "final"), (HORIZON, "final"), (HORIZON, "sequence")]
ROUNDING = 1e-12
# For tests that compile a program of their own for each rule.
FEW = [name if name == "rflo-per-unit" else pytest.param(name, marks=pytest.mark.slow) for name in LAYER_CASES]


@pytest.fixture(params=LAYER_CASES.values(), ids=LAYER_CASES)
def case(request):
    return request.param


def update_of(rule, student=LAYER, teacher=LAYER_TEACHER, **over):
    return lg.expected_update(rule, layer(student), layer(teacher), **over).arrays


@pytest.mark.parametrize(("horizon", "loss"), OVER)
def test_as_brute_force_sums_over_lags(case, horizon, loss):
    rule, credit, lags = case
    F, m = credit(*LAYER[:2])
    found = update_of(rule, horizon=horizon, loss=loss)
    assert_close(found, layer_update(F, m, lags, LAYER, LAYER_TEACHER, horizon or LONG, loss), ROUNDING)


def chain_rule(A, W, B):
    """What the numbers of a layer get from the real blocks they are in: `C = A_r − i A_i` and so on, summed."""
    n = len(W) // 2
    re, im = slice(0, n), slice(n, 2 * n)
    dpoles = np.diag(W[re, re] + W[im, im]) + 1j * np.diag(W[im, re] - W[re, im])
    return A[:, re] - 1j * A[:, im], dpoles, B[re] + 1j * B[im]


def blocks_of(m):
    return np.block([[np.diag(m.real), -np.diag(m.imag)], [np.diag(m.imag), np.diag(m.real)]])


@pytest.mark.parametrize("name", FEW)
def test_as_the_network_of_real_blocks(name):
    rule, credit, lags = LAYER_CASES[name]
    F, m = credit(*LAYER[:2])
    F, M = np.concatenate([F.real, -F.imag], axis=1), blocks_of(np.asarray(m, complex))
    blocks = lg.Rule(F, lg.FixedMatrix(M), lags)
    teacher = lg.real_blocks(layer(LAYER_TEACHER))
    dense = lg.expected_update(blocks, lg.real_blocks(layer(LAYER)), teacher)
    expected = chain_rule(*map(np.asarray, dense.matrices))
    assert_close(update_of(rule), expected, ROUNDING)
    # and so does the library where the teacher is no layer
    assert_close(lg.expected_update(rule, layer(LAYER), teacher).arrays, expected, ROUNDING)


@pytest.mark.parametrize(("horizon", "loss"), OVER)
def test_bptt_is_the_gradient_by_finite_differences(horizon, loss):
    def value(arrays):
        return layer_loss(arrays, LAYER_TEACHER, horizon or LONG, loss)

    step = 1e-6
    for part, found in enumerate(update_of(lg.BPTT(), horizon=horizon, loss=loss)):
        for index in list(np.ndindex(found.shape))[:3]:
            slopes = []
            for direction in (step, 1j * step):
                ends = []
                for sign in (1, -1):
                    moved = [x.copy() for x in LAYER]
                    moved[part][index] += sign * direction
                    ends.append(value(moved))
                slopes.append((ends[0] - ends[1]) / (2 * step))
            np.testing.assert_allclose(found[index], slopes[0] + 1j * slopes[1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("horizon", "loss"), OVER)
def test_the_loss_in_all_four_pairings(horizon, loss):
    over = {"horizon": horizon, "loss": loss}
    student, teacher = layer(LAYER), layer(LAYER_TEACHER)
    expected = layer_loss(LAYER, LAYER_TEACHER, horizon or LONG, loss)
    for pair in ((student, teacher), (student, lg.real_blocks(teacher)), (lg.real_blocks(student), teacher)):
        np.testing.assert_allclose(lg.expected_loss(*pair, **over), expected, rtol=1e-13)


def test_a_layer_as_teacher_of_a_network():
    """`lg.diagonalized` of a teacher teaches the same."""
    own, same = network(TEACHER), lg.diagonalized(network(TEACHER))
    rule, over = lg.RFLO(FEEDBACK, DECAY), {"horizon": HORIZON}
    expected = lg.expected_update(rule, network(STUDENT), own, **over)
    assert_close(lg.expected_update(rule, network(STUDENT), same, **over), expected, 1e-11)


def test_bptt_and_eprop_coincide_and_rflo_differs():
    for horizon in (None, HORIZON):
        bptt = update_of(lg.BPTT(), horizon=horizon)
        assert_close(update_of(lg.EProp(), horizon=horizon), bptt, 1e-15)
        with pytest.raises(AssertionError):
            assert_close(update_of(lg.RFLO("symmetric", DECAY), horizon=horizon), bptt, 1e-2)


def test_both_algorithms_of_an_infinite_horizon_agree(case, monkeypatch):
    by_lags = update_of(case[0])
    monkeypatch.setattr(diagonal, "_MOST_LAGS", 0)
    assert_close(update_of(case[0]), by_lags, ROUNDING)


@pytest.mark.parametrize("name", FEW)
def test_compiled_and_mapped(name):
    case = LAYER_CASES[name]
    students = [LAYER, tuple(-0.5 * x for x in LAYER)]
    batch = jax.tree.map(lambda *x: np.stack(x), *map(layer, students))
    found = jax.jit(jax.vmap(lambda s: lg.expected_update(case[0], s, layer(LAYER_TEACHER))))(batch)
    for k, student in enumerate(students):
        assert_close(jax.tree.map(lambda x: x[k], found), update_of(case[0], student), ROUNDING)  # noqa: B023


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [None, HORIZON])
def test_the_losss_gradient_is_bptts_update(horizon):
    """JAX's gradient by a complex number is the conjugate of `∂/∂Re + i ∂/∂Im`."""
    slope = jax.grad(lambda s: lg.expected_loss(s, layer(LAYER_TEACHER), horizon=horizon))(layer(LAYER))
    assert_close([x.conj() for x in slope.arrays], update_of(lg.BPTT(), horizon=horizon), ROUNDING)


def test_in_float32():
    small = [lg.DiagonalSSM(*(x.astype(np.complex64) for x in arrays)) for arrays in (LAYER, LAYER_TEACHER)]
    found = lg.expected_update(lg.BPTT(), *small)
    assert all(x.dtype == np.complex64 for x in found.arrays)
    assert_close(found.arrays, update_of(lg.BPTT()), 1e-5)


# --- rank: where the paper's bound holds -----------------------------------------------------------------------------


def numerical_rank(matrix):
    values = np.linalg.svd(np.asarray(matrix), compute_uv=False)
    return int(np.sum(values > 1e-10 * values[0]))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), decay=st.floats(-0.9, 0.9))
def test_one_decay_bounds_the_rank_of_B_by_the_outputs(seed, decay):
    student = random_layer(1, HIDDEN, HIDDEN, seed, radius=0.6)
    teacher = random_layer(1, HIDDEN, HIDDEN, seed + 1)
    R = np.random.default_rng(seed).standard_normal((1, HIDDEN))
    assert numerical_rank(update_of(lg.RFLO(R, decay), student, teacher)[2]) <= 1


def test_distinct_poles_bound_the_rank_of_B():
    """`q` distinct poles: rank ≤ q · outputs; all distinct: no bound but the size."""
    inputs = 6
    C, poles, B = random_layer(1, 6, inputs, seed=4, radius=0.6)
    teacher = random_layer(1, 6, inputs, seed=5)
    for q in (1, 2, 3, 6):
        student = (C, np.resize(poles[:q], 6), B)
        assert numerical_rank(update_of(lg.BPTT(), student, teacher)[2]) == q


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "poles", "match"),
    [
        (lg.BPTT(), 0.9 + 0.9j, "pole 0 has modulus 1.27279, but an infinite horizon needs"),
        (lg.BPTT(), 1.0, "pole 0 has modulus 1, but an infinite horizon needs"),
        (lg.BPTT(), np.nan, "student's poles has an entry that is not finite"),
        (lg.RFLO(FEEDBACK, 2.0), 0.5, "the propagator's largest entry 2 times that of the poles, 0.7,"),
        (lg.RFLO(FEEDBACK[:1], 0.5), 0.5, "feedback has shape"),
        (lg.RFLO(FEEDBACK, GAMMA[:3]), 0.5, "decay has shape"),
        (lg.Rule(FEEDBACK, lg.LowRank(1)), 0.5, "LowRank makes a dense propagator, which a diagonal layer has no"),
        (lg.Rule(lg.WeightMirror(FEEDBACK, 1.0)), 0.5, "a feedback that learns is real"),
        ("BPTT", 0.5, "rule is a str"),
    ],
)
def test_what_has_no_update_is_refused(rule, poles, match):
    with pytest.raises(ValueError, match=match):
        update_of(rule, (LAYER[0], np.full(HIDDEN, poles), LAYER[2]))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="student has 2 outputs and 3 inputs, teacher 2 and 1"):
        update_of(lg.BPTT(), LAYER, (*LAYER_TEACHER[:2], LAYER_TEACHER[2][:, :1]))
    with pytest.raises(ValueError, match="map over it"):
        update_of(lg.BPTT(), [x[None] for x in LAYER])
    with pytest.raises(ValueError, match="one algorithm for each horizon"):
        update_of(lg.BPTT(), method="lags")


def test_complex_feedback_is_refused_where_units_are_real():
    with pytest.raises(ValueError, match="which a network of real units cannot hear"):
        lg.expected_update(lg.RFLO(COMPLEX_FEEDBACK, DECAY), network(STUDENT), network(TEACHER))
    with pytest.raises(ValueError, match="says nothing of single modes"):
        lg.mode_update(lg.RFLO(COMPLEX_FEEDBACK, DECAY), lg.Mode(1.0, 1.0, 0.5), lg.Mode(1.0, 1.0, 0.8))


def test_under_jit_what_does_not_exist_is_not_a_number():
    outside = layer((LAYER[0], 2 * LAYER[1], LAYER[2]))
    update, loss = jax.jit(
        lambda s: (lg.expected_update(lg.BPTT(), s, layer(LAYER_TEACHER)), lg.expected_loss(s, layer(LAYER_TEACHER)))
    )(outside)
    assert all(np.all(np.isnan(x)) for x in update.arrays)
    assert np.isinf(loss)


def test_few_lags_exist_where_all_do_not():
    """Two lags of a large decay are a finite sum."""
    F, m = FEEDBACK, np.full(HIDDEN, 3.0)
    found = update_of(lg.Rule(FEEDBACK, 3.0, 2))
    assert_close(found, layer_update(F, m, 2, LAYER, LAYER_TEACHER, LONG), ROUNDING)


EXPONENT = st.integers(-300, 300)


@pytest.mark.parametrize("name", ["bptt", pytest.param("rflo-complex", marks=pytest.mark.slow)])
@given(EXPONENT, EXPONENT, EXPONENT, st.sampled_from([0, 2]))
@settings(max_examples=20, deadline=None)
def test_powers_of_2_pass_through_unchanged(name, c, b, f, delay):
    """`C`, `B` and a fixed feedback times powers of 2: the update is the same times theirs, bit for bit.

    Both layers share the powers, so that errors have `2^(c + b)`; `ΔC` takes `B` once more, `ΔB` and `Δλ` the feedback.
    """
    rule = LAYER_CASES[name][0].with_delay(delay)
    f = c if rule.feedback.is_symmetric else f
    if max(abs(c + 2 * b), abs(f + c + b), abs(f + c + 2 * b)) > 900:
        return
    scaled = rule if rule.feedback.is_symmetric else rule.with_feedback(COMPLEX_FEEDBACK * 2.0**f)
    moved = [layer((C * 2.0**c, z, B * 2.0**b)) for C, z, B in (LAYER, LAYER_TEACHER)]
    for horizon in (None, 9):
        expected = lg.expected_update(rule, layer(LAYER), layer(LAYER_TEACHER), horizon=horizon)
        found = lg.expected_update(scaled, *moved, horizon=horizon)
        for before, after, power in zip(
            expected.arrays, found.arrays, (c + 2 * b, f + c + 2 * b, f + c + b), strict=True
        ):
            np.testing.assert_array_equal(after, np.asarray(before) * 2.0**power)
