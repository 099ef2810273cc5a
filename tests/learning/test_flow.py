"""Exact learning curves against the brute-force flow, the mode equations, a hand-written loop, and one another.

Compiling is what costs time here: almost every test uses the same sizes, number of snapshots and number of steps.
"""

import jax
import numpy as np
import pytest
from cases import (
    BY_ID,
    CASES,
    FEEDBACK,
    GAMMA,
    HIDDEN,
    OUTPUT,
    STUDENT,
    TEACHER,
    assert_close,
    distance,
    matrices,
    network,
)
from numpy.testing import assert_allclose, assert_array_equal
from oracles import brute_force_loss, brute_force_update
from scipy.integrate import solve_ivp

import localgrad as lg
from localgrad.learning import integration
from localgrad.models.aligned import align_matrix
from localgrad.modes.stability import optimal_mode
from localgrad.outcomes import Outcome
from localgrad.rules.compiled import in_general_form

# Weaker weights than those of the other tests: learning is then slow enough to look at.
WEAK_STUDENT = (0.5 * STUDENT[0], STUDENT[1], 0.5 * STUDENT[2])
WEAK_TEACHER = (0.6 * TEACHER[0], TEACHER[1], 0.6 * TEACHER[2])
PAIR = (network(WEAK_STUDENT), network(WEAK_TEACHER))
SILENT = jax.tree.map(np.zeros_like, PAIR[0])
TIGHT = {"rtol": 1e-7, "atol": 1e-9}
NUM_STEPS = 200  # of the tests with a learning rate
ONE_PROGRAM = [case for case in CASES if case.lags in (None, 1) and not case().terms]

# Frames of the sizes of all other tests, student and teacher sharing those of outputs and inputs.
STUDENT_FRAMES = lg.random_frames(OUTPUT, HIDDEN, 3, key=jax.random.key(5))
TEACHER_FRAMES = STUDENT_FRAMES._replace(P=lg.random_frames(OUTPUT, 5, 3, key=jax.random.key(6)).P)
# Theory section 8: the checked example of a detour.
TEACHER_MODE, START_MODE = lg.Mode(1.0, 1.0, 0.8), lg.Mode(1.0, 1.0, 0.6)


def aligned(frames: lg.Frames, *modes: lg.Mode) -> lg.LinearRNN:
    return lg.aligned_network(lg.Mode(*(np.array(x) for x in zip(*modes, strict=True))), frames)


ONE_MODE = (aligned(STUDENT_FRAMES, START_MODE), aligned(TEACHER_FRAMES, TEACHER_MODE))


def learn(rule, student=PAIR[0], teacher=PAIR[1], *, duration, **settings) -> lg.LearningCurve:
    settings = {"save_at": np.linspace(0, duration, 5), **settings}
    of_flow = {key: settings.pop(key) for key in ("solver", "rtol", "atol", "max_steps") if key in settings}
    settings["method"] = lg.Steps(settings.pop("learning_rate")) if "learning_rate" in settings else lg.Flow(**of_flow)
    return lg.learn(rule, student, teacher, duration=duration, **settings)


def silent_loss(teacher: lg.LinearRNN) -> float:
    return float(lg.expected_loss(SILENT, teacher))


def assert_finite(curve: lg.LearningCurve):
    for leaf in jax.tree.leaves((curve.final, curve.snapshots, curve.time)):
        assert np.all(np.isfinite(leaf))
    assert not np.any(np.isnan(curve.loss))


def brute_force_flow(case, duration: float, horizon: int, loss: str = "final") -> tuple[np.ndarray, ...]:
    """`dθ/dk = −Δθ` by SciPy, with the sums of theory section 3 written out in loops."""
    shapes = [x.shape for x in WEAK_STUDENT]
    borders = np.cumsum([x.size for x in WEAK_STUDENT])[:-1]

    def unpack(y):
        return tuple(x.reshape(shape) for x, shape in zip(np.split(y, borders), shapes, strict=True))

    def velocity(_, y):
        student = unpack(y)
        update = brute_force_update(*case.reference(student), student, WEAK_TEACHER, horizon, loss)
        return -np.concatenate([x.ravel() for x in update])

    start = np.concatenate([x.ravel() for x in WEAK_STUDENT])
    return unpack(solve_ivp(velocity, (0, duration), start, method="DOP853", rtol=1e-9, atol=1e-11).y[:, -1])


