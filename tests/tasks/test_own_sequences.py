"""Sequences of one's own: arrays, files that nobody vouches for, environments; what no network can learn from."""

import io
import pickle
import sys
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in_digits import CLASSES as CLASSES_OF_DIGITS
from stand_in_digits import IMAGES, modules

import localgrad as lg

RNG = np.random.default_rng(0)
INPUTS, TARGETS = RNG.normal(size=(4, 5, 2)), RNG.normal(size=(4, 5, 1))
CLASSES = RNG.integers(0, 3, (4, 5))


def with_entry(array, index, value):
    changed = np.array(array, float)
    changed[index] = value
    return changed


# --- arrays ----------------------------------------------------------------------------------------------------------


def test_a_batch_draws_rows():
    task = lg.tasks.from_arrays(INPUTS, TARGETS)
    batch = task.sample(jax.random.key(0), 200)
    rows = [int(np.flatnonzero((x == INPUTS).all((1, 2)))[0]) for x in np.asarray(batch.inputs)]
    assert set(rows) == {0, 1, 2, 3}
    assert np.array_equal(batch.targets, TARGETS[rows])
    assert len(task) == 4


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
@settings(max_examples=8)
def test_sequences_may_end_early(lengths):
    inputs = [np.full((n, 2), i + 1.0) for i, n in enumerate(lengths)]
    targets = [np.full((n, 1), i + 1.0) for i, n in enumerate(lengths)]
    task = lg.tasks.from_arrays(inputs, targets)
    assert task.inputs.shape == (len(lengths), max(lengths), 2)
    assert np.array_equal(np.asarray(task.mask).sum(1), lengths)
    assert np.array_equal(
        np.asarray(task.inputs)[..., 0], np.asarray(task.mask) * np.arange(1, len(lengths) + 1)[:, None]
    )


def test_what_comes_after_an_early_end_does_not_count():
    """The update on a short sequence and a long one is the mean of those on each alone."""
    lengths, network = (3, 6), lg.Network(lg.cells.LeakyRate([[0.5]], [[1.0]], None, leak=0.5), lg.Readout([[1.0]]))
    inputs, targets = ([RNG.normal(size=(n, 1)) for n in lengths] for _ in range(2))
    task = lg.tasks.from_arrays(inputs, targets)
    found, _ = lg.network_update(lg.BPTT(), network, task.inputs, task.targets, mask=task.mask)
    alone = [lg.network_update(lg.BPTT(), network, x[None], y[None])[0] for x, y in zip(inputs, targets, strict=True)]
    mean = (alone[0].layers[0].W + alone[1].layers[0].W) / 2
    np.testing.assert_allclose(found.layers[0].W, mean, rtol=1e-12)


def test_one_class_a_sequence_counts_in_its_last_step():
    task = lg.tasks.from_arrays([np.ones((3, 1)), np.ones((2, 1))], [1, 0], loss="cross_entropy", num_classes=4)
    assert task.num_outputs == 4
    assert task.mask.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert task.targets.tolist() == [[1, 1, 1], [0, 0, 0]]


