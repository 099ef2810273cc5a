"""Each task of sequences says what it says: targets by brute force, floors by an ideal observer, published numbers."""

import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import localgrad as lg
from localgrad.tasks.sequence.mackey_glass import mackey_glass

T, KEY = lg.tasks, jax.random.key(3)


class TestAdd:
    def test_published_floors(self):
        """Marschall, Cho & Savin 2020; any two different delays."""
        for task in (T.Add(3, 6), T.Add(5, 2)):
            np.testing.assert_allclose(task.floors, [0.6616, 0.5192, 0.4545], atol=5e-5)

    def test_one_delay_twice_leaves_nothing_to_learn_behind_it(self):
        """P(class 0) is ½ or ¾, of one coin."""
        entropy = lambda p: -p * np.log(p) - (1 - p) * np.log(1 - p)  # noqa: E731
        both = (entropy(0.5) + entropy(0.75)) / 2
        np.testing.assert_allclose(T.Add(4, 4).floors, [entropy(0.625), both, both])

    def test_an_observer_of_both_inputs_reaches_the_lowest_floor(self):
        task = T.Add(2, 5, length=2000)
        batch = task.sample(KEY, 20)
        x = np.asarray(batch.inputs)[..., 0]
        odds = 0.5 + 0.5 * np.roll(x, 2, 1) - 0.25 * np.roll(x, 5, 1)
        classes, counts = np.asarray(batch.targets), np.asarray(batch.mask) > 0
        loss = -np.log(np.where(classes == 0, odds, 1 - odds)[counts]).mean()
        assert abs(loss - task.floors[2]) < 0.01
        assert abs(-np.log(np.where(classes == 0, 0.625, 0.375)[counts]).mean() - task.floors[0]) < 0.01

    def test_classes_of_certain_odds_are_certain(self):
        """x_{t−d₁} = 1 and x_{t−d₂} = 0: class 0, always."""
        batch = T.Add(1, 2, length=500).sample(KEY, 4)
        x = np.asarray(batch.inputs)[..., 0]
        sure = (np.roll(x, 1, 1) == 1) & (np.roll(x, 2, 1) == 0) & (np.asarray(batch.mask) > 0)
        assert sure.sum() > 300
        assert not np.asarray(batch.targets)[sure].any()


def test_copy_says_what_it_heard():
    task = T.Copy(symbols=5, length=4, delay=6)
    batch = task.sample(KEY, 50)
    heard = np.asarray(batch.inputs).argmax(-1)
    assert np.array_equal(heard[:, :4], batch.targets[:, -4:])
    assert np.all(heard[:, 9] == 6)
    assert np.all(np.delete(heard[:, 4:], 5, axis=1) == 5)
    assert set(heard[:, :4].ravel()) == {0, 1, 2, 3, 4}
    assert np.array_equal(batch.mask[0], [0] * 10 + [1] * 4)
    assert task.floor == np.log(5)


def test_flip_flop_keeps_the_last_pulse():
    batch = T.FlipFlop(bits=3, length=40, probability=0.2).sample(KEY, 4)
    kept = np.zeros((4, 3))
    for t in range(40):
        pulse = np.asarray(batch.inputs)[:, t]
        kept = np.where(pulse != 0, pulse, kept)
        assert np.array_equal(kept, batch.targets[:, t])
    assert abs(np.mean(np.asarray(batch.inputs)[:, 1:] != 0) - 0.2) < 0.05


