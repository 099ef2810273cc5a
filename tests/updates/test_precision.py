"""Single precision: results stay in it, are right to it, and nobody falls into it unawares."""

import jax
import numpy as np
import pytest
from cases import BY_ID, FEEDBACK, GAMMA, HORIZON, STUDENT, TEACHER, assert_close, matrices, network
from oracles import brute_force_loss, brute_force_update

import localgrad as lg


def in_float32(net: tuple) -> lg.LinearRNN:
    return lg.LinearRNN(*(x.astype(np.float32) for x in net))


class TestPrecision:
    # Single precision has 1e-7, and sums of some hundred terms lose two digits.
    SINGLE = 1e-4

    @pytest.mark.parametrize("name", ["rflo-per-unit", "random-12-lags-3"])
    @pytest.mark.parametrize("settings", [{"method": "doubling"}, {"horizon": HORIZON}])
    def test_float32_networks_stay_float32(self, name, settings):
        """Also where feedback or decays are float64, as NumPy makes them."""
        update = lg.expected_update(BY_ID[name](), in_float32(STUDENT), in_float32(TEACHER), **settings)
        assert {x.dtype for x in jax.tree.leaves(update)} == {np.dtype(np.float32)}
        steps = (settings["horizon"],) if "horizon" in settings else ()
        expected = brute_force_update(*BY_ID[name].reference(STUDENT), STUDENT, TEACHER, *steps)
        assert_close(matrices(update), expected, self.SINGLE)

    def test_mixed_networks_take_the_wider_precision(self):
        for settings in ({"method": "doubling"}, {"horizon": HORIZON}):
            update = lg.expected_update(lg.BPTT(), in_float32(STUDENT), network(TEACHER), **settings)
            assert update.W.dtype == np.float64
        value = lg.expected_loss(in_float32(STUDENT), network(TEACHER), horizon=HORIZON, loss="sequence")
        student = tuple(x.astype(np.float32).astype(np.float64) for x in STUDENT)
        np.testing.assert_allclose(value, brute_force_loss(student, TEACHER, HORIZON, "sequence"), rtol=1e-12)

    def test_without_x64(self):
        with jax.enable_x64(False):
            student, teacher = in_float32(STUDENT), in_float32(TEACHER)
            update = lg.expected_update(BY_ID["rflo"].rule(FEEDBACK.astype(np.float32), GAMMA), student, teacher)
            assert update.W.dtype == np.float32
            expected = brute_force_update(*BY_ID["rflo"].reference(STUDENT), STUDENT, TEACHER)
            assert_close(matrices(update), expected, self.SINGLE)
            value = float(lg.expected_loss(student, teacher))
        np.testing.assert_allclose(value, brute_force_loss(STUDENT, TEACHER), rtol=self.SINGLE)

    def test_without_x64_float64_weights_warn(self):
        with jax.enable_x64(False), pytest.warns(UserWarning, match=r"to float32 .*'jax_enable_x64', True"):
            network(STUDENT)


@pytest.mark.slow
def test_strict_promotion_of_the_users_is_not_ours():
    """JAX's strict setting forbids the mixed precisions of libraries beneath us; results do not depend on it."""
    student, teacher = in_float32(STUDENT), network(TEACHER)
    with jax.numpy_dtype_promotion("strict"):
        for settings in ({}, {"method": "lags"}, {"horizon": 7}):
            strict = lg.expected_update(lg.TruncatedBPTT(2), student, teacher, **settings)
            with jax.numpy_dtype_promotion("standard"):
                standard = lg.expected_update(lg.TruncatedBPTT(2), student, teacher, **settings)
            assert_close(matrices(strict), matrices(standard), 1e-12)
        curve = lg.learn(lg.TruncatedBPTT(2), student, teacher, duration=0.01)
        assert np.isfinite(curve.loss).all()
        run = lg.train(lg.Rule(lg.WeightMirror(FEEDBACK, 0.5)), student, teacher, key=jax.random.key(0),
                       learning_rate=0.01, num_steps=2, batch_size=2, horizon=4)  # fmt: skip
        assert np.isfinite(run.loss).all()
