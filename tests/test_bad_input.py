"""What cannot be computed is refused in one sentence that names the value and the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import BY_ID, FEEDBACK, GAMMA, HORIZON, STUDENT, TEACHER, assert_close, matrices, network
from oracles import brute_force_update

import localgrad as lg

ROUNDING = 1e-12


class TestBadInput:
    @staticmethod
    def broken(net: tuple, position: int, value: float) -> lg.LinearRNN:
        changed = [x.copy() for x in net]
        changed[position][0, 0] = value
        return network(changed)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize(("position", "letter"), list(enumerate("AWB")))
    @pytest.mark.parametrize("who", ["student", "teacher"])
    def test_not_finite(self, who, position, letter, value):
        pair = [network(STUDENT), network(TEACHER)]
        pair[who == "teacher"] = self.broken({"student": STUDENT, "teacher": TEACHER}[who], position, value)
        message = f"{who}'s {letter} has an entry that is not finite; give finite numbers"
        for name in ("bptt", "rflo", "tbptt"):
            for settings in ({"method": "doubling"}, {"method": "lags"}, {"horizon": HORIZON}):
                with pytest.raises(ValueError, match=message):
                    lg.expected_update(BY_ID[name](), *pair, **settings)
        for horizon in (None, HORIZON):
            with pytest.raises(ValueError, match=message):
                lg.expected_loss(*pair, horizon=horizon)

    @pytest.mark.parametrize("name", ["rflo", "eprop-random", "three-factor"])
    @pytest.mark.parametrize("settings", [{"method": "doubling"}, {"method": "lags"}, {"horizon": HORIZON}])
    def test_feedback_not_finite(self, name, settings):
        R = FEEDBACK.copy()
        R[0, 0] = np.nan
        with pytest.raises(ValueError, match="rule's parameters has an entry that is not finite"):
            lg.expected_update(BY_ID[name].rule(R, GAMMA), network(STUDENT), network(TEACHER), **settings)

    @pytest.mark.parametrize("decay", [np.nan, np.inf, np.array([0.1, np.nan, 0.1, 0.1])])
    def test_decay_not_finite(self, decay):
        with pytest.raises(ValueError, match="rule's parameters has an entry that is not finite"):
            lg.expected_update(lg.RFLO(FEEDBACK, decay), network(STUDENT), network(TEACHER))

    @pytest.mark.parametrize("radius", [1.0, 1.5])
    @pytest.mark.parametrize("who", ["student", "teacher"])
    @pytest.mark.parametrize("name", ["bptt", "rflo", "tbptt"])
    def test_unstable_with_an_infinite_horizon(self, name, who, radius):
        pair = [network(STUDENT), network(TEACHER)]
        A, W, B = pair[who == "teacher"].matrices
        pair[who == "teacher"] = lg.LinearRNN(A, radius * np.eye(len(W)), B)
        message = rf"{who}'s W has spectral radius {radius:g}, .*scale W down or give a finite horizon"
        for method in ("doubling", "lags"):
            with pytest.raises(ValueError, match=message):
                lg.expected_update(BY_ID[name](), *pair, method=method)
        with pytest.raises(ValueError, match=message):
            lg.expected_loss(*pair)
        # The remedy works.
        assert np.all(np.isfinite(lg.expected_update(BY_ID[name](), *pair, horizon=HORIZON).W))

    @pytest.mark.parametrize("method", ["doubling", "lags"])
    @pytest.mark.parametrize("decay", [1.5, -1.5, np.array([0.1, 1.5, 0.1, 0.1])])
    def test_decay_too_large_for_an_infinite_horizon(self, decay, method):
        message = "propagator's spectral radius 1.5 times that of W, 0.7, is not below 1.*lower the decay, set lags"
        with pytest.raises(ValueError, match=message):
            lg.expected_update(lg.RFLO(FEEDBACK, decay), network(STUDENT), network(TEACHER), method=method)
        few_lags = lg.Rule(FEEDBACK, decay, 5)
        assert np.all(np.isfinite(lg.expected_update(few_lags, network(STUDENT), network(TEACHER)).W))

    @pytest.mark.parametrize("method", ["doubling", "lags"])
    @pytest.mark.parametrize(("radius", "decay"), [(0.6, 1.7), (0.3, 3.4)])
    def test_a_sum_that_barely_diverges_does_not_pass_by_underflow(self, radius, decay, method):
        """`(decay · radius)^j` grows by 2 % a lag while `radius^j` underflows; a squared norm did so first."""
        pair = [(A, W * (radius / np.abs(np.linalg.eigvals(W)).max()), B) for A, W, B in (STUDENT, TEACHER)]
        with pytest.raises(ValueError, match="is not below 1, so an infinite horizon has no update"):
            lg.expected_update(lg.RFLO(FEEDBACK, decay), *map(network, pair), method=method)

    def test_a_decay_above_one_is_fine_where_the_product_is_below(self):
        rule = lg.RFLO(FEEDBACK, 1.2)
        update = lg.expected_update(rule, network(STUDENT), network(TEACHER), method="doubling")
        # 1.2 · 0.7 = 0.84 to the 300th is 2e-23.
        expected = brute_force_update(FEEDBACK, 1.2 * np.eye(4), None, STUDENT, TEACHER, 300)
        assert_close(matrices(update), expected, ROUNDING)

    @pytest.mark.parametrize("horizon", [0, -3, 2.5, 3.0, True, "7", np.nan])
    def test_horizon(self, horizon):
        message = "horizon must be a whole number of at least 1 step, or None for infinity; got"
        with pytest.raises(ValueError, match=message):
            lg.expected_update(lg.BPTT(), network(STUDENT), network(TEACHER), horizon=horizon)
        with pytest.raises(ValueError, match=message):
            lg.expected_loss(network(STUDENT), network(TEACHER), horizon=horizon)

    def test_words(self):
        pair = (network(STUDENT), network(TEACHER))
        with pytest.raises(ValueError, match="loss must be 'final' or 'sequence', got 'mean'"):
            lg.expected_update(lg.BPTT(), *pair, loss="mean")
        with pytest.raises(ValueError, match="method must be 'auto', 'doubling' or 'lags', got 'exact'"):
            lg.expected_update(lg.BPTT(), *pair, method="exact")
        with pytest.raises(ValueError, match="for horizon 7 use 'lags' or 'auto'"):
            lg.expected_update(lg.BPTT(), *pair, method="doubling", horizon=7)

    def test_sizes_of_student_and_teacher(self):
        other = lg.LinearRNN(np.ones((3, 4)), np.zeros((4, 4)), np.ones((4, 3)))
        message = "student has 2 outputs and 3 inputs, teacher 3 and 3; they must agree"
        with pytest.raises(ValueError, match=message):
            lg.expected_update(lg.BPTT(), network(STUDENT), other)
        with pytest.raises(ValueError, match=message):
            lg.expected_loss(network(STUDENT), other)

    def test_batches_need_vmap(self):
        batch = jax.tree.map(lambda x: jnp.stack([x, x]), network(STUDENT))
        for pair, who in (((batch, network(TEACHER)), "student"), ((network(STUDENT), batch), "teacher")):
            with pytest.raises(ValueError, match=rf"the {who} is a batch, with W of shape \(2, 4, 4\); .*jax.vmap"):
                lg.expected_loss(*pair)

    @pytest.mark.parametrize("shape", [(4, 2), (2, 5), (4,), (), (3, 2, 4)])
    def test_feedback_shape(self, shape):
        with pytest.raises(ValueError, match=r"feedback has shape .* but must have that of A, \(2, 4\)"):
            lg.expected_update(lg.EProp(np.ones(shape)), network(STUDENT), network(TEACHER))

    @pytest.mark.parametrize("shape", [(3,), (5,), (2, 2), (4, 1)])
    def test_decay_shape(self, shape):
        with pytest.raises(ValueError, match=r"decay has shape .* but the student 4 hidden units; give one number, or"):
            lg.expected_update(lg.RFLO(FEEDBACK, np.full(shape, 0.1)), network(STUDENT), network(TEACHER))

    @pytest.mark.parametrize("name", ["bptt", "rflo", "eprop-random", "three-factor"])
    def test_under_jit_what_does_not_exist_is_nan_throughout(self, name):
        """For stable and unstable students in one batch: only the unstable ones are lost."""
        W = jnp.stack([STUDENT[1], jnp.eye(4), 2 * jnp.eye(4)])
        update_of = lambda W: lg.expected_update(  # noqa: E731
            BY_ID[name](), lg.LinearRNN(STUDENT[0], W, STUDENT[2]), network(TEACHER)
        )
        update = jax.jit(jax.vmap(update_of))(W)
        for part in jax.tree.leaves(update):
            assert np.all(np.isfinite(part[0]))
            assert np.all(np.isnan(part[1:]))

    def test_under_jit_a_loss_that_does_not_exist_is_infinite(self):
        W = jnp.stack([STUDENT[1], jnp.eye(4), 2 * jnp.eye(4)])
        loss_of = lambda W: lg.expected_loss(lg.LinearRNN(STUDENT[0], W, STUDENT[2]), network(TEACHER))  # noqa: E731
        losses = jax.jit(jax.vmap(loss_of))(W)
        assert np.isfinite(losses[0])
        assert np.all(np.isposinf(losses[1:]))

    def test_overflow_at_a_long_finite_horizon(self):
        student = lg.LinearRNN(STUDENT[0], 100 * np.eye(4), STUDENT[2])
        with pytest.raises(ValueError, match="overflows at horizon 400; shorten the horizon or scale down W"):
            lg.expected_update(lg.BPTT(), student, network(TEACHER), horizon=400)
