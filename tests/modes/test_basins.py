"""Basin maps: every start ends as a single trajectory does, and a streamed map is the map in memory."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from typer.testing import CliRunner

import localgrad.modes.basins as module
from localgrad import BPTT, RFLO, Mode, Outcome, learn_mode
from localgrad.cli.commands import app
from localgrad.cli.maps import parse_axis
from localgrad.figures.looks import OUTCOME_KINDS
from localgrad.modes.basins import basins, sample_basins
from localgrad.reproduction.theory.basin_maps import draw_basin, kinds

TEACHER = Mode(1.0, 1.0, 0.8)
AXIS = np.linspace(-2.1, 1.9, 6)


@pytest.mark.parametrize("rule", [BPTT(), RFLO(1.0, 0.5)], ids=lambda rule: rule.name)
def test_map_agrees_with_single_trajectories(rule):
    data = basins(rule, TEACHER, a=AXIS, b=0.7, w=[-0.5, 0.3], duration=200.0, rtol=1e-7)
    assert data.outcome.dims == ("a", "w")
    for a in AXIS[::2]:
        for w in (-0.5, 0.3):
            single, here = learn_mode(rule, Mode(a, 0.7, w), TEACHER, duration=200.0), data.sel(a=a, w=w)
            assert Outcome(int(here.outcome)) is single.outcome
            assert int(here.branch) == single.branch
            if single.outcome is Outcome.CONVERGED:
                # Both stop at a small loss, not the same one; the way left from there is short.
                assert float(here.path_length) == pytest.approx(single.path_length[-1], rel=1e-3)


def test_streamed_map_is_the_map_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 12)  # several blocks, the last one smaller
    options = {"a": AXIS, "b": AXIS[:5], "w": 0.1, "duration": 50.0}
    finished = []
    stored = basins(RFLO(1.0, 0.5), TEACHER, **options, store=tmp_path / "map.zarr", progress=finished.append)
    expected = basins(RFLO(1.0, 0.5), TEACHER, **options)
    xr.testing.assert_equal(stored.drop_vars("w", errors="ignore").load(), expected.drop_vars("w"))
    assert sum(finished) == 30
    assert max(finished) == 10
    assert stored.attrs["rule"] == expected.attrs["rule"]
    assert [path.name for path in tmp_path.iterdir()] == ["map.zarr"]
    with pytest.raises(ValueError, match=r"map\.zarr' exists already; remove it or name another"):
        basins(RFLO(1.0, 0.5), TEACHER, **options, store=tmp_path / "map.zarr")


def test_interrupted_map_does_not_look_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 6)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        basins(BPTT(), TEACHER, a=AXIS, b=AXIS, w=0.0, store=tmp_path / "map.zarr", progress=stop)
    assert not list(tmp_path.iterdir())


def test_sample_is_in_its_box_and_reproducible():
    low, high = Mode(0.2, 0.2, -0.9), Mode(2.0, 2.0, 0.9)
    first, second = (sample_basins(BPTT(), TEACHER, num_starts=50, low=low, high=high, seed=3) for _ in range(2))
    xr.testing.assert_identical(first, second)
    for name, x, y in zip("abw", low, high, strict=True):
        assert ((first[name] >= x) & (first[name] <= y)).all()
    assert (first.outcome == Outcome.CONVERGED).all()


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"a": [[1.0]], "b": 1.0, "w": 0.0}, r"axis a has shape \(1, 1\); give a number"),
        ({"a": 1.0, "b": [], "w": 0.0}, r"axis b has shape \(0,\); give a number"),
    ],
)
def test_bad_axes(axes, words):
    with pytest.raises(ValueError, match=words):
        basins(BPTT(), TEACHER, **axes)


def test_bad_sample():
    with pytest.raises(ValueError, match="num_starts must be a whole number of at least 1, got 0"):
        sample_basins(BPTT(), TEACHER, num_starts=0, low=Mode(0, 0, 0), high=Mode(1, 1, 0.5))


def test_kinds_follow_outcome_and_branch():
    data = xr.Dataset({"outcome": ("x", [0, 0, 1, 2, 3]), "branch": ("x", [1, -1, 0, 0, 0])})
    assert kinds(data).values.tolist() == list(range(len(OUTCOME_KINDS)))


def test_figure_of_a_slice():
    data = basins(RFLO(1.0, 0.5), TEACHER, a=AXIS, b=AXIS, w=0.0, duration=50.0)
    assert isinstance(draw_basin(data.transpose("b", "a")), Figure)


@pytest.mark.parametrize("text", ["x", "1,2,3", "nan", "2,1", ""])
def test_bad_axis_words(text):
    with pytest.raises(ValueError, match=f"--a '{text}'"):
        parse_axis("a", text, 3)


def test_command_makes_figure_and_document(tmp_path):
    figure = tmp_path / "map.png"
    words = ["basin", "--rule", "rflo", "--feedback", "1", "--decay", "0.5", "--teacher", "1,1,0.8", "--grid", "20"]
    result = CliRunner().invoke(app, [*words, "--figure", str(figure)])
    assert result.exit_code == 0, result.output
    assert "400 starts" in result.stdout
    assert "Figure: " in result.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_command_writes_only_what_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["basin", "--rule", "bptt", "--teacher", "1,1,0.8", "--grid", "5"])
    assert result.exit_code == 0
    assert "25 starts" in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--w", "-1,1"], "--w '-1,1' must lie strictly between -1 and 1"),
        (["--w", "-0.5,0.5", "--figure", "map.png"], "a figure shows two axes"),
        (["--grid", "100000000"], "10,000,000,000,000,000 starts take 280,000,000 GB of memory"),
        (["--grid", "100000000", "--store", "map.zarr"], "starts take about 14,000,000 GB on the disk"),
        (["--rule", "rflo", "--feedback", "1", "--decay", "1.5"], "--decay 1.5 lets traces grow without bound"),
        (["--rule", "tbptt", "--lags", "-1"], "--lags -1 must be at least 1"),
        (["--teacher", "1,1,2"], "teacher w* = 2 must lie strictly between"),
        (["--duration", "0"], "duration must be positive"),
        (["--figure", "map.pdf"], "must end in .png or .svg"),
        (["--figure", "nowhere/map.png"], "is in a folder that does not exist"),
        (["--b", "1", "--figure", "map.png"], "a figure shows two axes, not 1; make two of --a, --b, --w ranges"),
    ],
)
def test_command_refuses_bad_words(words, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["basin", "--rule", "bptt", "--teacher", "1,1,0.8", "--grid", "5", *words])
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert not list(tmp_path.iterdir())
