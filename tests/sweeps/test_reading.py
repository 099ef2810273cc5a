"""Files of sweeps: what they may say, and that what is wrong is one sentence with the line and the key."""

from pathlib import Path

import numpy as np
import pytest
from sweep_cases import MODES, changed

import localgrad as lg
from localgrad.sweeps.kinds.catalogue import KINDS
from localgrad.sweeps.reading import define, read_definition
from localgrad.sweeps.shipped import shipped_sweep, shipped_sweeps

TEXT = """kind = "modes"
[run]
rule = "bptt"
a = 0.5
b = 0.5
w = 0.0
teacher_w = 0.5

[axes]
scale = [0.1, 1.0]
seed = 3
"""


def written(tmp_path, text):
    path = tmp_path / "sweep.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_and_a_mapping_are_the_same(tmp_path):
    found = read_definition(written(tmp_path, TEXT))
    document = {
        "kind": "modes",
        "run": {"rule": "bptt", "a": 0.5, "b": 0.5, "w": 0, "teacher_w": 0.5},
        "axes": {"scale": np.array([0.1, 1.0]), "seed": 3},
    }
    other = define(document, Path())
    assert found.identity == other.identity
    assert [axis.identity for axis in found.axes] == [axis.identity for axis in other.axes] == [[0.1, 1.0], 3]
    assert found.shape == (2, 3)


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ({"from": 0.5, "to": 1.5, "num": 3}, [0.5, 1.0, 1.5]),
        ({"from": 0.1, "to": 10.0, "num": 3, "spacing": "log"}, [0.1, 1.0, 10.0]),
        ([1, 2.5], [1.0, 2.5]),
    ],
)
def test_axes_of_numbers(form, values):
    [axis, _] = define(changed(MODES, axes__scale=form, axes__rule=None, run__rule="bptt"), Path()).axes
    np.testing.assert_allclose(axis.labels, values, rtol=1e-15)


def test_drawn_axes_are_prolonged_not_changed():
    def values(num):
        form = {"log_uniform": [0.1, 10.0], "num": num}
        return define(changed(MODES, axes__scale=form), Path()).axes[1].labels

    np.testing.assert_array_equal(values(5), values(9)[:5])
    assert len(np.unique(values(9))) == 9
    assert np.all((values(9) > 0.1) & (values(9) < 10))


def test_words_and_settings_have_labels():
    rule, scale, seed = define(MODES, Path()).axes
    assert list(rule.labels) == ["bptt", "fast", "slow"]
    assert rule.settings[1] == {"rule": "rflo", "decay": 0.1}
    assert seed.settings is None
    assert scale.identity == [0.3, 1.0]


