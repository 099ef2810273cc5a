"""Exact updates and losses: closed form = brute-force sum = differentiation through time = sampling."""

import jax
import numpy as np
import pytest
from cases import BY_ID, CASES, FEW_CASES, HORIZON, STUDENT, TEACHER, Case, assert_close, matrices, network
from oracles import (
    brute_force_loss,
    brute_force_update,
    finite_differences,
    impulse_autodiff,
    sampled_updates,
)

import localgrad as lg

# Sums of some hundred terms of order one, in float64: a few hundred roundings of 1e-16.
ROUNDING = 1e-12


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request):
    return request.param


class TestThreeWays:
    def test_infinite_horizon_is_the_long_sum(self, case):
        update = lg.expected_update(case(), network(STUDENT), network(TEACHER), method="doubling")
        expected = brute_force_update(*case.reference(STUDENT), STUDENT, TEACHER)
        assert_close(matrices(update), expected, ROUNDING)

    @pytest.mark.parametrize("few", FEW_CASES)
    def test_infinite_horizon_lag_by_lag_is_the_long_sum(self, few):
        """The sums themselves are tested for every rule with a finite horizon; here, how they end."""
        update = lg.expected_update(few(), network(STUDENT), network(TEACHER), method="lags")
        expected = brute_force_update(*few.reference(STUDENT), STUDENT, TEACHER)
        assert_close(matrices(update), expected, ROUNDING)

    @pytest.mark.parametrize("loss", ["final", "sequence"])
    def test_finite_horizon_is_the_sum(self, case, loss):
        update = lg.expected_update(case(), network(STUDENT), network(TEACHER), horizon=HORIZON, loss=loss)
        expected = brute_force_update(*case.reference(STUDENT), STUDENT, TEACHER, HORIZON, loss)
        assert_close(matrices(update), expected, ROUNDING)

    def test_finite_horizon_is_differentiation_through_time(self, case):
        update = lg.expected_update(case(), network(STUDENT), network(TEACHER), horizon=HORIZON)
        expected = impulse_autodiff(*case.reference(STUDENT), STUDENT, TEACHER, HORIZON)
        assert_close(matrices(update), expected, ROUNDING)

    @pytest.mark.parametrize("loss", ["final", "sequence"])
    def test_finite_horizon_is_the_mean_of_sampled_updates(self, case, loss):
        update = matrices(lg.expected_update(case(), network(STUDENT), network(TEACHER), horizon=HORIZON, loss=loss))
        sample = (*case.reference(STUDENT), STUDENT, TEACHER, HORIZON, loss)
        means, errors = sampled_updates(*sample, num_sequences=10_000, seed=0)
        for exact, mean, error in zip(update, means, errors, strict=True):
            # About 40 entries a case: by chance one in ten million goes beyond 5 standard errors.
            assert np.all(np.abs(exact - mean) < 5 * error)
            # The error bars are short enough to tell: shorter than a fifth of the update.
            assert np.linalg.norm(error) < 0.2 * np.linalg.norm(exact)

    @pytest.mark.parametrize("horizon", [None, HORIZON])
    @pytest.mark.parametrize("loss", ["final", "sequence"])
    def test_bptt_is_the_gradient(self, horizon, loss):
        """The finite-difference gradient of the brute-force loss, and JAX's gradient of the exact one."""
        update = matrices(lg.expected_update(lg.BPTT(), network(STUDENT), network(TEACHER), horizon=horizon, loss=loss))
        gradient = jax.jit(jax.grad(lambda s: lg.expected_loss(s, network(TEACHER), horizon=horizon, loss=loss)))
        assert_close(matrices(gradient(network(STUDENT))), update, ROUNDING)
        steps = {"horizon": horizon, "loss": loss} if horizon else {}
        differences = finite_differences(lambda s: brute_force_loss(s, TEACHER, **steps), STUDENT)
        # Central differences with step 1e-5: truncation about 1e-10, rounding about 1e-16/1e-5 of the loss.
        assert_close(differences, update, 1e-8)


class TestLoss:
    @pytest.mark.parametrize("horizon", [1, HORIZON, 40])
    @pytest.mark.parametrize("loss", ["final", "sequence"])
    def test_finite_horizon(self, horizon, loss):
        value = lg.expected_loss(network(STUDENT), network(TEACHER), horizon=horizon, loss=loss)
        np.testing.assert_allclose(value, brute_force_loss(STUDENT, TEACHER, horizon, loss), rtol=ROUNDING)

    def test_infinite_horizon(self):
        value = lg.expected_loss(network(STUDENT), network(TEACHER))
        np.testing.assert_allclose(value, brute_force_loss(STUDENT, TEACHER), rtol=ROUNDING)

    def test_final_loss_grows_to_the_infinite_one_from_below(self):
        finite = [float(lg.expected_loss(network(STUDENT), network(TEACHER), horizon=T)) for T in (1, HORIZON, 40)]
        assert finite == sorted(finite)
        np.testing.assert_allclose(finite[-1], lg.expected_loss(network(STUDENT), network(TEACHER)), rtol=1e-9)

    def test_sampled(self):
        """Half the mean squared error of white-noise sequences, within five standard errors."""
        rng = np.random.default_rng(0)
        (A, W, B), (A_star, W_star, B_star) = STUDENT, TEACHER
        h, h_star = np.zeros((20_000, len(W))), np.zeros((20_000, len(W_star)))
        for _ in range(HORIZON):
            x = rng.standard_normal((20_000, B.shape[1]))
            h, h_star = h @ W.T + x @ B.T, h_star @ W_star.T + x @ B_star.T
        losses = 0.5 * np.sum((h @ A.T - h_star @ A_star.T) ** 2, axis=1)
        exact = float(lg.expected_loss(network(STUDENT), network(TEACHER), horizon=HORIZON))
        assert abs(losses.mean() - exact) < 5 * losses.std() / np.sqrt(len(losses))
        assert losses.std() / np.sqrt(len(losses)) < 0.02 * exact


