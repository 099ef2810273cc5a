"""Coarse feedback: what it makes of matrices and modes, composed with every rule, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from cases import BY_ID, FEEDBACK, HIDDEN, OUTPUT, STUDENT, TEACHER, assert_close, matrices, network
from hypothesis import given
from hypothesis import strategies as st
from oracles import brute_force_update

import localgrad as lg

A = STUDENT[0]
MASK = (np.random.default_rng(11).random((OUTPUT, HIDDEN)) < 0.5).astype(float)


def rounded(x, step, limit=np.inf):
    return np.clip(step * np.floor(np.asarray(x) / step + 0.5), -limit, limit)


WAYS = {
    "steps": ((lg.Quantized(0.25, 0.75),), lambda F: rounded(F, 0.25, 0.75)),
    "signs": ((lg.SignSymmetric(0.4),), lambda F: 0.4 * np.sign(F)),
    "sparse": ((lg.Mask(MASK),), lambda F: MASK * F),
    "sparse signs in steps": (
        (lg.Mask(MASK), lg.Quantized(0.5)),
        lambda F: rounded(MASK * F, 0.5),
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["bptt", "rflo", pytest.param("eprop", marks=pytest.mark.slow)])
def test_exact_updates_of_every_rule_honour_it(way, name):
    terms, of = WAYS[way]
    F, M, lags = BY_ID[name].reference(STUDENT)
    rule = BY_ID[name]()
    update = lg.expected_update(
        rule.with_feedback(lg.Coarse(rule.feedback, *terms)), network(STUDENT), network(TEACHER)
    )
    assert_close(matrices(update), brute_force_update(of(F), M, lags, STUDENT, TEACHER), 1e-7)


@given(st.floats(-5, 5), st.floats(0.01, 2), st.one_of(st.none(), st.floats(0.1, 3)))
def test_rounding_is_to_the_nearest_multiple(x, step, limit):
    found = lg.Quantized(step, limit).on_mode(x)
    bound = np.inf if limit is None else limit
    assert abs(found) <= bound
    if abs(x) < bound - step:
        assert abs(found - x) <= step / 2 + 1e-12
        assert abs(found / step - round(found / step)) < 1e-9
    np.testing.assert_allclose(lg.Quantized(step, limit)(jnp.array([[x]])), [[found]], rtol=1e-12)


def test_on_modes_it_is_a_number():
    fixed = lg.Rule(lg.Coarse(-0.7, lg.Quantized(0.25)), 0.5)
    assert fixed.affine == (-0.75, 0.0, 0.5, 0.0)
    run = lg.integrate_modes(fixed, lg.Mode(1.0, 1.0, 0.6), lg.Mode(1.0, 1.0, 0.8), duration=1.0)
    same = lg.integrate_modes(lg.RFLO(-0.75, 0.5), lg.Mode(1.0, 1.0, 0.6), lg.Mode(1.0, 1.0, 0.8), duration=1.0)
    assert run.final == same.final
    readout = lg.Rule(lg.Coarse("symmetric", lg.Quantized(0.25)))
    assert readout.affine is None
    assert readout.feedback.on_mode(0.9) == 1.0
    halved = lg.Rule(lg.Coarse(0.25 + lg.Feedback(symmetric=0.5), lg.Mask(0.5)))
    assert halved.affine[:2] == (0.125, 0.25)
    # The readout's steps have no slope, so that f counts as fixed in the Jacobian.
    point, teacher = lg.Mode(0.9, 0.8, 0.3), lg.Mode(1.0, 1.0, 0.8)
    np.testing.assert_allclose(
        lg.mode_jacobian(readout, point, teacher), lg.mode_jacobian(lg.FeedbackAlignment(1.0), point, teacher)
    )


def test_complex_feedback_is_rounded_in_both_parts():
    found = lg.Coarse(np.array([[0.7 - 0.3j]]), lg.Quantized(0.5))(jnp.array([[1.0 + 1.0j]]))
    np.testing.assert_allclose(found, [[0.5 - 0.5j]])


def test_what_is_no_coarse_feedback_is_refused():
    for call, words in (
        (lambda: lg.Quantized(0), "the step of Quantized must be a positive finite number"),
        (lambda: lg.Quantized(0.5, -1.0), "the limit of Quantized must be a positive finite number"),
        (lambda: lg.Coarse(FEEDBACK), "a coarse feedback needs a term"),
        (lambda: lg.Coarse(FEEDBACK, 0.5), "must be localgrad.Terms; got 0.5"),
        (lambda: lg.Coarse(FEEDBACK, lg.Quantized), "must be localgrad.Terms"),
        (lambda: lg.Coarse(lg.WeightMirror(FEEDBACK, 1.0), lg.Quantized(1.0)), "WeightMirror learns"),
        (lambda: lg.Coarse("random", lg.Quantized(1.0)), "unknown feedback 'random'"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