def test_python_objects_on_an_axis():
    document = changed(MODES, axes__rule=[lg.BPTT(), lg.RFLO(1.0, 0.5)])
    [rule, *_] = define(document, Path()).axes
    assert list(rule.labels) == ["bptt", "rflo"]
    other = define(changed(MODES, axes__rule=[lg.BPTT(), lg.RFLO(1.0, 0.6)]), Path()).axes[0]
    assert rule.texts[0] == other.texts[0]
    assert rule.texts[1] != other.texts[1]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"modes"', '"mods"', 1, "there is no kind of run 'mods'; give one of modes, flow, train"),
        ("[run]", "colour = 3\n[run]", 2, "colour: there is no such key in this table"),
        ("a = 0.5", "a = 0.5\nmass = 1.0", 5, "run.mass: there is no such name here"),
        ("a = 0.5", 'a = "big"', 4, "run.a: give a number; got 'big'"),
        ("a = 0.5", "a = true", 4, "run.a: give a number"),
        ("a = 0.5", "a = nan", 4, "run.a: give a finite number"),
        ("a = 0.5\n", "", 2, "run.a: it is missing; give the readout of the start"),
        ("a = 0.5", "a = {normal = [0.0, -1.0]}", 4, "a normal distribution has a deviation of at least 0"),
        ("a = 0.5", "a = {uniform = [1.0, 0.0]}", 4, "must rise"),
        ("w = 0.0", "w = 0.0\nduration = -1.0", 7, "run.duration: give a number above 0"),
        ("teacher_w = 0.5", "teacher_w = 1.0", 7, "run.teacher_w: give a number below 1"),
        ('"bptt"', '"bppt"', 3, "unknown rule 'bppt'"),
        ('"bptt"', '"rflo"', 10, "the rule needs a fixed feedback"),
        ("[0.1, 1.0]", "[]", 10, "axes.scale: it is empty; give at least one value"),
        ("[0.1, 1.0]", "[0.1, -1.0]", 10, "axes.scale: give a number above 0"),
        ("[0.1, 1.0]", "[0.1, 0.1]", 10, "stands twice"),
        ("[0.1, 1.0]", "0.1", 10, "axes.scale"),
        ("[0.1, 1.0]", "5", 10, "only seed takes a count"),
        ("[0.1, 1.0]", "{from = 0.0, to = 1.0, num = 3, spacing = 'log'}", 10, "positive ends"),
        ("[0.1, 1.0]", "{from = 0.0, num = 3}", 10, "it is missing"),
        ("seed = 3", "seed = 0", 11, "axes.seed: give a number of at least 1"),
        ("seed = 3", "seed = [1, 2]", 11, "give a number of repetitions"),
        ("seed = 3", "seed = true", 11, "give a number of repetitions, such as 20, not True"),
        ("seed = 3", "seed = 3.0", 11, "give a number of repetitions, such as 20, not 3.0"),
        ("[0.1, 1.0]", '"all"', 10, "give a list, a range or a distribution, not 'all'"),
        ("[0.1, 1.0]", "{from = -1e308, to = 1e308, num = 3}", 10, "too wide for a computer's numbers"),
        ("[0.1, 1.0]", '[{label = "x", colour = 2}]', 10, "axes.scale.colour: there is no such name here"),
        ("[0.1, 1.0]", '[{label = ""}]', 10, "is no word of one line"),
        ("[0.1, 1.0]", '[{label = "a\\nb"}]', 10, "is no word of one line"),
        ("[0.1, 1.0]", '[{label = ["a"]}]', 10, "a label is a word, not ['a']"),
        ("a = 0.5", "a = {normal = [0.0, 1.0, 2.0]}", 4, "give no more than 2 values, not 3"),
        ("w = 0.0", "w = 0.0\nduration = {normal = [1.0, 1.0]}", 7, "run.duration: give a number above 0"),
        ("teacher_w = 0.5", "teacher_w = {uniform = [-2.0, 2.0]}", 7, "run.teacher_w: give a number above -1"),
        ("seed = 3", "decay = [0.1, 0.5]", 11, "axes.decay: no run takes it, by its rule and cell"),
        ("seed = 3", "speed = [1.0]", 11, "there is no such parameter"),
        ("seed = 3", "a = [1.0]", 4, "it stands in [run] and in [axes]"),
        ("seed = 3", "seed = 3\n[draws]\nstudent = []", 13, "nothing is drawn there"),
        ("a = 0.5", "a = {normal = [0, 1]}\n[draws]\na = ['speed']\n[other]", 4, ""),
        ("[axes]", "[axis]", 9, "there is no such key"),
        ("[run]", "[run", 2, "it is no TOML"),
    ],
)
def test_faults_are_named_with_line_and_key(tmp_path, old, new, line, words):
    assert old in TEXT
    with pytest.raises(ValueError, match="sweep") as caught:
        read_definition(written(tmp_path, TEXT.replace(old, new)))
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    if "TOML" not in words and words:
        assert f"line {line}:" in message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, "an axis is called by letters") for name in ("a/b", "..", ".localgrad", "zarr.json", "", "x" * 80)),
        ("time", "the store has a variable of that name"),
        ("status", "the store has a variable of that name"),
    ],
)
def test_names_of_axes_that_a_store_cannot_hold(name, words):
    with pytest.raises(ValueError, match=words):
        define(changed(MODES, run__rule="bptt", axes={name: [{"label": "one", "scale": 1.0}], "seed": 2}), Path())
    plain = changed(MODES, run__rule="bptt", axes={"größe x-1": [{"label": "klein ✓", "scale": 1.0}], "seed": 2})
    assert list(define(plain, Path()).axes[0].labels) == ["klein ✓"]


def test_a_grid_that_no_one_can_run_is_refused_with_its_count(tmp_path):
    huge = "{from = 0.1, to = 1.0, num = 100000}"
    text = TEXT.replace("[0.1, 1.0]", huge).replace("w = 0.0\n", "").replace("seed = 3", f"w = {huge}\nseed = 100000")
    with pytest.raises(ValueError, match=r"1,000,000,000,000,000 runs, about \d+ years of one core"):
        read_definition(written(tmp_path, text))


def test_a_single_axis_beyond_memory_is_refused(tmp_path):
    with pytest.raises(ValueError, match="more than 100,000,000; split it over two axes"):
        read_definition(written(tmp_path, TEXT.replace("seed = 3", "seed = 1000000000")))


def test_a_file_is_data_and_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    text = TEXT.replace('"bptt"', f"\"__import__('pathlib').Path('{marker}').touch()\"")
    with pytest.raises(ValueError, match="unknown rule"):
        read_definition(written(tmp_path, text))
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b""])
def test_what_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "sweep.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="sweep"):
        read_definition(path)


@pytest.mark.parametrize("name", shipped_sweeps())
def test_shipped_sweeps_are_sound(name):
    definition = read_definition(shipped_sweep(name))
    assert definition.title
    assert definition.size >= 100


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_kinds_describe_all_they_take_and_record(kind):
    assert all(p.about and p.units for p in kind.parameters.values())
    assert all(v.about and v.units for v in kind.variables.values())
    assert not set(kind.variables) & (set(kind.parameters) | {"status", "seed"} - {"loss"}) - {"loss"}