def test_mackey_glass_solves_its_equation():
    """Against SciPy's integrator over the first delays, each of them an ordinary equation driven by the last."""
    tau, past = 4, 0.7
    found = np.asarray(mackey_glass(jax.numpy.array([past]), tau, 3 * tau))[0]
    pieces, late = [], lambda t: past
    for k in range(3):
        slope = lambda t, x, late=late, k=k: 0.2 * late(t - tau) / (1 + late(t - tau) ** 10) - 0.1 * x  # noqa: E731
        start = past if not pieces else pieces[-1].y[0, -1]
        pieces.append(solve_ivp(slope, (k * tau, (k + 1) * tau), [start], rtol=1e-10, atol=1e-12, dense_output=True))
        late = lambda t, piece=pieces[-1]: piece.sol(t)[0]  # noqa: E731
    exact = [pieces[(t - 1) // tau].sol(t)[0] for t in range(1, 3 * tau + 1)]
    np.testing.assert_allclose(found, exact, atol=2e-4)


def test_mackey_glass_keeps_to_its_attractor_and_is_chaotic():
    series = np.asarray(mackey_glass(jax.numpy.array([0.9, 0.9 + 1e-6]), 17, 1500))[:, 500:]
    assert 0.2 < series.min() < 0.5
    assert 1.2 < series.max() < 1.4
    apart = np.abs(series[0] - series[1])
    assert apart[-200:].max() > 100 * 1e-6


def test_patterns_have_a_mean_square_of_a_half_and_come_in_cycles():
    task = T.SumOfSines(outputs=2, period=30, cycles=3, seed=4)
    targets = np.asarray(task.sample(KEY, 1).targets)[0]
    np.testing.assert_allclose(np.mean(targets**2, axis=0), 0.5)
    np.testing.assert_allclose(targets[:30], targets[60:], atol=1e-12)
    amplitudes = np.abs(np.fft.rfft(targets[:30], axis=0))
    assert np.all(amplitudes[5:] < 1e-9)
    assert np.all(amplitudes[1:5] > 1)
    assert not np.allclose(targets, np.asarray(T.SumOfSines(outputs=2, period=30, cycles=3).sample(KEY, 1).targets)[0])


def test_pattern_generation_has_its_four_frequencies():
    """One second of 1, 2, 3 and 5 Hz."""
    batch = T.PatternGeneration(outputs=2, length=200, step=0.005, rate=20.0).sample(KEY, 1)
    amplitudes = np.abs(np.fft.rfft(np.asarray(batch.targets)[0], axis=0))
    assert set(np.flatnonzero(amplitudes.min(1) > 1)) == {1, 2, 3, 5}
    assert abs(np.asarray(batch.inputs).mean() - 0.1) < 0.02


def test_evidence_is_counted():
    task = T.EvidenceAccumulation(cues=5, cue=8, gap=2, delay=6, recall=4, group=50, rate=0.9, background=0.5)
    batch = task.sample(KEY, 40)
    x = np.asarray(batch.inputs)
    groups = x.reshape(*x.shape[:2], 4, 50).mean(-1)
    shown = groups[:, :50].reshape(40, 5, 10, 4)[:, :, :8].mean(2)
    assert np.all((shown[..., 0] > 0.5) != (shown[..., 1] > 0.5))
    assert np.array_equal((shown[..., 1] > 0.5).sum(1) > 2, np.asarray(batch.targets)[:, -1] == 1)
    assert np.all(groups[:, 50:, :2] == 0)
    assert np.all(groups[:, :-4, 2] == 0)
    assert abs(groups[:, -4:, 2].mean() - 0.9) < 0.05
    assert abs(groups[..., 3].mean() - 0.5) < 0.05
    assert np.array_equal(batch.mask[0], [0] * 56 + [1] * 4)


def test_delayed_match_matches_half_of_the_time():
    batch = T.DelayedMatch(stimuli=3, shown=2, delay=4, answer=3, noise=0.0).sample(KEY, 300)
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    same = x[:, 0, :3].argmax(-1) == x[:, 6, :3].argmax(-1)
    assert np.array_equal(same, y[:, -1] == 1)
    assert 0.4 < same.mean() < 0.6
    assert np.array_equal(x[0, :, 3], batch.mask[0])
    assert np.all(x[:, 2:6, :3] == 0)
    assert np.all(x[:, :2, :3].sum(-1) == 1)


def test_an_observer_of_the_named_stream_decides_as_well_as_said():
    task = T.ContextDecision(length=20, answer=2, coherence=0.5, noise=1.5)
    batch = task.sample(KEY, 4000)
    x = np.asarray(batch.inputs)
    named = x[:, 0, 2:].argmax(-1)
    chosen = np.sign(x[np.arange(4000), :, named].sum(1))
    assert abs(np.mean(chosen == np.asarray(batch.targets)[:, -1, 0]) - task.best_accuracy) < 0.02
    other = np.sign(x[np.arange(4000), :, 1 - named].sum(1))
    assert abs(np.mean(other == np.asarray(batch.targets)[:, -1, 0]) - 0.5) < 0.03
    assert T.ContextDecision(noise=0.0).best_accuracy == 1.0


BAD = [
    (lambda: T.Add(3, 6, length=6), "length is 6, and must be more than both delays, 6"),
    (lambda: T.Add(0, 6), "delay1 must be a whole number of at least 1; got 0"),
    (lambda: T.Copy(symbols=1), "symbols must be at least 2, or there is nothing to tell apart; got 1"),
    (lambda: T.FlipFlop(probability=0.0), r"probability must be one number in \(0, 1\], since there must be pulses"),
    (lambda: T.MackeyGlass(tau=2.5), "tau must be a whole number of at least 1; got 2.5"),
    (lambda: T.SumOfSines(components=5, period=10), "period is 10 steps, too few for 5 components; give more than 10"),
    (lambda: T.PatternGeneration(step=0.2), "step must be one number in .*, since a wave of 5 Hz takes more than two"),
    (
        lambda: T.PatternGeneration(rate=300.0),
        "rate must be one number in .*, since a neuron fires once a step at most",
    ),
    (lambda: T.EvidenceAccumulation(cues=4), "cues must be odd, or the sides can tie; got 4"),
    (lambda: T.DelayedMatch(stimuli=1), "stimuli must be at least 2, or all of them match; got 1"),
    (lambda: T.ContextDecision(noise=-1.0), "noise must be one number in .*, since it is a standard deviation"),
    (lambda: T.Reaching(body=3), "the body is 3; give lg.tasks.PointMass"),
    (lambda: T.Reaching(credit="all"), "credit must be 'step', 'plant' or 'loop', got 'all'"),
    (lambda: T.PointMass(mass=0.0), "mass must be one number in .*, since what has no mass has no dynamics"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
