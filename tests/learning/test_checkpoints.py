"""Checkpoints: a resumed run is the uninterrupted one, and a file that is not to be trusted is left alone."""

import io
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections import namedtuple

import equinox as eqx
import jax
import numpy as np
import pytest
from cases import FEEDBACK, HIDDEN, INPUT, OUTPUT, STUDENT, TEACHER, network

import localgrad as lg
from localgrad.files import only_writer
from localgrad.learning import checkpoints

KEY = jax.random.key(7)
RUN = {
    "rule": lg.RFLO(FEEDBACK, 0.5),
    "student": network(STUDENT),
    "task": network(TEACHER),
    "key": KEY,
    "learning_rate": 0.002,
    "num_steps": 30,
    "batch_size": 4,
    "horizon": 6,
    "save_every": 12,
    "checkpoint_every": 10,
}


def run(path=None, **changed):
    return lg.train(**RUN | {"checkpoint": path} | changed)


@pytest.fixture(scope="module")
def uninterrupted():
    return run()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


def assert_same_run(one, other):
    for x, y in zip(
        jax.tree.leaves((one.final, one.snapshots)), jax.tree.leaves((other.final, other.snapshots)), strict=True
    ):
        np.testing.assert_array_equal(x, y)
    for field in ("loss", "final_loss", "outcome", "diverged_at", "snapshot_steps"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


# --- resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped_at", [5, 10, 24, 30])
def test_a_resumed_run_is_the_uninterrupted_one(uninterrupted, path, stopped_at):
    run(path, num_steps=stopped_at)
    assert_same_run(run(path), uninterrupted)
    assert [file.name for file in path.parent.iterdir()] == ["run.npz"]


def test_a_finished_run_is_not_repeated(uninterrupted, path, monkeypatch):
    run(path)
    monkeypatch.setattr("localgrad.learning.training_loop._take_steps", None)
    assert_same_run(run(path), uninterrupted)


@pytest.mark.slow
def test_a_batch_with_a_diverged_seed_resumes(path):
    keys = jax.random.split(KEY, 3)
    batch = jax.vmap(lambda key: lg.random_network(OUTPUT, HIDDEN, INPUT, key=key, scale=0.4))(keys)
    batch = jax.tree.map(lambda x: x.at[1].multiply(1e80), batch)
    run(path, student=batch, num_steps=10)
    resumed = run(path, student=batch, num_steps=20)
    assert resumed.diverged_at.tolist() == [-1, 0, -1]
    assert_same_run(resumed, run(student=batch, num_steps=20))


def test_checkpoints_come_at_the_stated_interval_and_at_the_end(path, monkeypatch):
    steps = []
    write = checkpoints.write_checkpoint

    def spy(path, settings, progress):
        steps.append(int(progress["step"]))
        write(path, settings, progress)

    monkeypatch.setattr("localgrad.learning.running.write_checkpoint", spy)
    run(path, num_steps=25)
    assert steps == [0, 10, 20, 25]


SCRIPT = """
    import sys
    import jax
    import numpy as np
    import localgrad as lg

    teacher = lg.random_network(2, 5, 3, key=jax.random.key(0), spectral_radius=0.7)
    student = lg.random_network(2, 4, 3, key=jax.random.key(1), scale=0.4)
    run = lg.train(lg.BPTT(), student, teacher, key=jax.random.key(2), learning_rate=1e-3, num_steps=int(sys.argv[1]),
                   batch_size=4, horizon=6, checkpoint=sys.argv[2], checkpoint_every=100)
    print([np.asarray(x).tobytes().hex() for x in run.final.matrices])
"""


def start(num_steps, path):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(num_steps), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def step_of(path):
    with np.load(path) as stored:
        return int(stored["progress/step"])


@pytest.mark.slow
def test_a_killed_process_loses_at_most_an_interval(path, tmp_path):
    endless = start(10**7, path)
    deadline = time.monotonic() + 120
    while not path.exists() or step_of(path) < 300:
        assert time.monotonic() < deadline, "no checkpoint came"
        assert endless.poll() is None
        time.sleep(0.01)
    endless.send_signal(signal.SIGKILL)
    endless.wait()
    endless.stdout.close()
    reached = step_of(path)  # whole and readable, although the process was killed at any moment
    assert reached % 100 == 0
    results = []
    for place in (path, tmp_path / "straight.npz"):
        process = start(reached + 50, place)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert step_of(place) == reached + 50
        results.append(output)
    assert results[0] == results[1]


# --- files not to be trusted -----------------------------------------------------------------------------------------


def assert_refused(path, *words, **changed):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="checkpoint") as caught:
        run(path, **changed)
    message = str(caught.value)
    assert message.startswith(f"checkpoint {str(path)!r}: ")
    assert all(word in message for word in words), message
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"learning_rate": 0.003}, "learning_rate (0.002, here 0.003)"),
        ({"batch_size": 5}, "batch_size (4, here 5)"),
        ({"horizon": 7}, "horizon (6, here 7)"),
        ({"loss": "sequence"}, "loss (final, here sequence)"),
        ({"method": "recorded"}, "method (correlation, here recorded)"),
        ({"save_every": None}, "save_every (12, here 0)"),
        ({"key": jax.random.key(8)}, "key (an array of shape (2,)"),
        ({"rule": lg.RFLO(FEEDBACK, 0.6)}, "propagator.decay (0.5, here 0.6)"),
        ({"rule": lg.RFLO(2 * FEEDBACK, 0.5)}, "feedback.fixed"),
        ({"rule": lg.Rule(FEEDBACK, 0.5, 3)}, "lags (0, here 3)"),
        ({"rule": lg.BPTT()}, "feedback.symmetric"),
        ({"task": network((TEACHER[0], 0.9 * TEACHER[1], TEACHER[2]))}, "teacher.W"),
        ({"student": network((STUDENT[0], STUDENT[1], 2 * STUDENT[2]))}, "student.B"),
        ({"student": lg.LinearRNN(*(np.float32(x) for x in STUDENT))}, "student.A"),
        ({"num_steps": 9}, "it is at step 10, beyond the 9 asked for; ask for at least 10 steps"),
    ],
)
def test_other_settings_are_refused(path, changed, words):
    run(path, num_steps=10)
    assert_refused(path, words, **changed)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99, -1])
