"""Runs as files, results that print, plot and can be read at any time, and feedback that learns."""

import json
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEEDBACK, HIDDEN, OUTPUT, STUDENT, TEACHER, network

import localgrad as lg
from localgrad.learning.runs import load_run, save

PAIR = (network(STUDENT), network(TEACHER))
RULES = {
    "bptt": lg.BPTT(),
    "rflo": lg.RFLO(FEEDBACK, 0.4),
    "tbptt": lg.TruncatedBPTT(2),
    "blend": lg.Rule(lg.Feedback.blend(0.3, FEEDBACK), lg.Propagator.blend(0.5, [0.1, 0.2, 0.3, 0.4])),
    "mirror": lg.Rule(lg.WeightMirror(FEEDBACK, 0.5) + lg.SignSymmetric(0.1), 0.3),
    "terms": lg.Rule(FEEDBACK, lg.LowRank(2) + lg.Mask(np.eye(HIDDEN)) + 0.1),
}


class Own(lg.Term):
    size: float

    def __call__(self, matrix):
        return self.size * matrix


def curve(rule, **settings):
    return lg.learn(rule, *PAIR, duration=0.05, save_at=[0.0, 0.02, 0.05], **settings)


def run(rule, student=PAIR[0], **settings):
    return lg.train(rule, student, PAIR[1], key=jax.random.key(0), learning_rate=0.01, num_steps=4, batch_size=3,
                    horizon=5, save_every=2, **settings)  # fmt: skip


def same(one, other):
    """Equal in every field, numbers bit for bit."""
    assert type(one) is type(other)
    for name in one.__dataclass_fields__:
        x, y = getattr(one, name), getattr(other, name)
        assert jax.tree.structure(x) == jax.tree.structure(y), name
        for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=name)
        assert np.asarray(x).dtype == np.asarray(y).dtype or isinstance(x, float), name


few = pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in ("rflo", "mirror") else pytest.mark.slow)
                                       for n in RULES])  # fmt: skip


@pytest.fixture(scope="module")
def mirror_curve(tmp_path_factory):
    """The file of a curve whose feedback learns."""
    path = tmp_path_factory.mktemp("runs") / "mirror.npz"
    lg.save(curve(RULES["mirror"]), path)
    return path