BAD = {
    "shapes": ((INPUTS[0], TARGETS), {}, r"sequence 0 of the inputs has shape \(2,\); give \(time, channels\)"),
    "number": ((INPUTS, TARGETS[:3]), {}, "there are 4 sequences of inputs, but 3 of targets; give as many"),
    "length": ((INPUTS, TARGETS[:, :4]), {}, "sequence 0 has 5 steps of inputs, but 4 of targets; give as many"),
    "widths": (
        ([np.ones((2, 2)), np.ones((3, 1))], [np.ones((2, 1)), np.ones((3, 1))]), {},
        "sequence 1 of the inputs has 1 channels, but sequence 0 has 2; give all of them as many",
    ),
    "empty": (([], []), {}, "the inputs hold no sequences; give an array of them"),
    "no steps": ((INPUTS[:, :0], TARGETS[:, :0]), {}, r"sequence 0 of the inputs has shape \(0, 2\)"),
    "nan": (
        (with_entry(INPUTS, (2, 1, 0), np.nan), TARGETS), {},
        "sequence 2 of the inputs has an entry that is not finite; give finite numbers",
    ),
    "infinite target": (
        (INPUTS, with_entry(TARGETS, (3, 0, 0), np.inf)), {}, "sequence 3 of the targets has an entry",
    ),
    "words": ((INPUTS, [["a"]]), {}, "targets"),
    "silent mask": (
        (INPUTS, TARGETS, with_entry(np.ones((4, 5)), 1, 0.0)), {},
        "the mask of sequence 1 is 0 throughout; give at least one step that counts",
    ),
    "negative mask": (
        (INPUTS, TARGETS, with_entry(np.ones((4, 5)), (0, 2), -1.0)), {}, "the mask of sequence 0 has a negative entry",
    ),
    "short mask": ((INPUTS, TARGETS, np.ones((4, 4))), {}, "sequence 0 has 5 steps of inputs, but 4 of the mask"),
    "class": (
        (INPUTS, with_entry(CLASSES, (1, 2), 3)), {"loss": "cross_entropy", "num_classes": 3},
        "a target of sequence 1 is 3, no class; give whole numbers from 0 to 2",
    ),
    "negative class": (
        (INPUTS, with_entry(CLASSES, (1, 2), -1)), {"loss": "cross_entropy"}, "a target of sequence 1 is -1, no class",
    ),
    "half a class": (
        (INPUTS, with_entry(CLASSES, (1, 2), 0.5)), {"loss": "cross_entropy"}, "a target of sequence 1 is 0.5, no",
    ),
    "loss": ((INPUTS, TARGETS), {"loss": "mae"}, "loss must be 'mse' or 'cross_entropy', got 'mae'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_no_network_can_learn_from_is_refused(name):
    arguments, options, message = BAD[name]
    with pytest.raises(ValueError, match=message) as error:
        lg.tasks.from_arrays(*arguments, **options)
    assert "\n" not in str(error.value)


# --- files -----------------------------------------------------------------------------------------------------------


def header(shape, dtype="<f8"):
    """The bytes of an `.npy` file that claims a shape, without the numbers."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


def test_a_file_is_its_arrays(tmp_path):
    mask = np.ones((4, 5))
    mask[:, 0] = 0
    np.savez(tmp_path / "mse.npz", inputs=INPUTS, targets=TARGETS, mask=mask, other=["ignored"])
    task = lg.tasks.from_npz(tmp_path / "mse.npz")
    for found, given_ in ((task.inputs, INPUTS), (task.targets, TARGETS), (task.mask, mask)):
        assert np.array_equal(found, given_)
    np.savez_compressed(tmp_path / "classes.npz", inputs=INPUTS.astype("f4"), targets=CLASSES.astype("u1"))
    task = lg.tasks.from_npz(tmp_path / "classes.npz", loss="cross_entropy")
    assert (task.num_outputs, task.loss) == (3, "cross_entropy")
    assert np.array_equal(task.targets, CLASSES)


LIES = {
    "claims terabytes": (header((10**6, 10**6)), r"inputs claims shape \(1000000, 1000000\), above the limit"),
    "claims more than there is": (header((4, 5, 2)) + bytes(80), "inputs claims shape .* but 80 bytes follow"),
    "claims less than there is": (header((1, 1, 1)) + bytes(80), "inputs claims shape .* but 80 bytes follow"),
    "negative": (header((-4, 5, 2)), "inputs claims shape|inputs is damaged"),
    "objects": (npy(np.array([{"a": 1}], object)), "inputs holds Python objects, which are never unpickled"),
    "words": (npy(np.array([["a"]])), "inputs has entries of type <U1; save it as real numbers"),
    "complex": (npy(np.ones((1, 1, 1), complex)), "inputs has entries of type complex128"),
    "nothing": (b"", "inputs is damaged, half-written or no .npy array at all"),
    "a pickle": (pickle.dumps([1, 2]), "inputs is damaged, half-written or no .npy array at all"),
    "nan": (npy(np.full((4, 5, 2), np.nan)), "sequence 0 of the inputs has an entry that is not finite"),
}


@pytest.mark.parametrize("name", LIES)
def test_archives_that_lie_are_refused(name, tmp_path):
    data, message = LIES[name]
    path = archive(tmp_path / "lies.npz", inputs=data, targets=npy(TARGETS))
    with pytest.raises(ValueError, match=f"file of sequences .*lies.npz'?: {message}") as error:
        lg.tasks.from_npz(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_bomb_is_not_unpacked(tmp_path):
    """A megabyte that claims, and unpacks to, a gigabyte."""
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("inputs.npy", "w", force_zip64=True) as member,
    ):
        member.write(header((2**27, 1, 1)))
        for _ in range(16):
            member.write(bytes(2**20))
    archive_targets = zipfile.ZipFile(path, "a")
    archive_targets.writestr("targets.npy", npy(TARGETS))
    archive_targets.close()
    with pytest.raises(ValueError, match=r"inputs claims shape .* above the limit"):
        lg.tasks.from_npz(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "it does not exist"),
        (lambda path: path.mkdir(), "it is a folder or device, not a file"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"PK\x03\x04 and no more"), "it is damaged, half-written or no zip archive"),
        (lambda path: archive(path, inputs=npy(INPUTS)), "it has no array targets; save inputs and targets"),
        (lambda path: archive(path, other=npy(INPUTS)), "it has no array inputs"),
    ],
)
def test_files_that_hold_no_sequences_are_refused(make, message, tmp_path):
    path = tmp_path / "data.npz"
    make(path)
    with pytest.raises(ValueError, match=message):
        lg.tasks.from_npz(path)


# --- environments ----------------------------------------------------------------------------------------------------


class Space:
    n = 3

    def seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def sample(self):
        return int(self.rng.integers(3))


class Stepped:
    """In the form of Gymnasium: say the number that was seen; it ends early, after 2 to 5 steps."""

    action_space = Space()

    def reset(self, seed=None):
        self.rng = np.random.default_rng(seed)
        self.left = int(self.rng.integers(2, 6))
        self.seen = int(self.rng.integers(3))
        return np.eye(3)[self.seen], {}

    def step(self, action):
        right, self.left = self.seen, self.left - 1
        self.seen = int(self.rng.integers(3))
        return np.eye(3)[self.seen], 0.0, self.left == 0, False, {"gt": right}


def test_an_environment_with_steps_gives_what_was_right_then():
    task = lg.tasks.from_environment(Stepped(), num_trials=10, seed=1)
    assert (task.num_inputs, task.num_outputs, task.loss) == (3, 3, "cross_entropy")
    lengths = np.asarray(task.mask).sum(1)
    assert set(lengths) <= {2, 3, 4, 5}
    assert len(set(lengths)) > 1
    counts = np.asarray(task.mask) > 0
    assert np.array_equal(np.asarray(task.inputs).argmax(-1)[counts], np.asarray(task.targets)[counts])
    again = lg.tasks.from_environment(Stepped(), num_trials=10, seed=1)
    assert np.array_equal(task.inputs, again.inputs)
    assert lg.tasks.from_environment(Stepped(), num_trials=10, max_steps=2).inputs.shape[1] == 2


def test_an_environment_with_trials_gives_them_whole():
    class Trials:
        def __init__(self):
            self.unwrapped, self.resets, self.seeds = self, [], []

        def reset(self, seed=None):
            self.resets.append(seed)

        def seed(self, seed):
            self.seeds.append(seed)

        def new_trial(self):
            self.ob, self.gt = np.ones((4, 2)), np.linspace(0, 1, 4)

    environment = Trials()
    task = lg.tasks.from_environment(environment, num_trials=2, seed=7)
    assert (environment.resets, environment.seeds) == ([7], [7])
    assert (task.loss, task.num_outputs) == ("mse", 1)
    assert np.array_equal(task.targets[1, :, 0], np.linspace(0, 1, 4))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "the environment is a Odd, which has neither new_trial nor reset and step"),
        ({"new_trial": lambda self: None}, r"trial 0 of the environment has ob of shape \(\)"),
        ({"reset": lambda self, seed: (np.ones(1), {}), "step": lambda self, a: None}, "has no action_space"),
        (
            {
                "reset": lambda self, seed: (np.ones(1), {}),
                "step": lambda self, a: (np.ones(1), 0.0, True, False, {}),
                "action_space": Space(),
            },
            r"a step of the environment tells no info\['gt'\]",
        ),
    ],
)
def test_what_is_no_environment_is_refused(attributes, message):
    with pytest.raises(ValueError, match=message):
        lg.tasks.from_environment(type("Odd", (), attributes)(), num_trials=1)


# --- digits ----------------------------------------------------------------------------------------------------------


def test_digits_come_in_sequence(monkeypatch):
    for name, module in modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    task = lg.tasks.digits()
    assert (task.inputs.shape, task.num_outputs) == ((1437, 64, 1), 10)
    assert np.array_equal(task.inputs[3, :, 0], IMAGES[3].ravel() / 16)
    assert np.all(np.asarray(task.mask).argmax(1) == 63)
    held_out = lg.tasks.digits("row", "testing")
    assert held_out.inputs.shape == (360, 8, 8)
    assert np.array_equal(held_out.targets[:, -1], CLASSES_OF_DIGITS[1437:])


def test_digits_without_scikit_learn_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ValueError, match="the digits come with scikit-learn, which is not installed"):
        lg.tasks.digits()
    with pytest.raises(ValueError, match="by must be 'pixel' or 'row', got 'column'"):
        lg.tasks.digits("column")
