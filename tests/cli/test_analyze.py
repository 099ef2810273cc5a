"""`localgrad analyze`: modes, symmetric matrices, aligned and other networks, and what it refuses."""

import json
import os
import re
import warnings

import jax
import numpy as np
import pytest
from test_cli import assert_one_line_error, run

import localgrad as lg
from localgrad.models.aligned import aligned_network, random_frames
from localgrad.modes.stability import convergence_rate, spectrum
from localgrad.tasks.teachers import aligned_modes

TIGHT = 1e-12  # orthogonal products of a few numbers of size 1


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def analyze(*arguments):
    """The JSON document; standard output must hold it and nothing else."""
    result = run("analyze", "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def refused(*arguments, words=()):
    assert_one_line_error(run("analyze", *arguments), *words)


def symmetric(n=4, seed=0, radius=0.8):
    rng = np.random.default_rng(seed)
    P, _ = np.linalg.qr(rng.normal(size=(n, n)))
    w = np.linspace(radius, -0.5, n)
    return (P * w) @ P.T, w


def save_network(path, network):
    np.savez(path, A=np.asarray(network.A), W=np.asarray(network.W), B=np.asarray(network.B))


PLANTED = lg.Mode(np.array([2.0, 1.2, 0.5]), np.array([1.0, 0.7, 0.4]), np.array([0.3, -0.6, 0.9]))


def planted_network(output=3, hidden=5, input=4, seed=0):
    frames = random_frames(output, hidden, input, key=jax.random.key(seed))
    return aligned_network(PLANTED, frames)


# --- a mode as teacher -----------------------------------------------------------------------------------------------


def test_a_mode():
    document = analyze("--rule", "rflo", "--feedback", 1.5, "--decay", 0.5, "--teacher", "1,-2,0.8")
    assert document["teacher"] == [1.0, -2.0, 0.8]
    [analysis] = document["analyses"]
    assert analysis["rule"] == "RFLO: F = 1.5, M = 0.5·I, all lags"
    assert [m["name"] for m in analysis["fixed_points"]] == ["optimal"]
    rule, teacher = lg.RFLO(1.5, 0.5), lg.Mode(1.0, -2.0, 0.8)
    for point in analysis["optimal_solutions"]:
        values = spectrum(rule, teacher, point["s"])
        np.testing.assert_array_equal([complex(*x) for x in point["eigenvalues"]], values)
        assert point["convergence_rate"] == -values[1].real
        assert point["stable"] is bool(values[1].real < 0)
        assert (point["critical_learning_rate"] > 0) is point["stable"]
    assert {point["stable"] for point in analysis["optimal_solutions"]} == {True, False}


def test_the_default_rules_of_a_mode_as_text():
    result = run("analyze", "--teacher", "1,1,0.8")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("BPTT", "tBPTT(1)", "RFLO"))
    assert "silent: (0, 0, w), loss 1.389 at w = 0" in result.stdout  # 1/(2 (1 − 0.64))
    assert "unstable" in result.stdout


def test_parameters_reach_the_rules_that_take_them():
    document = analyze("--rule", "tbptt", "--rule", "eprop", "--lags", 3, "--feedback", 0.5, "--teacher", "1,1,0.5")
    assert [x["rule"] for x in document["analyses"]] == [
        "tBPTT(3): F = A, M = J, 3 lags",
        "e-prop (random): F = 0.5, M = diag J, all lags",
    ]