class TestHorizons:
    def test_sequence_loss_goes_to_the_final_one_like_one_over_horizon(self):
        """`𝓛_T − L = −(1/2T) Σ_k min(k, T) ‖E_k‖²`: the gap halves as the horizon doubles."""
        limit = float(lg.expected_loss(network(STUDENT), network(TEACHER)))
        gaps = [
            limit - float(lg.expected_loss(network(STUDENT), network(TEACHER), horizon=T, loss="sequence"))
            for T in (100, 200)
        ]
        np.testing.assert_allclose(gaps[0] / gaps[1], 2, rtol=1e-6)

    def test_sequence_update_is_the_mean_of_final_ones(self):
        rule = BY_ID["eprop-random"]()
        finals = [matrices(lg.expected_update(rule, network(STUDENT), network(TEACHER), horizon=t)) for t in (1, 2, 3)]
        mean = tuple(np.mean(parts, axis=0) for parts in zip(*finals, strict=True))
        sequence = lg.expected_update(rule, network(STUDENT), network(TEACHER), horizon=3, loss="sequence")
        assert_close(matrices(sequence), mean, ROUNDING)

    def test_one_step_knows_no_recurrence(self):
        update = lg.expected_update(lg.BPTT(), network(STUDENT), network(TEACHER), horizon=1)
        assert np.all(update.W == 0)
        E = STUDENT[0] @ STUDENT[2] - TEACHER[0] @ TEACHER[2]
        assert_close((update.A, update.B), (E @ STUDENT[2].T, STUDENT[0].T @ E), ROUNDING)


class TestAlgorithms:
    def test_large_networks_with_few_outputs_go_by_lags(self):
        """`"auto"` changes the algorithm at this size; all three must agree."""
        rng = np.random.default_rng(4)
        n = 128
        student, teacher = (
            (
                rng.standard_normal((1, n)) / 8,
                0.5 * rng.standard_normal((n, n)) / np.sqrt(n),
                rng.standard_normal((n, 1)),
            )
            for _ in range(2)
        )
        rule = lg.RFLO(rng.standard_normal((1, n)), 0.5)
        updates = [
            matrices(lg.expected_update(rule, network(student), network(teacher), method=method))
            for method in ("auto", "lags", "doubling")
        ]
        assert_close(updates[0], updates[2], ROUNDING)
        assert_close(updates[1], updates[2], ROUNDING)

    def test_close_to_instability_lags_hand_over_to_doubling(self):
        """Radius 0.999 needs more lags than `"lags"` may keep; the answer must be the same, not a truncated one."""
        slow = (STUDENT[0], STUDENT[1] * (0.999 / 0.6), STUDENT[2])
        updates = [
            matrices(lg.expected_update(lg.BPTT(), network(slow), network(TEACHER), method=method))
            for method in ("lags", "doubling")
        ]
        # Sums of about 1/(1 − 0.999²) = 500 lags, three of them nested: rounding grows by some thousands.
        assert_close(*updates, 1e-11)

    def test_non_normal_networks_grow_before_they_decay(self):
        """Powers of a nilpotent matrix with large entries grow to 1e4; the sum has just four terms."""
        W = np.diag([20.0, 30.0, 20.0], k=1)
        student = (STUDENT[0], W, STUDENT[2])
        update = lg.expected_update(lg.BPTT(), network(student), network(TEACHER))
        expected = brute_force_update(STUDENT[0], W, None, student, TEACHER)
        assert_close(matrices(update), expected, ROUNDING)

    def test_whole_number_weights_are_weights(self):
        student = lg.LinearRNN([[1, 0]], [[0, 1], [0, 0]], [[0], [1]])
        teacher = lg.LinearRNN([[0]], [[0]], [[0]])
        # A W B = 1 is the only Markov parameter that is not zero.
        assert float(lg.expected_loss(student, teacher)) == 0.5


def test_cases_are_not_trivial():
    """Every case moves every matrix: a test on it can fail."""
    for case in CASES:
        update = brute_force_update(*case.reference(STUDENT), STUDENT, TEACHER)
        assert isinstance(case, Case)
        assert all(np.abs(part).max() > 0.1 for part in update)


def test_known_networks_inside_a_jit_of_something_else():
    student, teacher = (lg.random_network(2, 4, 3, key=jax.random.key(i), spectral_radius=0.7) for i in (0, 1))
    loss = jax.jit(lambda scale: scale * lg.expected_loss(student, teacher))(2.0)
    np.testing.assert_allclose(loss, 2 * lg.expected_loss(student, teacher), rtol=1e-12)
    for horizon in (None, 7):

        def readout(scale, T=horizon):
            return scale * lg.expected_update(lg.BPTT(), student, teacher, horizon=T).A

        np.testing.assert_allclose(jax.jit(readout)(2.0), readout(2.0), rtol=1e-12)


def test_arguments_in_the_wrong_order():
    student = lg.random_network(2, 4, 3, key=jax.random.key(0), spectral_radius=0.7)
    with pytest.raises(ValueError, match="the rule is a LinearRNN, not a Rule"):
        lg.expected_update(student, lg.BPTT(), student)