class TestFlow:
    @pytest.mark.parametrize(
        "name",
        [
            "bptt",
            "eprop-random",
            *(pytest.param(x, marks=pytest.mark.slow) for x in ("three-factor", "random-11-lags-None")),
        ],
    )
    def test_follows_the_brute_force_flow(self, name):
        """Forty lags are all of them: spectral radii stay below 0.75, and `0.75^80 < 1e-9`."""
        curve = learn(BY_ID[name](), duration=0.05, **TIGHT)
        assert curve.outcome is Outcome.UNFINISHED
        # Some hundred steps of a method with local errors of 1e-7.
        assert_close(matrices(curve.final), brute_force_flow(BY_ID[name], 0.05, 40), 1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize("solver", ["stabilized", "explicit", "implicit"])
    def test_three_integrators_agree_on_a_finite_horizon(self, solver):
        """And the loss reported at the end is that of the network reported."""
        tolerances = TIGHT if solver == "stabilized" else {"rtol": 1e-8, "atol": 1e-10}
        for name in ("bptt", "eprop-random", "rflo"):
            curve = learn(BY_ID[name](), duration=0.05, horizon=7, solver=solver, **tolerances)
            expected = brute_force_flow(BY_ID[name], 0.05, 7)
            assert_close(matrices(curve.final), expected, 1e-5 if solver == "stabilized" else 1e-7)
            assert_allclose(curve.loss[-1], brute_force_loss(matrices(curve.final), WEAK_TEACHER, 7), rtol=1e-10)

    @pytest.mark.slow
    def test_sequence_loss(self):
        curve = learn(BY_ID["eprop-random"](), duration=0.05, horizon=7, loss="sequence", **TIGHT)
        assert_close(matrices(curve.final), brute_force_flow(BY_ID["eprop-random"], 0.05, 7, "sequence"), 1e-5)
        expected = brute_force_loss(WEAK_STUDENT, WEAK_TEACHER, 7, "sequence")
        assert_allclose(curve.loss[0], expected, rtol=1e-12)

    @pytest.mark.parametrize("name", ["bptt", "rflo"])
    def test_aligned_networks_follow_their_modes(self, name):
        teachers = [lg.Mode(1.0, 1.0, 0.8), lg.Mode(0.8, 0.7, -0.4)]
        starts = [lg.Mode(0.9, 0.6, 0.5), lg.Mode(0.5, 0.9, 0.1)]
        feedback = [0.7, 0.9]
        rules = {
            "bptt": (lg.BPTT(), [lg.BPTT(), lg.BPTT()]),
            "rflo": (
                lg.RFLO(align_matrix(np.array(feedback), STUDENT_FRAMES), 0.3),
                [lg.RFLO(f, 0.3) for f in feedback],
            ),
        }
        rule, mode_rules = rules[name]
        curve = learn(rule, aligned(STUDENT_FRAMES, *starts), aligned(TEACHER_FRAMES, *teachers), duration=1.0, **TIGHT)
        ends = [lg.learn_mode(*each, duration=1.0).final for each in zip(mode_rules, starts, teachers, strict=True)]
        assert_close(matrices(curve.final), matrices(aligned(STUDENT_FRAMES, *ends)), 1e-5)
        assert_allclose(curve.alignment.recurrent, 1, atol=1e-8)

    def test_gradient_flow_descends_and_conserves(self):
        """The drift of what BPTT conserves gauges the integrator; other rules do move it."""
        curve = learn(lg.BPTT(), duration=2.0, **TIGHT)
        assert np.all(np.diff(curve.loss) < 0)
        assert curve.conserved_drift[0] < 1e-15
        assert curve.conserved_drift.max() < 1e-5
        for name in ("eprop", "rflo-symmetric", "eprop-random"):
            assert learn(BY_ID[name](), duration=0.1, **TIGHT).conserved_drift[-1] > 1e-3

    def test_rules_share_a_program_and_differ(self):
        """One compiled program for all rules with all lags or one; no two of them end at the same place."""
        learn(lg.BPTT(), duration=0.05)
        count = integration._compiled._cached._cache_size()
        finals = [matrices(learn(case(), duration=0.05).final) for case in ONE_PROGRAM]
        assert integration._compiled._cached._cache_size() == count
        for k, one in enumerate(finals):
            assert all(distance(one, other) > 1e-4 for other in finals[:k])

    def test_rank_of_what_is_learned(self):
        """The paper's proposition 3.1: at most `output` for RFLO, all along; BPTT knows no such bound."""
        spectrum = learn(BY_ID["rflo"](), duration=0.1).spectrum
        assert_array_equal(spectrum.W.rank, [0, *4 * [OUTPUT]])
        assert spectrum.B.rank.max() <= OUTPUT
        assert learn(lg.BPTT(), duration=0.1).spectrum.W.rank[-1] > OUTPUT

    def test_snapshots(self):
        curve = learn(lg.BPTT(), duration=2.0, save_at=[0.0, 0.03, 0.1, 0.5, 2.0], **TIGHT)
        assert_array_equal(curve.snapshot_times, [0.0, 0.03, 0.1, 0.5, 2.0])
        at = lambda k: jax.tree.map(lambda x: x[k], curve.snapshots)  # noqa: E731
        assert distance(at(0), curve.initial) == 0
        assert distance(at(4), curve.final) == 0
        assert distance(at(2), learn(lg.BPTT(), duration=0.1, **TIGHT).final) < 1e-5
        assert_allclose(curve.spectral_radius[0], 0.6)

    def test_points_after_the_end(self):
        """Snapshots after the end hold the final network; no point is listed twice."""
        curve = learn(lg.BPTT(), *ONE_MODE, duration=100.0)
        assert curve.time[-1] < 25
        assert np.all(np.diff(curve.time) > 0)
        for k in range(1, 5):
            assert distance(jax.tree.map(lambda x: x[k], curve.snapshots), curve.final) == 0  # noqa: B023

    def test_general_form_is_the_same_rule(self):
        for case in CASES:
            general = in_general_form(case(), OUTPUT, HIDDEN)
            update = lg.expected_update(general, network(STUDENT), network(TEACHER))
            expected = brute_force_update(*case.reference(STUDENT), STUDENT, TEACHER)
            assert_close(matrices(update), expected, 1e-12)


class TestOutcomes:
    def test_converged(self):
        curve = learn(lg.BPTT(), *ONE_MODE, duration=100.0)
        assert curve.outcome is Outcome.CONVERGED
        assert 0 < curve.loss[-1] <= 1e-6 * silent_loss(ONE_MODE[1]) < curve.loss[-2]

    @pytest.mark.parametrize(("decay", "outcome"), [(0.0, "DIVERGED"), (0.5, "CONVERGED"), (0.9, "DIVERGED")])
    def test_detours_end_as_their_modes_do(self, decay, outcome):
        """Theory section 8: from one start RFLO reaches the opposite branch or diverges, by its decay."""
        curve = learn(lg.RFLO(align_matrix(np.array([-1.0]), STUDENT_FRAMES), decay), *ONE_MODE, duration=100.0)
        path = lg.learn_mode(lg.RFLO(-1.0, decay), START_MODE, TEACHER_MODE, duration=100.0)
        assert curve.outcome.name == path.outcome.name == outcome
        assert_finite(curve)
        assert curve.loss.max() > 5 * curve.loss[0]
        if outcome == "DIVERGED":
            # Of the time to the border the network's looser tolerance, 1e-4 a step, is what is seen.
            assert_allclose(curve.time[-1], path.time[-1], rtol=2e-3)
            assert curve.spectral_radius[-1] > 0.999

    def test_stalled_at_the_saddle(self):
        """A silent student with symmetric feedback has no update, however long."""
        curve = learn(lg.BPTT(), SILENT, duration=100.0)
        assert curve.outcome is Outcome.STALLED
        assert curve.time[-1] == 100.0
        assert_allclose(curve.loss, silent_loss(PAIR[1]))

    def test_unfinished(self):
        assert learn(lg.BPTT(), duration=0.05).outcome is Outcome.UNFINISHED

    @pytest.mark.slow
    def test_out_of_steps(self):
        """Reported at the time reached, not at that asked for."""
        curve = learn(lg.BPTT(), duration=2.0, max_steps=7)
        assert curve.outcome is Outcome.UNFINISHED
        assert curve.time.shape == (8,)
        assert 0 < curve.time[-1] < 2.0
        assert distance(jax.tree.map(lambda x: x[1], curve.snapshots), curve.final) == 0

    def test_credit_that_no_longer_fades(self):
        """e-prop's `max |diag W|` times `ρ(W)` reaches 1 while `ρ(W)` is well below: an end, not endless steps."""
        curve = learn(BY_ID["eprop-random"](), duration=50.0)
        assert curve.outcome is Outcome.DIVERGED
        assert curve.steps < 500
        assert_finite(curve)
        radius, carried = curve.spectral_radius[-1], np.abs(np.diag(curve.final.W)).max()
        assert radius < 0.97
        assert 0.95 < carried * radius < 1

    def test_zero_tolerance_never_converges(self):
        """Also where the loss is zero to rounding, or less."""
        teacher_like = aligned(STUDENT_FRAMES, TEACHER_MODE)
        curve = learn(lg.BPTT(), teacher_like, ONE_MODE[1], duration=1.0, tolerance=0)
        assert curve.outcome is not Outcome.CONVERGED
        assert curve.time[-1] == 1.0


class TestSteps:
    @pytest.mark.parametrize("name", ["bptt", "rflo-symmetric"])
    def test_is_the_plain_loop(self, name):
        rule, rate = BY_ID[name](), 0.003
        curve = learn(rule, duration=NUM_STEPS * rate, learning_rate=rate)
        student = PAIR[0]
        for _ in range(NUM_STEPS):
            update = lg.expected_update(rule, student, PAIR[1])
            student = jax.tree.map(lambda x, dx: x - rate * dx, student, update)
        assert_close(matrices(curve.final), matrices(student), 1e-12)
        assert_allclose(curve.time, rate * np.arange(NUM_STEPS + 1), rtol=1e-14)
        assert curve.steps == NUM_STEPS

    def test_last_step_is_what_is_left(self):
        curve = learn(lg.BPTT(), duration=0.003 * (NUM_STEPS - 0.5), learning_rate=0.003)
        assert len(curve.time) == NUM_STEPS + 1
        assert_allclose(np.diff(curve.time)[-2:], [0.003, 0.0015])

    @pytest.mark.parametrize(
        ("rule", "mode_rule"),
        [
            (lg.BPTT(), lg.BPTT()),
            (lg.RFLO(align_matrix(np.array([0.8]), STUDENT_FRAMES), 0.5), lg.RFLO(0.8, 0.5)),
        ],
        ids=["bptt", "rflo"],
    )
    def test_loses_stability_at_the_critical_learning_rate(self, rule, mode_rule):
        """Of an aligned optimal network, slightly perturbed: above it the loss grows as the mode's spectrum says."""
        s = 1.2
        optimum = optimal_mode(TEACHER_MODE, s)
        start = aligned(STUDENT_FRAMES, lg.Mode(optimum.a + 1e-6, optimum.b - 2e-6, optimum.w + 1e-6))
        critical = float(lg.critical_learning_rate(mode_rule, TEACHER_MODE, s))
        loss = {}
        for share in (0.98, 1.02):
            rate = share * critical
            curve = learn(rule, start, ONE_MODE[1], duration=NUM_STEPS * rate, learning_rate=rate, tolerance=0)
            loss[share] = curve.loss
        # Beyond the first steps; deviations of 1e-6 squared are seen to 1e-4 by a loss exact to 1e-16.
        assert loss[0.98][120] < 0.1 * loss[0.98][20]
        factor = np.abs(1 + 1.02 * critical * lg.spectrum(mode_rule, TEACHER_MODE, s)).max()
        assert factor > 1.001
        assert_allclose(loss[1.02][120] / loss[1.02][60], factor**120, rtol=0.02)

    @pytest.mark.parametrize("rate", [10.0, 1e300])
    def test_blowing_up_is_a_result(self, rate):
        curve = learn(lg.BPTT(), duration=NUM_STEPS * rate, learning_rate=rate)
        assert curve.outcome is Outcome.DIVERGED
        assert curve.time[-1] == rate
        assert_finite(curve)

    @pytest.mark.slow
    @pytest.mark.parametrize("rate", [10.0, 1e300])
    def test_blowing_up_with_a_finite_horizon(self, rate):
        """Where the loss itself overflows, it is infinite and not NaN."""
        curve = learn(lg.BPTT(), duration=NUM_STEPS * rate, learning_rate=rate, horizon=7)
        assert curve.outcome is Outcome.DIVERGED
        assert curve.time[-1] == rate
        assert_finite(curve)


class TestBatch:
    SCALES = (1.0, 0.8, 1.1)

    def batch(self) -> lg.LinearRNN:
        return jax.tree.map(lambda x: np.stack([scale * x for scale in self.SCALES]), PAIR[0])

    def assert_same_as_single_runs(self, curves, rules, duration):
        for seed, (scale, rule) in enumerate(zip(self.SCALES, rules, strict=True)):
            single = learn(rule, jax.tree.map(lambda x: scale * x, PAIR[0]), duration=duration)  # noqa: B023
            count = len(single.time)
            assert curves.outcome[seed] == single.outcome
            assert_array_equal(curves.time[seed, :count], single.time)
            assert_array_equal(curves.loss[seed, :count], single.loss)
            assert_array_equal(curves.time[seed, count:], single.time[-1])
            assert_array_equal(curves.loss[seed, count:], single.loss[-1])
            assert distance(jax.tree.map(lambda x: x[seed], curves.snapshots), single.snapshots) == 0  # noqa: B023
            assert_allclose(curves.conserved_drift[seed], single.conserved_drift, rtol=1e-9, atol=1e-15)
            assert_array_equal(curves.spectrum.W.rank[seed], single.spectrum.W.rank)

    def test_equals_single_runs(self):
        """To the last bit; a seed that needs fewer points repeats its last."""
        curves = learn(lg.BPTT(), self.batch(), duration=0.5)
        assert len({*curves.steps.tolist()}) > 1
        self.assert_same_as_single_runs(curves, 3 * [lg.BPTT()], 0.5)

    def test_a_feedback_for_each_seed(self):
        feedback = np.stack([FEEDBACK, -FEEDBACK, FEEDBACK[:, ::-1]])
        curves = learn(lg.RFLO(feedback, 0.4), self.batch(), duration=0.05)
        self.assert_same_as_single_runs(curves, [lg.RFLO(R, 0.4) for R in feedback], 0.05)

    def test_alignment_of_a_batch(self):
        """With a feedback a seed: sign changes of `R` are sign changes of the feedback alignment."""
        students = jax.tree.map(lambda x: np.stack([x, x]), ONE_MODE[0])
        R = align_matrix(np.array([1.0]), STUDENT_FRAMES)
        curves = learn(lg.RFLO(np.stack([R, -R]), 0.5), students, ONE_MODE[1], duration=0.01)
        assert_allclose(curves.alignment.feedback, np.broadcast_to([[[1.0]], [[-1.0]]], (2, 5, 1)), atol=1e-9)


class TestBadInput:
    @pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, None, "1", (0.1, 0.2), 1j, True])
    def test_numbers_that_must_be_positive(self, value):
        for make in (lambda x: lg.Flow(rtol=x), lambda x: lg.Flow(atol=x), lg.Steps,
                     lambda x: lg.learn(lg.BPTT(), *PAIR, duration=x)):  # fmt: skip
            with pytest.raises(ValueError, match="must be a positive finite number"):
                make(value)

    @pytest.mark.parametrize("value", [0, -1, 10.5, np.nan, 10**12])
    def test_numbers_of_steps(self, value):
        with pytest.raises(ValueError, match="max_steps must be"):
            lg.Flow(max_steps=value)

    def test_too_many_steps_of_a_learning_rate(self):
        with pytest.raises(ValueError, match=r"1e\+12 steps of 1e-12 are more than 10,000,000; shorten the duration"):
            lg.learn(lg.BPTT(), *PAIR, duration=1.0, method=lg.Steps(1e-12))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"tolerance": -1e-3}, r"tolerance must lie in \[0, 1\)"),
            ({"tolerance": np.nan}, r"tolerance must lie in \[0, 1\)"),
            ({"tolerance": 1.0}, r"tolerance must lie in \[0, 1\)"),
            ({"method": "stabilized"}, r"method must be a Flow or Steps, such as lg.Flow\(\)"),
            ({"horizon": 0}, "horizon must be a whole number"),
            ({"loss": "mean"}, "loss must be 'final' or 'sequence'"),
            *(({"save_at": times}, "save_at must be") for times in ([], 0.5, [0.0, 2.0], [-1.0], [0.5, 0.5], [np.nan])),
        ],
        ids=str,
    )
    def test_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            lg.learn(lg.BPTT(), *PAIR, **{"duration": 1.0, **settings})

    @pytest.mark.parametrize("who", [0, 1])
    def test_networks(self, who):
        for matrix, message in (
            (np.eye(4 + who), "spectral radius 1"),
            (np.full((4 + who,) * 2, np.nan), "not finite"),
        ):
            pair = list(PAIR)
            pair[who] = lg.LinearRNN(pair[who].A, matrix, pair[who].B)
            with pytest.raises(ValueError, match=message):
                lg.learn(lg.BPTT(), *pair, duration=1.0)

    def test_shapes(self):
        other = lg.random_network(1, HIDDEN, 3, key=jax.random.key(0))
        with pytest.raises(ValueError, match="student has 1 outputs"):
            lg.learn(lg.BPTT(), other, PAIR[1], duration=1.0)
        with pytest.raises(ValueError, match="the teacher is a batch"):
            lg.learn(lg.BPTT(), PAIR[0], jax.tree.map(lambda x: x[None], PAIR[1]), duration=1.0)
        with pytest.raises(ValueError, match="decay has shape"):
            lg.learn(lg.RFLO(FEEDBACK, GAMMA[:3]), *PAIR, duration=1.0)

    def test_batches(self):
        students = jax.tree.map(lambda x: np.stack([x, x, x]), PAIR[0])
        uneven = lg.LinearRNN(students.A[:2], students.W, students.B)
        for wrong in (
            uneven,
            jax.tree.map(lambda x: x[:0], students),
            jax.tree.map(lambda x: x[None], students),
            "net",
        ):
            with pytest.raises(ValueError, match=r"leading axes|not a LinearRNN"):
                lg.learn(lg.BPTT(), wrong, PAIR[1], duration=1.0)
        unstable = lg.LinearRNN(students.A, students.W * np.array([1, 1, 2])[:, None, None], students.B)
        with pytest.raises(ValueError, match=r"seed 2: the student's W has spectral radius 1\.2"):
            lg.learn(lg.BPTT(), unstable, PAIR[1], duration=1.0)

    def test_feedback_of_another_number(self):
        rule = lg.RFLO(np.stack([FEEDBACK, FEEDBACK]), 0.4)
        with pytest.raises(ValueError, match=r"feedback has 2 matrices, one a seed, for 1 student"):
            lg.learn(rule, *PAIR, duration=1.0)
        with pytest.raises(ValueError, match="feedback has shape"):
            lg.learn(lg.RFLO(FEEDBACK.T, 0.4), *PAIR, duration=1.0)

    def test_not_a_rule(self):
        with pytest.raises(ValueError, match="rule is a str, not a Rule; the order is rule, student, teacher"):
            lg.learn("bptt", *PAIR, duration=1.0)

    def test_silent_teacher(self):
        """Its output is zero though no matrix is."""
        teacher = lg.LinearRNN([[1.0, 0.0]], [[0.5, 0.0], [0.0, 0.5]], [[0.0], [1.0]])
        with pytest.raises(ValueError, match="the teacher's output is 0"):
            lg.learn(lg.BPTT(), teacher, teacher, duration=1.0)


class TestSinglePrecision:
    @staticmethod
    def pair() -> list[lg.LinearRNN]:
        return [lg.LinearRNN(*(x.astype(np.float32) for x in net)) for net in (WEAK_STUDENT, WEAK_TEACHER)]

    @pytest.mark.slow
    @pytest.mark.parametrize("x64", [True, False])
    def test_stays_single(self, x64):
        """Float32 networks stay so, whether JAX could do more or not; `1e-4` a step is what both are integrated to."""
        with jax.enable_x64(x64):
            curve = learn(lg.BPTT(), *self.pair(), duration=0.5)
        assert {x.dtype for x in jax.tree.leaves((curve.final, curve.snapshots))} == {np.dtype(np.float32)}
        assert_allclose(curve.time[-1], 0.5)
        assert_close(matrices(curve.final), matrices(learn(lg.BPTT(), duration=0.5).final), 2e-3)

    @pytest.mark.slow
    def test_mixed_networks_take_the_wider_precision(self):
        curve = learn(lg.BPTT(), self.pair()[0], PAIR[1], duration=0.05)
        assert curve.final.W.dtype == np.float64