# --- a network as teacher --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".txt"])
def test_a_symmetric_matrix(suffix):
    W, w = symmetric()
    if suffix == ".npy":
        np.save("brain.npy", W)
    else:
        np.savetxt(f"brain{suffix}", W, delimiter="," if suffix == ".csv" else " ", fmt="%.17g")
    document = analyze("--teacher", f"brain{suffix}", "--figure", "modes.svg")
    assert document["aligned"] is True
    assert document["sizes"] == {"output": 4, "hidden": 4, "input": 4}
    np.testing.assert_allclose(document["spectral_radius"], 0.8, rtol=TIGHT)
    np.testing.assert_allclose([mode["w_star"] for mode in document["modes"]], w, atol=TIGHT)
    for mode in document["modes"]:
        assert mode["c"] == pytest.approx(1.0, rel=TIGHT)
        teacher = lg.Mode(1.0, 1.0, mode["w_star"])
        for rule in (lg.BPTT(), lg.TruncatedBPTT(1), lg.RFLO(1.0, 0.5)):
            expected = float(convergence_rate(rule, teacher, 1.0))
            assert mode["rates"][rule.name] == pytest.approx(expected, rel=1e-9)
    assert document["silent_modes"] == 0
    with open("modes.svg") as stream:
        assert "<svg" in stream.read()


def test_scaling_to_a_spectral_radius():
    W, w = symmetric(radius=3.0)
    np.savetxt("W.csv", W, delimiter=",")
    refused("--teacher", "W.csv", words=["spectral radius 3", "--spectral-radius"])
    document = analyze("--teacher", "W.csv", "--spectral-radius", 0.95)
    np.testing.assert_allclose([mode["w_star"] for mode in document["modes"]], w * 0.95 / 3, atol=1e-9)


def test_an_aligned_network_in_nontrivial_frames(tmp_path):
    save_network("aligned.npz", planted_network())
    document = analyze("--teacher", "aligned.npz", "--figure", tmp_path / "modes.png")
    np.testing.assert_allclose([mode["w_star"] for mode in document["modes"]], PLANTED.w, atol=TIGHT)
    np.testing.assert_allclose([mode["c"] for mode in document["modes"]], PLANTED.a * PLANTED.b, atol=TIGHT)
    assert document["sizes"] == {"output": 3, "hidden": 5, "input": 4}
    assert (tmp_path / "modes.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "modes.png").stat().st_size > 10_000


def test_the_tables_of_an_aligned_network():
    save_network("aligned.npz", planted_network())
    result = run("analyze", "--teacher", "aligned.npz", "--rule", "rflo", "--feedback", -1, "--decay", 0.5)
    assert result.exit_code == 0
    assert "data-aligned" in result.stdout
    assert "unstable" in result.stdout
    assert "Figure" not in result.stdout  # none was asked for
    assert os.listdir() == ["aligned.npz"]


def test_silent_modes_are_counted_and_left_out():
    frames = random_frames(3, 3, 3, key=jax.random.key(1))
    save_network("some.npz", aligned_network(PLANTED._replace(a=np.array([2.0, 0.0, 0.5])), frames))
    document = analyze("--teacher", "some.npz")
    assert (len(document["modes"]), document["silent_modes"]) == (2, 1)
    assert "1 modes with a* b* = 0" in run("analyze", "--teacher", "some.npz").stdout


def test_a_network_that_is_not_aligned(tmp_path):
    np.save("W.npy", symmetric()[0] + np.triu(np.full((4, 4), 0.05), 1))
    document = analyze("--teacher", "W.npy", "--rule", "bptt", "--rule", "rflo", "--feedback", 1, "--decay", 0.5)
    assert document["aligned"] is False
    assert "not symmetric" in document["reason"]
    bptt, rflo = document["cosines"]
    assert bptt["mean"] == pytest.approx(1.0, abs=TIGHT)
    assert -1 <= rflo["min"] <= rflo["mean"] <= rflo["max"] < 0.99
    text = run("analyze", "--teacher", "W.npy", "--rule", "bptt").stdout
    assert "not data-aligned" in " ".join(text.split())  # lines are wrapped
    assert list(tmp_path.iterdir()) == [tmp_path / "W.npy"]  # no figure


def test_cosines_do_not_depend_on_the_scalar_feedback():
    # A number has no meaning as feedback of a network; the command draws a matrix instead.
    np.save("W.npy", symmetric()[0] + np.triu(np.full((4, 4), 0.05), 1))
    one, other = (
        analyze("--teacher", "W.npy", "--rule", "rflo", "--decay", 0.5, "--feedback", x)["cosines"] for x in (1, 5)
    )
    assert one == other


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--teacher", "1,1,0.8", "--rule", "rflo"],
            ["rule 'rflo' needs decay, feedback; give --decay and --feedback"],
        ),
        (["--teacher", "1,1,0.8", "--rule", "rflo", "--feedback", 1], ["rule 'rflo' needs decay; give --decay"]),
        (["--teacher", "1,1,0.8", "--rule", "bptt", "--decay", 0.5], ["--decay 0.5", "not a parameter of bptt"]),
        (["--teacher", "1,1,0.8", "--rule", "bptt", "--lags", 2], ["--lags 2", "leave it out"]),
        (["--teacher", "1,1,0.8", "--rule", "tbptt", "--lags", 0], ["lags", "at least 1", "0"]),
        (["--teacher", "1,1,0.8", "--rule", "nonsense"], ["unknown rule 'nonsense'", "three-factor"]),
        (["--teacher", "1,1,0.8", "--rule", "eprop", "--feedback", 0], ["--feedback 0", "other than 0"]),
        (
            ["--teacher", "1,1,0.9", "--rule", "rflo", "--feedback", 1, "--decay", 1.2],
            ["--decay 1.2", "between -1 and 1"],
        ),
        (["--teacher", "1,1,0.8", "--spectral-radius", 0.9], ["--spectral-radius", "single mode", "leave it out"]),
        (["--teacher", "1,1,0.8", "--figure", "x.png"], ["--figure x.png", "leave it out"]),
        (["--teacher", "0,1,0.8"], ["teacher a* b* = 0", "other than 0"]),
        (["--teacher", "1e200,1e200,0.8"], ["teacher a* b* = inf"]),
        (["--teacher", "1e200,1,0.5"], ["eigenvalues leave double precision"]),
        (["--teacher", "1,1,0.8", "--rule", "rflo", "--feedback", "nan", "--decay", 0.5], ["--feedback nan", "finite"]),
        (["--teacher", "1,1,1"], ["w* = 1", "between -1 and 1"]),
        (["--teacher", "1,1"], ["2 value(s)"]),
        (["--teacher", "missing.npz"], ["missing.npz", "does not exist"]),
    ],
)
def test_what_is_refused(arguments, words):
    refused(*arguments, words=words)


