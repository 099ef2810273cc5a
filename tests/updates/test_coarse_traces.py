"""Coarse traces and weights: as a plain loop, right in the mean where rounded at random, refused elsewhere."""

import jax
import numpy as np
import pytest

import localgrad as lg

N, INPUT, OUTPUT, T, BATCH = 4, 2, 2, 12, 2
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(BATCH, T, INPUT)), RNG.normal(size=(BATCH, T, OUTPUT))
W, B, A, R = (RNG.normal(size=s) for s in ((N, N), (N, INPUT), (OUTPUT, N), (OUTPUT, N)))
CELL = lg.cells.LeakyRate(W, B, np.zeros(N), leak=0.3, learns=("W", "B", "bias", "leak"))
NETWORK = lg.Network(CELL, lg.Readout(A))
RULE = lg.RFLO(R, "internal")


def update(rule, network=NETWORK, **options):
    return lg.network_update(rule, network, X, Y, **options)[0].layers[0]


def plain(step):
    """The update of `W` by a plain loop, a trace a synapse rounded to the nearest multiple of a step."""
    total = np.zeros((N, N))
    for x, y in zip(X, Y, strict=True):
        s, trace = np.zeros(N), np.zeros((N, N))
        for x_t, y_t in zip(x, y, strict=True):
            rate = np.tanh(W @ s + B @ x_t)
            trace = 0.7 * trace + 0.3 * np.outer(1 - rate**2, s)
            trace = step * np.floor(trace / step + 0.5)
            s = 0.7 * s + 0.3 * rate
            total += ((A @ s - y_t) @ R)[:, None] * trace
    return total / BATCH / T


class TestRounding:
    def test_to_the_nearest_multiple_as_a_plain_loop(self):
        np.testing.assert_allclose(update(lg.CoarseTraces(RULE, 0.05)).W, plain(0.05), atol=1e-12)
        assert np.abs(plain(0.05) - update(RULE).W).max() > 1e-3
        np.testing.assert_allclose(update(lg.CoarseTraces(RULE, 1e-9)).W, update(RULE).W, atol=1e-8)

    @pytest.mark.slow
    def test_at_random_it_is_right_in_the_mean(self):
        """Traces are linear in their past, so that the mean is the exact update, of weights and of the unit's own."""
        coarse = lg.CoarseTraces(RULE, 0.2, stochastic=True)
        found = [update(coarse, key=jax.random.key(i)) for i in range(200)]
        for name in ("W", "B", "bias", "leak"):
            values = np.array([getattr(x, name) for x in found])
            spread = values.std(0) / np.sqrt(len(values))
            assert np.all(np.abs(values.mean(0) - getattr(update(RULE), name)) < 4 * spread)
        assert not np.array_equal(found[0].W, found[1].W)
        np.testing.assert_array_equal(found[0].W, update(coarse, key=jax.random.key(0)).W)

    def test_mismatch_is_a_decay_of_each_units_own(self):
        mismatch = np.array([0.1, -0.2, 0.0, 0.3])
        expected = update(lg.RFLO(R, 0.7 * (1 + mismatch)))
        for method in ("recorded", "online"):
            found = update(lg.CoarseTraces(RULE, mismatch=mismatch), method=method)
            np.testing.assert_allclose(found.W, expected.W, atol=1e-12)

    @pytest.mark.slow
    def test_it_composes_with_a_delay_and_coarse_feedback(self):
        late = RULE.with_delay(2).with_feedback(lg.Coarse(R, lg.Quantized(0.25)))
        found = update(lg.CoarseTraces(late, 1e-9))
        np.testing.assert_allclose(found.W, update(late).W, atol=1e-8)


LINEAR = lg.LinearRNN(A, 0.1 * W, B)
STOCHASTIC = lg.CoarseTraces(RULE, 0.1, stochastic=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: update(STOCHASTIC), r"give key=jax.random.key\(...\), got None"),
        (lambda: update(STOCHASTIC, key=3), "got 3"),
        (lambda: update(RULE, key=jax.random.key(0)), "nothing of this rule is drawn at random; leave it out"),
        (lambda: update(lg.CoarseTraces(RULE, 0.1), method="recorded"), "rounded while they run, forward in time"),
        (lambda: update(lg.CoarseTraces(lg.BPTT(), 0.1)), "use method 'online' with a rule that keeps every unit"),
        (lambda: update(lg.CoarseTraces(lg.BPTT(), mismatch=0.1)), "carries credit from unit to unit"),
        (lambda: update(lg.CoarseTraces(RULE, mismatch=np.ones(3))), "the mismatch has 3 numbers, but a layer 4 units"),
        (lambda: lg.CoarseTraces(RULE, 0.0), "the step of traces must be a positive finite number"),
        (lambda: lg.CoarseTraces(RULE, stochastic=True), "stochastic rounding needs a step"),
        (lambda: lg.CoarseTraces(STOCHASTIC, 0.1), "the rule has coarse traces"),
        (lambda: lg.expected_update(STOCHASTIC, LINEAR, LINEAR), "not linear in the errors and have no exact update"),
        (lambda: lg.locality(STOCHASTIC, NETWORK), "not linear in the errors and have no exact update"),
        (lambda: lg.learn_mode(STOCHASTIC, lg.Mode(1, 1, 0), lg.Mode(1, 1, 0), duration=1), "have no exact update"),
    ],
)
def test_refused_in_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


class TestRoundedWeights:
    def test_weights_stay_on_multiples_and_move_as_they_should_in_the_mean(self):
        import optax

        weights, small = {"W": np.full((200, 50), 0.5)}, {"W": np.full((200, 50), -0.1)}
        for key, mean in ((None, 0.5), (jax.random.key(0), 0.6)):
            optimizer = optax.chain(optax.sgd(1.0), lg.rounded_weights(0.5, key))
            steps, state = optimizer.update(small, optimizer.init(weights), weights)
            moved = optax.apply_updates(weights, steps)["W"]
            assert set(np.unique(moved)) <= {0.5, 1.0}
            np.testing.assert_allclose(moved.mean(), mean, atol=0.01)  # 4 standard deviations
        again = optax.apply_updates(weights, optimizer.update(small, state, weights)[0])["W"]
        assert not np.array_equal(again, moved)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="the step of weights must be a positive"):
            lg.rounded_weights(-1.0)
        with pytest.raises(ValueError, match=r"key must be jax.random.key\(...\) or None, got 3"):
            lg.rounded_weights(0.1, 3)
        with pytest.raises(ValueError, match="give update"):
            lg.rounded_weights(0.1).update(np.ones(1), None)
