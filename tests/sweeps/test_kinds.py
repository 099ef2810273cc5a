"""The interface of a kind of run: a small one of the test's own goes through everything that knows kinds."""

import numpy as np
import pytest
from sweep_cases import changed

import localgrad as lg
from localgrad.sweeps.draws import codes_of, keys_of, normals
from localgrad.sweeps.kinds.catalogue import KINDS
from localgrad.sweeps.kinds.kind import Kind, Parameter, Variable, each_run
from localgrad.sweeps.reading import define
from localgrad.sweeps.runner import estimate


class Walk(Kind):
    """Where a drawn step, taken so many times, leads."""

    name = "walk"
    about = "walks of one step"
    parameters = {  # noqa: RUF012
        "count": Parameter(int, "steps", "steps"),
        "stride": Parameter(float, "length of a step", default=1.0),
    }
    sources = ("step",)
    variables = {"end": Variable("float64", "where the walk ends")}  # noqa: RUF012
    chunk, least_chunk, seconds = 3, 1, 1e-6

    def build(self, row):
        if row["count"] < 0:
            raise ValueError(f"count {row['count']:g} is below 0; give more steps")

    def compute(self, cells):
        def one(row, keys):
            if row["stride"] > 5:
                raise ValueError("the stride is too long")
            return {"end": row["count"] * row["stride"] * normals(np.asarray(keys["step"]))}

        return each_run(self, cells, one)


WALKS = {"kind": "walk", "run": {"stride": 2}, "axes": {"count": [1, 4], "seed": 5}}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(KINDS, "walk", Walk())


def test_a_kind_of_ones_own_is_swept(tmp_path):
    data = lg.sweep(WALKS, out=tmp_path / "walks.zarr", workers=0)
    steps = normals(keys_of(0, "step", {"seed": codes_of(np.arange(5))}, 5))
    np.testing.assert_array_equal(data.end, np.array([[2.0], [8.0]]) * steps)
    assert data["count"].attrs["units"] == "steps"


def test_what_no_run_can_have_is_refused_before_the_work():
    with pytest.raises(ValueError, match=r"axes\.count: count -1 is below 0; give more steps"):
        define(changed(WALKS, axes__count=[1, -1]), ".")


def test_a_run_that_says_it_cannot_be_computed_is_data(tmp_path):
    data = lg.sweep(changed(WALKS, run__stride=None, axes__stride=[1.0, 9.0]), out=tmp_path / "walks.zarr", workers=0)
    assert np.all(np.isnan(data.end.sel(stride=9.0)))
    assert np.all(data.status.sel(stride=9.0) == 2)
    assert np.all(data.status.sel(stride=1.0) == 1)


def test_a_settings_axis_sets_several_parameters(tmp_path):
    axes = {"way": [{"label": "short", "count": 1}, {"label": "long", "count": 4, "stride": 3.0}], "seed": 2}
    data = lg.sweep(changed(WALKS, axes=axes), out=tmp_path / "walks.zarr", workers=0)
    steps = normals(keys_of(0, "step", {"seed": codes_of(np.arange(2))}, 2))
    np.testing.assert_array_equal(data.end.sel(way="short"), 2.0 * steps)  # the stride of [run]
    np.testing.assert_array_equal(data.end.sel(way="long"), 12.0 * steps)


def test_estimates_try_runs_from_all_over_the_grid():
    found = estimate(define(WALKS, "."), at_least=0.0)
    assert (found.runs, found.chunks, found.tried) == (10, 10, 1)
    assert found.seconds(2) == pytest.approx(5 * found.seconds_a_run)