@pytest.mark.parametrize("scale", [1e100, 1e160])
@pytest.mark.parametrize("slant", [0.0, 0.1])
def test_no_table_shows_what_is_not_a_number(scale, slant):
    W = np.array([[0.3, 0.2 + slant], [0.2, 0.5]])
    np.savez("large.npz", A=scale * np.eye(2), W=W, B=1e100 * np.eye(2))
    for form in ([], ["--json"]):
        result = run("analyze", "--teacher", "large.npz", *form)
        if result.exit_code == 0:
            assert "nan" not in result.stdout.lower()
        else:
            assert_one_line_error(result, "rescale" if "rescale" in result.stderr else "nearer to 1")


def test_rules_are_known_in_any_case_and_taken_once():
    document = analyze("--rule", "BPTT", "--rule", "bptt", "--rule", "RfLo", "--feedback", 1, "--decay", 0.5,
                       "--teacher", "1,1,0.5")  # fmt: skip
    assert [x["rule"].partition(":")[0] for x in document["analyses"]] == ["BPTT", "RFLO"]


def test_networks_that_are_refused(tmp_path):
    W, _ = symmetric()
    np.save("W.npy", W)
    np.savez("unstable.npz", A=np.eye(4), W=2 * W, B=np.eye(4))
    refused("--teacher", "unstable.npz", words=["spectral radius 1.6", "--spectral-radius"])
    np.savez("mute.npz", A=np.zeros((2, 4)), W=W, B=np.eye(4))
    refused("--teacher", "mute.npz", words=["every mode", "a* b* = 0", "give a teacher"])
    refused("--teacher", "W.npy", "--figure", "modes.pdf", words=["'modes.pdf'", ".png or .svg"])
    refused("--teacher", "W.npy", "--figure", "nowhere/modes.png", words=["nowhere/modes.png", "does not exist"])
    refused(
        "--teacher", "W.npy", "--rule", "rflo", "--feedback", 0, "--decay", 0.5, words=["--feedback 0", "other than 0"]
    )
    assert {path.name for path in tmp_path.iterdir()} == {"W.npy", "unstable.npz", "mute.npz"}


