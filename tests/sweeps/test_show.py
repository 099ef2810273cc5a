"""What `localgrad show` and `localgrad sweep` print, and the numbers behind the figures."""

import json
import pickle

import numpy as np
import pytest
from sweep_cases import MODES, changed
from typer.testing import CliRunner

import localgrad as lg
from localgrad.cli.commands import app
from localgrad.sweeps.summary import differences, marginal, measure_of, summarize

TEXT = """
kind = "modes"
[run]
a = {normal = [0.0, 1.0]}
b = {normal = [0.0, 1.0]}
w = {uniform = [-0.9, 0.9]}
teacher_w = {uniform = [-0.9, 0.9]}
feedback = 1.0
[axes]
rule = ["bptt", {label = "slow", rule = "rflo", decay = 0.9}]
scale = [1.0, 0.3]
seed = 12
"""


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show")
    (folder / "sweep.toml").write_text(TEXT)
    lg.sweep(folder / "sweep.toml", out=folder / "runs.zarr", workers=0)
    return folder / "runs.zarr"


@pytest.fixture
def data(store):
    import xarray as xr

    with xr.open_zarr(store, chunks=None) as found:
        yield found


def test_marginals_and_differences_are_means_over_the_rest(store, data):
    converged = data.outcome.values == lg.Outcome.CONVERGED
    measure = measure_of(data)
    by_scale = marginal(measure, "scale")
    assert [row["value"] for row in by_scale] == [0.3, 1.0]  # by size, not as they stand
    np.testing.assert_allclose([row["mean"] for row in by_scale], converged.mean(axis=(0, 2))[::-1])
    assert all(row["runs"] == 24 and row["low"] <= row["mean"] <= row["high"] for row in by_scale)
    [row] = differences(measure, "rule")
    assert (row["of"], row["minus"], row["seeds"]) == ("slow", "bptt", 12)
    np.testing.assert_allclose(row["mean"], converged[1].mean() - converged[0].mean())


def test_other_measures_have_medians(data):
    measure = measure_of(data, "path_length")
    found = marginal(measure, "rule")
    np.testing.assert_allclose([row["mean"] for row in found], np.median(data.path_length.values, axis=(1, 2)))
    assert marginal(measure_of(data, "path_length", logarithm=True), "rule")[0]["mean"] == pytest.approx(
        np.log10(found[0]["mean"]), abs=0.02
    )
    infinite = measure_of(data, "peak_loss")
    assert np.all(np.isfinite(infinite.values.values) | np.isnan(infinite.values.values))


@pytest.mark.parametrize(("name", "words"), [("speed", "there is no measure 'speed'"), ("status", "no measure")])
def test_measures_that_are_not_there(data, name, words):
    with pytest.raises(ValueError, match=words):
        measure_of(data, name)


def test_a_store_half_done_shows_what_there_is(store, data, tmp_path):
    half = data.copy(deep=True).load()
    half["status"][1] = 0
    half["status"][0, 0, 0] = 2
    document = summarize(half, store, measure_of(half), None)
    assert document["runs"] == {"ran": 23, "refused": 1, "missing": 24}
    assert document["marginals"]["rule"][1] == {"value": "slow", "runs": 0, "mean": None, "low": None, "high": None}
    assert document["differences"][0]["mean"] is None
    json.dumps(document, allow_nan=False)


def test_show_prints_and_draws(store, tmp_path):
    found = run("show", store, "--figures", tmp_path / "figures", "--x", "scale", "--y", "rule")
    assert found.exit_code == 0, found.output
    for words in ("48 runs", "converged", "rule", "Paired differences", "p (Holm)"):
        assert words in found.output
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["differences.png", "map.png", "marginals.png"]
    faceted = run("show", store, "--figures", tmp_path / "more", "--facet", "rule", "--measure", "path_length")
    assert faceted.exit_code == 0, faceted.output


def test_show_prints_one_document(store):
    found = json.loads(run("show", store, "--json").stdout)
    assert found["axes"] == {"rule": 2, "scale": 2, "seed": 12}
    assert found["compared"] == "rule"
    assert sum(found["outcomes"].values()) == pytest.approx(1)


