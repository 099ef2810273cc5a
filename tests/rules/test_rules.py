"""Rules: their parts, the words and numbers they accept, and those they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, FEEDBACK, GAMMA, STUDENT

import localgrad as lg
from localgrad.rules.presets import PRESETS

A, W, _ = STUDENT


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_feedback_and_propagator_are_what_they_should_be(case):
    """`F` and `M` against the independent account of them in `cases.py`."""
    F, M, lags = case.reference(STUDENT)
    rule = case()
    np.testing.assert_allclose(rule.feedback(A), F, rtol=1e-15)
    found = np.asarray(rule.propagator(jnp.asarray(W)))
    if found.shape != M.shape:  # a diagonal, as its column
        assert found.shape in ((len(W), 1), (1, 1))
        found = found * np.eye(len(W))
    np.testing.assert_allclose(found, M, rtol=1e-14, atol=1e-16)
    assert rule.lags == lags


@pytest.mark.parametrize(
    ("propagator", "shape"),
    [
        (lg.Propagator(), (1, 1)),
        (lg.Propagator(decay=0.5), (1, 1)),
        (lg.Propagator(decay=GAMMA), (4, 1)),
        (lg.Propagator(diagonal=1), (4, 1)),
        (lg.Propagator(diagonal=1, decay=0.5), (4, 1)),
        (lg.Propagator(full=1), (4, 4)),
        (lg.Propagator(full=1, decay=GAMMA), (4, 4)),
    ],
)
def test_the_propagator_takes_its_cheapest_form(propagator, shape):
    assert propagator(jnp.asarray(W)).shape == shape


def test_on_a_mode_the_diagonal_is_everything():
    assert lg.Propagator(full=0.25, diagonal=0.5, decay=2.0).on_mode(0.8) == pytest.approx(2.6)
    assert lg.Propagator().on_mode(0.8) == 0


def test_a_rule_is_a_pytree_of_its_numbers():
    rule = lg.RFLO(FEEDBACK, 0.5)
    assert len(jax.tree.leaves(rule)) == 2
    doubled = jax.tree.map(lambda x: 2 * x, rule)
    np.testing.assert_array_equal(doubled.feedback.fixed, 2 * FEEDBACK)
    assert (doubled.propagator.decay, doubled.lags, doubled.name) == (1.0, None, "RFLO")


def test_sequences_become_arrays():
    rule = lg.RFLO([[1, 2]], (0.1, 0.2))
    assert rule.feedback.fixed.dtype == rule.propagator.decay.dtype == np.float64


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (lg.BPTT(), "BPTT: F = A, M = J, all lags"),
        (lg.TruncatedBPTT(), "tBPTT(1): F = A, M = J, 1 lag"),
        (lg.TruncatedBPTT(3), "tBPTT(3): F = A, M = J, 3 lags"),
        (lg.RFLO(FEEDBACK, 0.5), "RFLO: F = R, M = 0.5·I, all lags"),
        (lg.RFLO(-0.5, GAMMA), "RFLO: F = -0.5, M = diag γ, all lags"),
        (lg.EProp(), "e-prop (symmetric): F = A, M = diag J, all lags"),
        (lg.EProp(FEEDBACK), "e-prop (random): F = R, M = diag J, all lags"),
        (lg.ThreeFactor(FEEDBACK), "three-factor: F = R, M = 0, 1 lag"),
        (
            lg.Rule(lg.Feedback.blend(0.25, FEEDBACK), lg.Propagator.blend(0.5, 0.4)),
            "custom: F = 0.75·A + R, M = 0.5·J + 0.2·I, all lags",
        ),
    ],
)
def test_describe(rule, text):
    assert rule.describe() == text


class TestBadInput:
    @pytest.mark.parametrize("lags", [0, -1, 1.5, 2.0, True, "3", np.nan])
    def test_lags(self, lags):
        with pytest.raises(ValueError, match="lags must be a whole number of at least 1, or None for all lags; got"):
            lg.Rule(lags=lags)
        with pytest.raises(ValueError, match="lags must be a whole number"):
            lg.TruncatedBPTT(lags)

    def test_lags_from_numpy_are_fine(self):
        assert lg.TruncatedBPTT(np.int64(3)).lags == 3

    def test_words(self):
        with pytest.raises(ValueError, match="unknown feedback 'random'; use 'symmetric', a fixed feedback, a"):
            lg.Rule("random")
        with pytest.raises(
            ValueError, match="unknown propagator 'diag'; use 'full', 'diagonal', 'internal', a decay, a"
        ):
            lg.Rule("symmetric", "diag")
        with pytest.raises(ValueError, match="unknown feedback 'symetric'"):
            lg.EProp("symetric")


class TestMakeRule:
    def test_unknown(self):
        with pytest.raises(ValueError, match=f"unknown rule 'rtrl'; known rules: {', '.join(PRESETS)}"):
            lg.make_rule("rtrl")

    def test_surplus(self):
        with pytest.raises(ValueError, match="rule 'bptt' takes through_plant; leave out decay, feedback"):
            lg.make_rule("bptt", feedback=1.0, decay=0.5)
        with pytest.raises(ValueError, match="rule 'eprop' takes feedback; leave out decay"):
            lg.make_rule("eprop", decay=0.5)

    def test_missing(self):
        with pytest.raises(ValueError, match="rule 'rflo' needs decay, feedback"):
            lg.make_rule("rflo")

    def test_none_is_not_given(self):
        assert lg.make_rule("tbptt", lags=3, feedback=None, decay=None) == lg.TruncatedBPTT(3)
        assert lg.make_rule("eprop", feedback=None) == lg.EProp()