class TestFiles:
    @few
    def test_curves_come_back(self, name, tmp_path):
        found = curve(RULES[name])
        lg.save(found, tmp_path / "curve.npz")
        same(lg.load_run(tmp_path / "curve.npz"), found)

    @few
    def test_trainings_come_back(self, name, tmp_path):
        found = run(RULES[name])
        lg.save(found, tmp_path / "run.npz")
        loaded = lg.load_run(tmp_path / "run.npz")
        assert loaded.trainer.rule.describe() == found.trainer.rule.describe()
        np.testing.assert_array_equal(loaded.final.W, found.final.W)
        np.testing.assert_array_equal(loaded.loss, found.loss)
        assert loaded.outcome is found.outcome
        assert loaded.silent_loss == found.silent_loss
        for one, other in zip(loaded.final_rule.state, found.final_rule.state, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_steps_and_finite_horizons_come_back(self, tmp_path):
        found = curve(lg.BPTT(), method=lg.Steps(0.01), horizon=7, loss="sequence")
        lg.save(found, tmp_path / "curve.npz")
        same(lg.load_run(tmp_path / "curve.npz"), found)

    def test_one_student_is_a_teacher(self, tmp_path):
        batch = jax.tree.map(lambda x: x[None], PAIR[0])
        for found in (run(lg.BPTT()), run(lg.BPTT(), batch), curve(lg.BPTT())):
            lg.save(found, tmp_path / "run.npz")
            teacher = lg.load_teacher(tmp_path / "run.npz")
            np.testing.assert_array_equal(teacher.W, np.asarray(found.final.W).reshape(HIDDEN, HIDDEN))
            assert lg.load_run(tmp_path / "run.npz").final.W.shape == found.final.W.shape

    def test_terms_of_ones_own_need_the_rule(self, tmp_path):
        rule = lg.Rule(Own(0.5), 0.3)
        found = curve(rule)
        lg.save(found, tmp_path / "curve.npz")
        with pytest.raises(
            ValueError, match=r"its rule has the term 'Own', whose code is in no file; give the rule as"
        ):
            lg.load_run(tmp_path / "curve.npz")
        same(lg.load_run(tmp_path / "curve.npz", rule=rule), found)

    def test_what_is_no_run(self, tmp_path):
        with pytest.raises(ValueError, match="the run is a str"):
            save("run", tmp_path / "run.npz")
        with pytest.raises(ValueError, match=r"must end in .npz"):
            save(curve(lg.BPTT()), tmp_path / "run.pkl")
        with pytest.raises(ValueError, match=r"the path of a run must be the name of a file or folder, got None"):
            save(curve(lg.BPTT()), None)
        np.savez(tmp_path / "other.npz", A=np.eye(2))
        with pytest.raises(ValueError, match=r"other.npz.*it holds no run of localgrad"):
            load_run(tmp_path / "other.npz")

    def test_damaged_files_are_refused(self, tmp_path):
        lg.save(curve(lg.RFLO(FEEDBACK, 0.4)), tmp_path / "curve.npz")
        good = dict(np.load(tmp_path / "curve.npz"))
        words = json.loads(str(good["description"]))
        wrong = [{key: value for key, value in good.items() if key != name} for name in ("W", "time", "teacher.A")]
        wrong += [good | {"description": np.array(text)} for text in ("{", "[]", json.dumps(words | {"format": 9}),
                  json.dumps(words | {"rule": {}}), json.dumps(words | {"method": {"kind": "flow", "rtol": -1}}),
                  json.dumps(words | {"method": {"kind": "flow", "order": 3}}))]  # fmt: skip
        wrong += [good | {"W": np.eye(3)}, good | {"rule.propagator.decay": np.array("x")}]
        for arrays in wrong:
            np.savez(tmp_path / "wrong.npz", **arrays)
            with pytest.raises(ValueError, match=r"run '.*wrong.npz': [^\n]+$"):
                load_run(tmp_path / "wrong.npz")

    @pytest.mark.parametrize("changed", [
        {"outcome": np.array(np.inf)}, {"outcome": np.array([1, 2])}, {"time": np.zeros(2)}, {"time": np.array(1.0)},
        {"loss": np.zeros((3, 4))}, {"loss": np.array(["a"])}, {"steps": np.array(0.5)}, {"state.0": np.zeros(3)},
        {"final_state.0": np.zeros(7)}, {"snapshot_times": np.zeros(2)}, {"snapshot_times": np.arange(3.0, 0, -1)},
        {"snapshots.A": np.zeros((2, 4))}, {"A": np.zeros((2, 5))}, {"teacher.A": np.zeros((3, HIDDEN))},
        {"initial.W": np.full((HIDDEN, HIDDEN), np.nan)}, {"rule.feedback.0.state": np.zeros((9, 9))},
        {"rule.feedback.fixed": np.zeros((9, 9))}, {"description": np.array("[" * 100_000)},
        {"steps": np.array(-3)}, {"W": np.full((HIDDEN, HIDDEN), np.nan)},
    ], ids=lambda changed: "-".join(changed))  # fmt: skip
    def test_numbers_that_do_not_fit_together_are_refused(self, changed, mirror_curve, tmp_path):
        np.savez(tmp_path / "wrong.npz", **dict(np.load(mirror_curve)) | changed)
        with pytest.raises(ValueError, match=r"run '.*wrong.npz': [^\n]+$"):
            load_run(tmp_path / "wrong.npz")

    @pytest.mark.parametrize("words", [
        {"format": True}, {"duration": float("nan")}, {"duration": 10**400}, {"silent_loss": 0},
        {"rule": {"terms": {"feedback": ["Term"], "propagator": []}}}, {"rule": {"name": 3}}, {"rule": {"lags": 0.5}},
        {"rule": {"terms": {"feedback": ["_LearnedFeedback"], "propagator": []}}},
    ], ids=str)  # fmt: skip
    def test_descriptions_that_do_not_fit_are_refused(self, words, mirror_curve, tmp_path):
        good = dict(np.load(mirror_curve))
        told = json.loads(str(good["description"]))
        told |= words | {"rule": told["rule"] | words.get("rule", {})}
        np.savez(tmp_path / "wrong.npz", **good | {"description": np.array(json.dumps(told))})
        with pytest.raises(ValueError, match=r"run '.*wrong.npz': [^\n]+$"):
            load_run(tmp_path / "wrong.npz")

    def test_another_rule_than_the_runs_is_refused(self, mirror_curve):
        assert load_run(mirror_curve, rule=RULES["mirror"]).rule is RULES["mirror"]
        for rule in (lg.BPTT(), RULES["rflo"], lg.Rule(lg.WeightMirror(FEEDBACK, 0.6) + lg.SignSymmetric(0.1), 0.3)):
            with pytest.raises(ValueError, match="is not that of the run"):
                load_run(mirror_curve, rule=rule)

    def test_nothing_is_unpickled(self, tmp_path):
        lg.save(curve(lg.BPTT()), tmp_path / "curve.npz")
        with zipfile.ZipFile(tmp_path / "curve.npz") as archive:
            assert all(b"'descr': '|O'" not in archive.read(name)[:128] for name in archive.namelist())


class TestResults:
    def test_print_in_a_few_lines(self):
        batch = jax.tree.map(lambda x: jnp.stack([x, 0.5 * x]), PAIR[0])
        for found in (curve(lg.BPTT()), run(lg.BPTT()), run(lg.BPTT(), batch)):
            text = repr(found)
            assert len(text.splitlines()) == 4
            assert "BPTT: F = A, M = J, all lags" in text
            assert "unfinished" in text
            assert "of a silent student's" in text

    def test_pickle(self):
        for found in (curve(RULES["mirror"]), run(RULES["mirror"])):
            loaded = pickle.loads(pickle.dumps(found))
            np.testing.assert_array_equal(loaded.final.W, found.final.W)
            assert loaded.outcome is found.outcome

    def test_read_at_any_time(self):
        found = curve(lg.BPTT())
        np.testing.assert_allclose(found.at(found.time), found.loss, rtol=1e-12)
        middle = (found.time[0] + found.time[1]) / 2
        assert found.at(middle)[0] == pytest.approx(np.sqrt(found.loss[0] * found.loss[1]))
        trained = run(lg.BPTT(), jax.tree.map(lambda x: jnp.stack([x, 0.5 * x]), PAIR[0]))
        assert trained.at([0.0, 0.005, 0.04]).shape == (2, 3)
        for times in ([-1.0], [0.06], [0.02, 0.01], [np.nan]):
            with pytest.raises(ValueError, match="times must be ascending learning times from 0 to the duration"):
                found.at(times)

    def test_plot_themselves(self):
        for found in (curve(lg.BPTT()), run(lg.BPTT(), jax.tree.map(lambda x: jnp.stack([x, 0.5 * x]), PAIR[0]))):
            [axis] = found.plot().axes
            assert len(axis.lines) >= 2
            assert axis.get_yscale() == "log"


class TestLearningFeedback:
    """Theory: `d(A − R)/dk = −decay (A − R)` under Kolen–Pollack, `dR/dk = rate (A − R)` for the mirror."""

    def test_kolen_pollack_closes_the_gap_at_its_rate(self):
        rule, small = lg.Rule(lg.KolenPollack(0.2 * FEEDBACK, 0.5), 0.4), jax.tree.map(lambda x: 0.3 * x, PAIR[0])
        flow = lg.Flow(rtol=1e-6, atol=1e-8)
        found = lg.learn(rule, small, PAIR[1], duration=2.0, save_at=[0.0, 1.0, 2.0], method=flow)
        assert found.outcome is lg.Outcome.UNFINISHED
        gap = np.linalg.norm(found.snapshots.A - found.states[0], axis=(-2, -1))
        np.testing.assert_allclose(gap / gap[0], np.exp(-0.5 * found.snapshot_times), rtol=1e-3)
        np.testing.assert_allclose(found.feedback, found.states[0])
        np.testing.assert_allclose(found.final_rule.state[0], found.states[0][-1])

    def test_steps_are_those_of_both_updates(self):
        rule, eta = lg.Rule(lg.WeightMirror(FEEDBACK, 0.5) + lg.SignSymmetric(0.1), 0.3), 0.01
        found = lg.learn(rule, *PAIR, duration=2 * eta, method=lg.Steps(eta), horizon=6)
        student = PAIR[0]
        for _ in range(2):
            update = lg.expected_update(rule, student, PAIR[1], horizon=6)
            R = rule.state[0] - eta * 0.5 * (rule.state[0] - student.A)
            student = jax.tree.map(lambda x, d: x - eta * d, student, update)
            rule = rule.at((R,))
        np.testing.assert_allclose(found.final.W, student.W, rtol=1e-12)
        np.testing.assert_allclose(found.final_rule.state[0], rule.state[0], rtol=1e-12)

    def test_sampled_training_moves_it_too(self):
        rule = lg.Rule(lg.KolenPollack(FEEDBACK, 0.5), 0.3)
        found = run(rule)
        trainer, student = found.trainer, PAIR[0]
        state = trainer.init(student)
        for step in range(4):
            update, _ = trainer.update(jax.random.fold_in(jax.random.key(0), step), state.student, state.rule_state)
            R = state.rule_state[0] - 0.01 * (update.A + 0.5 * (state.rule_state[0] - state.student.A))
            state, _ = trainer.step(jax.random.fold_in(jax.random.key(0), step), state)
            np.testing.assert_allclose(state.rule_state[0], R, rtol=1e-12)
        np.testing.assert_allclose(found.final_rule.state[0], state.rule_state[0], rtol=1e-12)

    def test_a_stopped_training_goes_on_with_it(self, tmp_path):
        rule = lg.Rule(lg.KolenPollack(np.stack([FEEDBACK, -FEEDBACK]), 0.5), 0.3)
        batch = jax.tree.map(lambda x: jnp.stack([x, 0.5 * x]), PAIR[0])
        whole = run(rule, batch)
        settings = {"key": jax.random.key(0), "learning_rate": 0.01, "batch_size": 3, "horizon": 5, "save_every": 2}
        for steps in (2, 4):
            found = lg.train(rule, batch, PAIR[1], num_steps=steps, checkpoint=tmp_path / "c.npz", **settings)
        np.testing.assert_array_equal(found.final.W, whole.final.W)
        np.testing.assert_array_equal(found.final_rule.state[0], whole.final_rule.state[0])
        assert found.final_rule.state[0].shape == (2, OUTPUT, HIDDEN)

    @pytest.mark.slow
    def test_a_batch_is_its_single_runs(self):
        feedbacks = np.stack([FEEDBACK, -2 * FEEDBACK])
        batch = jax.tree.map(lambda x: jnp.stack([x, 0.5 * x]), PAIR[0])
        make = lambda R: lg.Rule(lg.WeightMirror(R, 0.5), 0.3)  # noqa: E731
        together = lg.learn(make(feedbacks), batch, PAIR[1], duration=0.05, save_at=[0.0, 0.05])
        for seed in range(2):
            student = jax.tree.map(lambda x: x[seed], batch)  # noqa: B023
            one = lg.learn(make(feedbacks[seed]), student, PAIR[1], duration=0.05, save_at=[0.0, 0.05])
            np.testing.assert_allclose(together.final.W[seed], one.final.W, rtol=1e-12)
            np.testing.assert_allclose(together.feedback[seed], one.feedback, rtol=1e-12)


@pytest.mark.slow
def test_exchanged_members_of_a_checkpoint_do_not_pass(tmp_path):
    """Members of two good checkpoints of one run, each with its own sum: no run wrote them together."""
    settings = {"key": jax.random.key(0), "learning_rate": 0.01, "batch_size": 3, "horizon": 5}
    for steps in (2, 4):
        lg.train(lg.BPTT(), *PAIR, num_steps=steps, checkpoint=tmp_path / f"{steps}.npz", **settings)
    early, late = (dict(np.load(tmp_path / f"{steps}.npz")) for steps in (2, 4))
    np.savez(tmp_path / "mixed.npz", **late | {"progress/student.W": early["progress/student.W"]})
    with pytest.raises(ValueError, match="its arrays do not belong together"):
        lg.train(lg.BPTT(), *PAIR, num_steps=6, checkpoint=tmp_path / "mixed.npz", **settings)