def test_why_runs_were_refused_is_shown(tmp_path):
    axes = {"axes__rule": None, "run__rule": "rflo", "run__decay": 0.5, "run__feedback": None}
    lg.sweep(changed(MODES, **axes, axes__feedback=[1.0, 0.0]), out=tmp_path / "runs.zarr", workers=0)
    found = json.loads(run("show", tmp_path / "runs.zarr", "--json").stdout)
    assert found["runs"]["refused"] == 24
    assert found["refusals"] == [{"reason": found["refusals"][0]["reason"], "runs": 24}]
    assert "feedback" in found["refusals"][0]["reason"]
    assert "24 times: feedback" in run("show", tmp_path / "runs.zarr").output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--measure", "speed"], "there is no measure"),
        (["--log"], "converged is not positive throughout and has no logarithm"),
        (["--compare", "seed"], "there is no axis 'seed' to compare"),
        (["--figures", "{new}", "--x", "speed"], "--x 'speed' is no axis"),
        (["--figures", "{new}", "--x", "rule", "--facet", "rule"], "give each another axis"),
        (["--figures", "{store}"], "exists already"),
    ],
)
def test_bad_words_are_one_line(store, tmp_path, words, message):
    filled = [word.format(new=tmp_path / "new", store=store) for word in words]
    found = run("show", store, *filled)
    assert found.exit_code == 2
    assert message in found.output
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"zarr_format": 3, "node_type": "group"}'])
def test_what_is_no_store_is_one_line(tmp_path, content):
    path = tmp_path / "runs.zarr"
    if content is not None:
        path.mkdir()
        (path / "zarr.json").write_bytes(content)
    found = run("show", path)
    assert found.exit_code == 2
    assert "Traceback" not in found.output
    assert "store" in found.output


def test_a_store_that_would_run_a_pickle_is_refused(tmp_path):
    """A folder of Zarr's version 2 whose array is packed by pickle: opening it must not run what stands there."""
    marker, path = tmp_path / "ran", tmp_path / "runs.zarr"
    path.mkdir()

    class Bomb:
        def __reduce__(self):
            return marker.touch, ()

    filters = '{"id": "pickle", "protocol": 5}'
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / "status").mkdir()
    (path / "status" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["seed"]}')
    (path / "status" / ".zarray").write_text(
        '{"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": null, "fill_value": null, '
        f'"order": "C", "filters": [{filters}]}}'
    )
    (path / "status" / "0").write_bytes(pickle.dumps(Bomb()))
    found = run("show", path)
    assert found.exit_code == 2
    assert "no store of a sweep" in found.output or "cannot be opened" in found.output
    assert not marker.exists()


# --- the command that computes ---


def test_sweep_computes_continues_and_says_so(tmp_path):
    file, out = tmp_path / "sweep.toml", tmp_path / "runs.zarr"
    file.write_text(TEXT)
    first = json.loads(run("sweep", file, "--out", out, "--workers", 0, "--json").stdout)
    assert (first["runs"], first["computed"], first["refused"]) == (48, 48, 0)
    again = run("sweep", file, "--out", out, "--workers", 0)
    assert "All 48 runs are there already." in again.output
    assert run("sweep", file, "--print").stdout == TEXT


def test_what_no_run_takes_is_said(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        'kind = "modes"\n[run]\na = 0.5\nb = 0.5\nw = 0.0\nteacher_w = 0.5\ndecay = 0.3\n'
        '[axes]\nrule = ["bptt"]\nscale = [0.1, 1.0]\n'
    )
    result = run("sweep", path, "--dry-run")
    assert "note: no run takes decay, by its rule and cell; it changes nothing" in result.stderr
    path.write_text(path.read_text().replace("decay = 0.3\n", ""))
    assert "note" not in run("sweep", path, "--dry-run").stderr


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text(TEXT)
    found = json.loads(run("sweep", "sweep.toml", "--dry-run", "--workers", 2, "--json").stdout)
    assert (found["runs"], found["workers"]) == (48, 2)
    assert found["estimated_seconds"] == pytest.approx(24 * found["seconds_a_run"])
    assert "48 runs" in run("sweep", "sweep.toml", "--dry-run").output
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.toml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.toml"], "does not exist"),
        (["rule-cub"], "rule-cub"),
        (["sweep.toml", "--out", "none/runs.zarr"], "folder that does not exist"),
        (["sweep.toml", "--out", "sweep.toml"], "no store of a sweep"),
        (["sweep.toml", "--workers", "2", "--scheduler", "tcp://127.0.0.1:9"], "the scheduler has its own workers"),
        (["sweep.toml", "--workers", "-1"], "greater than or equal to 0"),
    ],
)
def test_bad_words_of_a_sweep_are_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text(TEXT)
    found = run("sweep", *words)
    assert found.exit_code == 2
    assert message in found.output
    assert "Traceback" not in found.output
