"""Exact updates and losses: closed form = brute-force sum = differentiation through time = sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import BY_ID, CASES, FEEDBACK, GAMMA, STUDENT, TEACHER, Case, assert_close, matrices, network
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
# Not a multiple of anything, and less than one block of lagwise.py; the conformance tests cross a block's border.
HORIZON = 7


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request):
    return request.param


class TestThreeWays:
    @pytest.mark.parametrize("method", ["doubling", "lags"])
    def test_infinite_horizon_is_the_long_sum(self, case, method):
        update = lg.expected_update(case(), network(STUDENT), network(TEACHER), method=method)
        expected = brute_force_update(*case.reference(STUDENT), STUDENT, TEACHER)
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
    @pytest.mark.parametrize("name", ["bptt", "eprop-random", "rflo", "three-factor"])
    def test_finite_goes_to_infinite(self, name):
        rule = BY_ID[name]()
        limit = matrices(lg.expected_update(rule, network(STUDENT), network(TEACHER)))
        long = matrices(lg.expected_update(rule, network(STUDENT), network(TEACHER), horizon=120))
        assert_close(long, limit, ROUNDING)
        short = matrices(lg.expected_update(rule, network(STUDENT), network(TEACHER), horizon=HORIZON))
        with pytest.raises(AssertionError):
            assert_close(short, limit, 1e-6)

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


class TestDerivatives:
    """Through the infinite-horizon solve, forwards and backwards, against central differences along a direction."""

    @staticmethod
    def direction(seed: int) -> lg.LinearRNN:
        rng = np.random.default_rng(seed)
        return lg.LinearRNN(*(rng.standard_normal(x.shape) for x in STUDENT))

    @staticmethod
    def along(function, x, dx, step=1e-5):
        up, down = (function(jax.tree.map(lambda a, b: a + sign * step * b, x, dx)) for sign in (1, -1))  # noqa: B023
        return jax.tree.map(lambda a, b: (a - b) / (2 * step), up, down)

    def test_loss_in_student_and_teacher(self):
        pair = (network(STUDENT), network(TEACHER))
        rng = np.random.default_rng(5)
        tangent = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), pair)
        loss = lambda p: lg.expected_loss(*p)  # noqa: E731
        expected = self.along(loss, pair, tangent)
        gradient = jax.jit(jax.grad(loss))(pair)
        backwards = sum(jnp.vdot(g, t) for g, t in zip(*map(jax.tree.leaves, (gradient, tangent)), strict=True))
        forwards = jax.jit(lambda p, t: jax.jvp(loss, (p,), (t,))[1])(pair, tangent)
        # As above: central differences with step 1e-5.
        np.testing.assert_allclose([backwards, forwards], float(expected), rtol=1e-8)

    @pytest.mark.parametrize("name", ["eprop", "rflo", "tbptt"])
    def test_update_in_student(self, name):
        rule, student, tangent = BY_ID[name](), network(STUDENT), self.direction(6)
        update = lambda s: lg.expected_update(rule, s, network(TEACHER), method="doubling")  # noqa: E731
        expected = self.along(update, student, tangent)
        forwards = jax.jit(lambda s, t: jax.jvp(update, (s,), (t,))[1])(student, tangent)
        assert_close(matrices(forwards), matrices(expected), 1e-8)
        weights = self.direction(7)
        backwards = jax.jit(jax.grad(lambda s: _inner(weights, update(s))))(student)
        np.testing.assert_allclose(_inner(backwards, tangent), _inner(weights, expected), rtol=1e-7)

    def test_update_in_the_rule(self):
        """Feedback, decays and blends are numbers like others: differentiable too."""

        def size(numbers):
            phi, R, gamma = numbers
            rule = lg.Rule(lg.Feedback(phi, R), lg.Propagator(decay=gamma))
            return _inner(self.direction(8), lg.expected_update(rule, network(STUDENT), network(TEACHER)))

        numbers = (jnp.array(0.4), jnp.asarray(FEEDBACK), jnp.asarray(GAMMA))
        rng = np.random.default_rng(9)
        tangent = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), numbers)
        gradient = jax.jit(jax.grad(size))(numbers)
        along = sum(jnp.vdot(g, t) for g, t in zip(gradient, tangent, strict=True))
        np.testing.assert_allclose(along, self.along(size, numbers, tangent), rtol=1e-7)

    @pytest.mark.slow
    def test_second_derivative_of_the_loss_is_the_derivative_of_bptt(self):
        student, tangent = network(STUDENT), self.direction(10)
        loss = lambda s: lg.expected_loss(s, network(TEACHER))  # noqa: E731
        hessian = jax.jit(lambda s, t: jax.jvp(jax.grad(loss), (s,), (t,))[1])(student, tangent)
        update = lambda s: lg.expected_update(lg.BPTT(), s, network(TEACHER))  # noqa: E731
        slope = jax.jit(lambda s, t: jax.jvp(update, (s,), (t,))[1])(student, tangent)
        assert_close(matrices(hessian), matrices(slope), ROUNDING)


def _inner(one, other):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


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
        pair = {"student": network(STUDENT), "teacher": network(TEACHER)}
        pair[who] = self.broken({"student": STUDENT, "teacher": TEACHER}[who], position, value)
        message = f"{who}'s {letter} has an entry that is not finite; give finite numbers"
        for name in ("bptt", "rflo", "tbptt"):
            for settings in ({"method": "doubling"}, {"method": "lags"}, {"horizon": HORIZON}):
                with pytest.raises(ValueError, match=message):
                    lg.expected_update(BY_ID[name](), **pair, **settings)
        for horizon in (None, HORIZON):
            with pytest.raises(ValueError, match=message):
                lg.expected_loss(**pair, horizon=horizon)

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
        pair = {"student": network(STUDENT), "teacher": network(TEACHER)}
        size = pair[who].sizes[1]
        pair[who] = lg.LinearRNN(pair[who].A, radius * np.eye(size), pair[who].B)
        message = rf"{who}'s W has spectral radius {radius:g}, .*scale W down or give a finite horizon"
        for method in ("doubling", "lags"):
            with pytest.raises(ValueError, match=message):
                lg.expected_update(BY_ID[name](), **pair, method=method)
        with pytest.raises(ValueError, match=message):
            lg.expected_loss(**pair)
        # The remedy works.
        assert np.all(np.isfinite(lg.expected_update(BY_ID[name](), **pair, horizon=HORIZON).W))

    @pytest.mark.parametrize("method", ["doubling", "lags"])
    @pytest.mark.parametrize("decay", [1.5, -1.5, np.array([0.1, 1.5, 0.1, 0.1])])
    def test_decay_too_large_for_an_infinite_horizon(self, decay, method):
        message = "propagator's spectral radius 1.5 times that of W, 0.7, is not below 1.*lower the decay, set lags"
        with pytest.raises(ValueError, match=message):
            lg.expected_update(lg.RFLO(FEEDBACK, decay), network(STUDENT), network(TEACHER), method=method)
        few_lags = lg.Rule(FEEDBACK, decay, 5)
        assert np.all(np.isfinite(lg.expected_update(few_lags, network(STUDENT), network(TEACHER)).W))

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


def in_float32(net: tuple) -> lg.LinearRNN:
    return lg.LinearRNN(*(x.astype(np.float32) for x in net))


class TestPrecision:
    # Single precision has 1e-7, and sums of some hundred terms lose two digits.
    SINGLE = 1e-4

    @pytest.mark.parametrize("name", ["bptt", "rflo", "eprop-random", "rflo-per-unit", "random-12-lags-3"])
    @pytest.mark.parametrize("settings", [{"method": "doubling"}, {"method": "lags"}, {"horizon": HORIZON}])
    def test_float32_networks_stay_float32(self, name, settings):
        """Also where feedback or decays are float64, as NumPy makes them."""
        update = lg.expected_update(BY_ID[name](), in_float32(STUDENT), in_float32(TEACHER), **settings)
        assert {x.dtype for x in jax.tree.leaves(update)} == {np.dtype(np.float32)}
        steps = (settings["horizon"],) if "horizon" in settings else ()
        expected = brute_force_update(*BY_ID[name].reference(STUDENT), STUDENT, TEACHER, *steps)
        assert_close(matrices(update), expected, self.SINGLE)

    def test_mixed_networks_take_the_wider_precision(self):
        for settings in ({"method": "doubling"}, {"method": "lags"}, {"horizon": HORIZON}):
            update = lg.expected_update(lg.BPTT(), in_float32(STUDENT), network(TEACHER), **settings)
            assert update.W.dtype == np.float64
        assert lg.expected_loss(network(STUDENT), in_float32(TEACHER)).dtype == np.float64

    def test_without_x64(self):
        with jax.enable_x64(False):
            student, teacher = in_float32(STUDENT), in_float32(TEACHER)
            for name in ("bptt", "rflo"):
                update = lg.expected_update(BY_ID[name].rule(FEEDBACK.astype(np.float32), GAMMA), student, teacher)
                assert update.W.dtype == np.float32
                expected = brute_force_update(*BY_ID[name].reference(STUDENT), STUDENT, TEACHER)
                assert_close(matrices(update), expected, self.SINGLE)
            value = float(lg.expected_loss(student, teacher))
        np.testing.assert_allclose(value, brute_force_loss(STUDENT, TEACHER), rtol=self.SINGLE)

    def test_without_x64_float64_weights_warn(self):
        with jax.enable_x64(False), pytest.warns(UserWarning, match=r"cut to float32 .*'jax_enable_x64', True"):
            network(STUDENT)


def test_cases_are_not_trivial():
    """Every case moves every matrix: a test on it can fail."""
    for case in CASES:
        update = brute_force_update(*case.reference(STUDENT), STUDENT, TEACHER)
        assert isinstance(case, Case)
        assert all(np.abs(part).max() > 0.1 for part in update)