def test_a_truncated_file_is_refused(path, kept):
    run(path, num_steps=1)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    assert_refused(path, "give another file to start anew, or delete this one")


def test_a_flipped_byte_is_refused(path):
    run(path, num_steps=1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert_refused(path)


def test_another_version_is_refused(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "VERSION", 99)
        run(path, num_steps=1)
    assert_refused(path, "it has format version 99, but this localgrad reads version 2", "delete this one")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("progress/student.W", np.full((HIDDEN, HIDDEN), np.nan), "student.W is missing, misshapen or not finite"),
        ("progress/student.W", np.zeros((HIDDEN, 1)), "student.W is missing, misshapen or not finite"),
        ("progress/loss", np.zeros(3), "loss is missing, misshapen"),
        ("progress/snapshots.A", np.zeros((9, OUTPUT, HIDDEN)), "snapshots.A is missing, misshapen"),
        ("progress/diverged_at", np.zeros((), "U5"), "diverged_at is missing, misshapen"),
        ("progress/step", np.array(-1), "no step number"),
        ("progress/step", np.array("10"), "no step number"),
        ("version", np.array("one"), "not a checkpoint of localgrad"),
        ("version", None, "not a checkpoint of localgrad"),
        ("settings/horizon", None, "horizon (absent, here 6)"),
        ("settings/momentum", np.array(0.9), "momentum (0.9, here absent)"),
    ],
)
def test_what_no_run_would_write_is_refused(path, name, value, words):
    run(path, num_steps=1)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays[name] = value
    kept = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    if name not in ("version", "digest"):  # as one would who knows of the digest
        assert_refused_without_digest(path, kept)
        kept["digest"] = np.array(checkpoints._digest(kept))
    np.savez(path, **kept)
    assert_refused(path, words)


def assert_refused_without_digest(path, arrays):
    np.savez(path, **arrays)
    assert_refused(path, "its arrays do not belong together")


Usage = namedtuple("Usage", "total used free")


class Exploit:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_pickles_are_never_opened(path):
    run(path, num_steps=1)
    pickled = io.BytesIO()
    np.save(pickled, np.array([Exploit()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("progress/extra.npy", pickled.getvalue())
    assert_refused(path, "never unpickled")


def test_a_zip_bomb_is_not_unpacked(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb.npy", "w") as member:
        for _ in range(257):
            member.write(bytes(2**20))
    assert_refused(path, "claim more than", "no checkpoint")


def test_a_run_too_long_for_its_checkpoint_is_refused_before_it_starts(path):
    with pytest.raises(ValueError, match=r"would grow to [\d,]+ bytes, above the limit .* take fewer seeds"):
        run(path, num_steps=4 * 10**7, save_every=None)
    assert not path.exists()


def test_a_disk_without_room_is_found_before_computing(path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(10**6, 10**6 - 100, 100))
    with pytest.raises(ValueError, match=r"checkpoint .* take about .* bytes on the disk, but 100 bytes are free"):
        run(path)
    assert not path.exists()


def test_a_bad_place_is_found_before_computing(tmp_path, monkeypatch):
    monkeypatch.setattr("localgrad.learning.training_loop._take_steps", None)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(tmp_path / "nowhere" / "run.npz")
    with pytest.raises(ValueError, match="is a folder or device"):
        run(tmp_path)


def test_a_write_that_fails_leaves_the_old_checkpoint(path, monkeypatch):
    run(path, num_steps=10)
    before = path.read_bytes()

    def fail(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="No space left"):
        run(path)
    assert path.read_bytes() == before


def test_a_second_run_of_one_checkpoint_is_refused(path):
    with only_writer(path, "checkpoint"), pytest.raises(ValueError, match="is being written by another process"):
        run(path)
    assert not path.exists()
    run(path, num_steps=1)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


class Power(lg.Term):
    exponent: int = eqx.field(static=True)

    def __call__(self, matrix):
        return matrix**self.exponent


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        (lg.Rule(lg.LowRank(1), "diagonal"), lg.Rule(propagator="diagonal" + lg.LowRank(1))),
        (lg.Rule(Power(1)), lg.Rule(Power(2))),
        (lg.Rule(lg.WeightMirror(FEEDBACK, 0.5)), lg.Rule(lg.KolenPollack(FEEDBACK, 0.5))),
    ],
)
def test_rules_that_differ_in_what_is_no_number_do_not_continue_each_other(path, rule, other):
    run(path, rule=rule, num_steps=2)
    with pytest.raises(ValueError, match="it is of a run with other settings"):
        run(path, rule=other, num_steps=2)
