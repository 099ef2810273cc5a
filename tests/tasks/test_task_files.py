"""Tasks from TOML files: each kind is its builder's task, and what is wrong is one sentence with the line and key."""

import jax
import numpy as np
import pytest
from cases import TEACHER, network

import localgrad as lg
from localgrad.tasks.examples import EXAMPLES

TABLE = "{A = [[1.0, 0.5]], W = [[0.5, 0.0], [0.1, 0.3]], B = [[1.0], [2.0]]}"
NETWORK = ([[1.0, 0.5]], [[0.5, 0.0], [0.1, 0.3]], [[1.0], [2.0]])
FILES = {
    "integrator": ("leak = 0.25\nchannels = 2", lambda net: lg.tasks.integrator(0.25, channels=2)),
    "oscillator": ("period = 12\ndecay = 0.9 # a comment", lambda net: lg.tasks.oscillator(12, 0.9)),
    "delay_line": ("weights = {1 = 0.5, 4 = 1}", lambda net: lg.tasks.delay_line({1: 0.5, 4: 1.0})),
    "delay_line ": ("[weights]\n2 = [[1.0, 0.0]]", lambda net: lg.tasks.delay_line({2: [[1.0, 0.0]]})),
    "white_noise_teacher": (f"teacher = {TABLE}", lambda net: lg.tasks.white_noise_teacher(net)),
    "coloured_teacher": (f"colour = 0.5\nteacher = {TABLE}", lambda net: lg.tasks.coloured_teacher(net, 0.5)),
    "closed_loop": (
        "regulate = [[1.0, 1.0]]\nsensor_noise = [0.1, 0.2]\nplant = {step = 0.2, damping = 1.0}",
        lambda net: lg.tasks.closed_loop(
            lg.tasks.point_mass(0.2, damping=1.0), regulate=[[1.0, 1.0]], sensor_noise=[0.1, 0.2]
        ),
    ),
    "closed_loop ": (
        f"imitate = [[1.0, 0.0]]\nplant = {TABLE}",
        lambda net: lg.tasks.closed_loop(net, imitate=[[1, 0]]),
    ),
    "linear": (
        "dynamics = [[0.5]]\nnoise = [[1.0]]\nto_input = [[1]]\nto_target = [[2.0]]\nfrom_output = [[0.1]]",
        lambda net: lg.LinearTask([[0.5]], [[1.0]], [[1.0]], None, [[2.0]], [[0.1]]),
    ),
}


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_a_call_of_a_builder(kind, tmp_path):
    text, made = FILES[kind]
    (tmp_path / "task.toml").write_text(f'kind = "{kind.strip()}"\n{text}\n')
    assert_same(lg.tasks.load_task(tmp_path / "task.toml"), made(lg.LinearRNN(*NETWORK)))


def test_a_teacher_in_a_file_beside_it(tmp_path):
    np.savez(tmp_path / "net.npz", **dict(zip("AWB", TEACHER, strict=True)))
    (tmp_path / "task.toml").write_text('kind = "white_noise_teacher"\nteacher = "net.npz"')
    assert_same(lg.tasks.load_task(str(tmp_path / "task.toml")), lg.tasks.white_noise_teacher(network(TEACHER)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_named_tasks_are_stable(name):
    task = lg.tasks.load_task(name)
    assert lg.spectral_radius(task.dynamics) < 1


REFUSED = {
    "type": ('kind = "integrator"\n\nleak = "x"', "line 3: leak: give a number; got 'x'"),
    "bool": ('kind = "integrator"\nleak = true', "line 2: leak: give a number; got 'True'"),
    "not-finite": ('kind = "integrator"\nleak = nan', "line 2: leak: give a finite number; got 'nan'"),
    "unknown-key": ('kind = "integrator"\nleek = 0.5', "line 2: leek: there is no such key"),
    "missing": ('kind = "oscillator"\nperiod = 5', "decay: it is missing; give it"),
    "no-kind": ("leak = 0.5", "kind: give the kind of task, one of integrator, "),
    "unknown-kind": ('kind = "integrater"', "line 1: kind: there is no 'integrater'; give one of integrator, "),
    "domain": ('kind = "integrator"\nleak = 1.5', r"line 2: leak must be one number in \(0, 1\].*got 1\.5"),
    "form": ('kind = "white_noise_teacher"\nteacher = 3', "line 2: teacher: give the name of a weight file"),
    "nested": ('kind = "closed_loop"\nregulate = [[1, 1]]\n[plant]\nstep = 0.2\nstiffness = "high"',
               r"line 5: plant\.stiffness: give a number; got 'high'"),
    "part-missing": ('kind = "closed_loop"\n[plant]\nA = [[1.0]]\nW = [[0.5]]', r"line 2: plant\.B: it is missing"),
    "fraction": ('kind = "delay_line"\nweights = {1.5 = 1.0}', r"line 2: weights.*: give .*"),
    "shapes": ('kind = "linear"\ndynamics = [[0.5]]\nnoise = [[1.0]]\nto_target = [[1.0, 2.0]]',
               r"line 4: to_target \(Y, output × state\) .* shape \(1, 2\)"),
    "no-toml": ("kind = integrator\n", r"it is no TOML \(.* line 1"),
    "code": ('kind = "__import__"\nname = "os"', "there is no '__import__'"),
    "empty": ("", "it is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_with_line_and_key(case, tmp_path):
    text, words = REFUSED[case]
    (tmp_path / "task.toml").write_text(text)
    with pytest.raises(ValueError, match=words) as raised:
        lg.tasks.load_task(tmp_path / "task.toml")
    assert str(raised.value).startswith("task file '")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["integrato", "nowhere.toml", "task.json"])
def test_what_is_no_task(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"neither a \.toml file nor|does not exist"):
        lg.tasks.load_task(name)