# --- aligned_modes ---------------------------------------------------------------------------------------------------


def rebuilt(modes, frames, sizes):
    """`U Ā Pᵀ`, `P W̄ Pᵀ`, `P B̄ Vᵀ` with the bars read off the modes."""
    U, P, V = frames
    count = len(modes.w)
    return (U[:, :count] * modes.a) @ P[:, :count].T, (P[:, :count] * modes.b) @ V[:, :count].T


@pytest.mark.parametrize("sizes", [(3, 3, 3), (3, 5, 4), (6, 4, 3), (4, 7, 7)])
def test_planted_modes_and_frames_come_back(sizes):
    network = planted_network(*sizes)
    modes, frames = aligned_modes(network)
    assert len(modes.w) == min(sizes)
    for found, planted in zip(modes, PLANTED, strict=True):
        np.testing.assert_allclose(found[:3], planted, atol=TIGHT)
    for frame, size in zip(frames, sizes, strict=True):
        assert frame.shape == (size, size)
        np.testing.assert_allclose(frame.T @ frame, np.eye(size), atol=TIGHT)
    A, B = rebuilt(modes, frames, sizes)
    np.testing.assert_allclose(A, network.A, atol=TIGHT)
    np.testing.assert_allclose(B, network.B, atol=TIGHT)
    W = frames.P @ np.diag(np.diag(frames.P.T @ np.asarray(network.W) @ frames.P)) @ frames.P.T
    np.testing.assert_allclose(W, network.W, atol=TIGHT)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_modes_are_ordered_by_strength_at_any_scale(scale):
    network = planted_network(3, 6, 3)
    modes, _ = aligned_modes(lg.LinearRNN(scale * network.A, network.W, scale * network.B))
    np.testing.assert_allclose(modes.a * modes.b, scale**2 * PLANTED.a * PLANTED.b, rtol=1e-9)


def test_signs_are_in_the_frames():
    frames = random_frames(3, 3, 3, key=jax.random.key(2))
    signed = PLANTED._replace(a=PLANTED.a * np.array([1, -1, -1]), b=PLANTED.b * np.array([-1, -1, 1]))
    network = aligned_network(signed, frames)
    modes, found = aligned_modes(network)
    assert np.all(modes.a > 0)
    assert np.all(modes.b > 0)
    np.testing.assert_allclose(rebuilt(modes, found, network.sizes)[0], network.A, atol=TIGHT)


def test_silent_modes_with_half_their_weights():
    # One mode is heard, one has no readout, one no input: zero columns stand before others.
    frames = random_frames(3, 3, 3, key=jax.random.key(3))
    half = lg.Mode(np.array([1.0, 0.0, 0.8]), np.array([1.0, 0.6, 0.0]), np.array([0.1, 0.7, 0.4]))
    network = aligned_network(half, frames)
    modes, found = aligned_modes(network)
    np.testing.assert_allclose(modes.a, half.a, atol=TIGHT)
    np.testing.assert_allclose(modes.b, half.b, atol=TIGHT)
    A, B = rebuilt(modes, found, network.sizes)
    np.testing.assert_allclose(A, network.A, atol=TIGHT)
    np.testing.assert_allclose(B, network.B, atol=TIGHT)
    for frame in found:
        np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=TIGHT)


def test_no_modes_at_all():
    modes, frames = aligned_modes(lg.LinearRNN(np.zeros((2, 3)), np.diag([0.5, 0.2, 0.1]), np.zeros((3, 2))))
    np.testing.assert_array_equal(modes.a * modes.b, 0)
    np.testing.assert_allclose(frames.U.T @ frames.U, np.eye(2), atol=TIGHT)


@pytest.mark.parametrize(
    ("A", "W", "B", "words"),
    [
        (np.eye(2), [[0.5, 0.2], [0.1, 0.3]], np.eye(2), "W is not symmetric: W[0, 1] and W[1, 0] differ by 0.1"),
        ([[1.0, 1.0]], np.diag([0.5, 0.3]), np.eye(2), "the readout A mixes eigenvectors of W (overlap 1)"),
        (np.eye(2), np.diag([0.5, 0.3]), [[1.0], [2.0]], "the input B mixes eigenvectors of W (overlap 2)"),
    ],
)
def test_why_a_network_is_not_aligned(A, W, B, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        aligned_modes(lg.LinearRNN(A, W, B))


def test_a_subject_of_a_stack():
    W, w = symmetric()
    np.save("stack.npy", np.stack([W / 2, W, np.zeros((4, 4))]))
    refused("--teacher", "stack.npy", words=["stack of 3 networks", "--subject K"])
    document = analyze("--teacher", "stack.npy", "--subject", 1)
    np.testing.assert_allclose([mode["w_star"] for mode in document["modes"]], w, atol=TIGHT)
    refused("--teacher", "1,1,0.8", "--subject", 0, words=["--subject is for the matrix of a file"])


def test_a_directed_network_has_a_figure_and_names_what_comes_next():
    W, _ = symmetric()
    np.save("directed.npy", W + np.triu(np.full((4, 4), 0.01), 1))
    result = run("analyze", "--teacher", "directed.npy", "--spectral-radius", 0.9, "--figure", "plane.svg")
    assert result.exit_code == 0
    command = "localgrad train --rule rflo --decay 0.5 --teacher directed.npy --spectral-radius 0.9"
    assert command in result.stdout
    assert "Figure: plane.svg" in result.stdout
    assert "RFLO: F = " in result.stdout  # a drawn matrix
    assert "RFLO: F = 1" not in result.stdout
    with open("plane.svg") as stream:
        assert "<svg" in stream.read()
    trained = run(*command.split()[1:], "--steps", 2, "--json")
    assert trained.exit_code == 0


def test_a_warning_is_one_line():
    np.savetxt("W.csv", [[np.nan, 0.5], [0.5, np.nan]], delimiter=",")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = run("analyze", "--teacher", "W.csv", "--json")
    assert result.stderr == "warning: the 2 missing entries on the diagonal of W are read as 0\n"
    assert json.loads(result.stdout)["aligned"]


def test_a_task_without_modes():
    """In a closed loop even BPTT, on its own network, does not follow the gradient."""
    document = analyze("--task", "point-mass", "--rule", "bptt")
    assert document["closed_loop"]
    assert document["sizes"] == {"output": 1, "state": 2, "input": 2}
    [row] = document["cosines"]
    assert 0.5 < row["mean"] < 1 - 1e-3
    assert document["next"].endswith("--task point-mass")
    assert "closed loop" in run("analyze", "--task", "point-mass", "--rule", "bptt").stdout


def test_a_task_with_modes():
    document = analyze("--task", "integrator", "--rule", "bptt")
    assert document["modes"][0]["w_star"] == pytest.approx(0.9)
    refused("--task", "integrator", "--teacher", "1,1,0.8", words=["exactly one"])
    refused("--task", "integrator", "--spectral-radius", "0.5", words=["--spectral-radius is for a teacher's matrix"])
