"""Results of the mode functions: they know their problem, print in a few lines, read at any time, plot and pickle."""

import pickle

import jax
import numpy as np
import pytest

import localgrad as lg
from localgrad import Mode

TEACHER, START, RULE = Mode(1.0, 1.0, 0.8), Mode(1.0, 1.0, 0.6), lg.RFLO(-1.0, 0.5)


@pytest.fixture(scope="module")
def path():
    return lg.learn_mode(RULE, START, TEACHER, duration=100.0)


@pytest.fixture(scope="module")
def run():
    return lg.integrate_modes(RULE, Mode(1.0, 1.0, [0.6, 0.7]), TEACHER, duration=100.0, save_at=[0.0, 1.0])


@pytest.fixture(scope="module")
def results(path, run):
    line = lg.boundary(lg.BPTT(), Mode(-1.0, 0.5, 0.0), Mode(1.0, 0.5, 0.0), Mode(1.0, 1.0, 0.0), samples=5)
    fixed = lg.fixed_points(lg.Rule(lg.Feedback(1.0, -0.5)), TEACHER)
    search = lg.search_fixed_points(RULE, TEACHER, num_starts=5)
    return [path, run, line, *fixed, search, lg.slowest_point(lg.BPTT(), TEACHER), path.at([0.0, 1.0])]


def leaves(result):
    """All arrays and numbers in a result, whatever holds them."""
    values = vars(result).values() if hasattr(result, "__dict__") else [result]
    return [x for x in jax.tree.leaves(list(values)) if isinstance(x, np.ndarray | float | int | str)]


def test_every_result_pickles(results):
    for result in results:
        again = pickle.loads(pickle.dumps(result))
        assert type(again) is type(result)
        assert repr(again) == repr(result)
        for x, y in zip(leaves(again), leaves(result), strict=True):
            np.testing.assert_array_equal(x, y)


def test_every_rule_pickles():
    rules = [lg.BPTT(), lg.TruncatedBPTT(3), RULE, lg.EProp(), lg.FeedbackAlignment(1.0), lg.ThreeFactor(1.0)]
    rules += [lg.Rule(lg.Feedback.blend(0.5, 1.0), lg.Propagator.blend(0.5, 0.5))]
    for rule in rules:
        again = pickle.loads(pickle.dumps(rule))
        assert again.describe() == rule.describe()
        assert lg.mode_update(again, START, TEACHER) == lg.mode_update(rule, START, TEACHER)


def test_pickled_manifolds_still_compute():
    for manifold in lg.fixed_points(lg.Rule(lg.Feedback(1.0, -0.5)), TEACHER):
        again = pickle.loads(pickle.dumps(manifold))
        np.testing.assert_array_equal(np.stack(again.at(np.array([0.3, 0.5]))), manifold.at(np.array([0.3, 0.5])))


def test_results_print_in_a_few_lines(results):
    for result in results:
        assert len(repr(result).splitlines()) <= 8
        assert len(repr(result)) < 700


def test_trajectories_and_ensembles_name_their_problem(path, run):
    for text in (repr(path), repr(run)):
        assert RULE.describe() in text
        assert "converged" in text
    assert (path.initial, path.teacher, path.settings["duration"]) == (START, TEACHER, 100.0)
    assert (run.teacher, run.settings["duration"]) == (TEACHER, 100.0)


def test_a_trajectory_reads_at_any_time(path):
    times = np.linspace(0, 3, 40)
    read, direct = path.at(times), lg.integrate_modes(RULE, START, TEACHER, duration=3.0, rtol=1e-9, save_at=times)
    # Its steps are interpolated with order 3; near the turn of the detour that costs four digits.
    np.testing.assert_allclose(np.stack(read.modes), np.stack(direct.saved), atol=2e-3)
    np.testing.assert_allclose(read.loss, lg.mode_loss(read.modes, TEACHER))
    assert read.path_length[-1] == pytest.approx(np.interp(3.0, path.time, path.path_length), rel=1e-3)
    ends = path.at([0.0, path.time[-1], 100.0])
    np.testing.assert_array_equal(np.stack(ends.modes)[:, 0], START)
    np.testing.assert_allclose(np.stack(ends.modes)[:, 1:], np.stack([path.final] * 2, axis=1), rtol=1e-12)
    np.testing.assert_allclose(ends.path_length[1:], path.path_length[-1])
    at_rest = lg.learn_mode(lg.BPTT(), TEACHER, TEACHER, duration=10.0).at([0.0, 5.0])
    np.testing.assert_array_equal(at_rest.modes.w, 0.8)
    np.testing.assert_array_equal(at_rest.path_length, 0.0)


def test_an_ensemble_reads_at_any_time(run):
    again = run.at([0.0, 0.5, 1.0])
    np.testing.assert_array_equal(again.saved.w[:, [0, 2]], run.saved.w)
    np.testing.assert_array_equal(again.saved.w[:, 0], [0.6, 0.7])
    np.testing.assert_array_equal(again.outcome, run.outcome)


@pytest.mark.parametrize("times", [[-1.0], [2.0, 1.0], [200.0], [np.nan], [], "soon", None])
def test_times_outside_are_refused(path, run, times):
    for result in (path, run):
        with pytest.raises(ValueError, match=r"times|save_at"):
            result.at(times)


def test_results_plot(path, run):
    for result in (path, run):
        figure = result.plot()
        assert len(figure.axes) == 2
        assert all(ax.get_xlabel() or ax.get_ylabel() for ax in figure.axes)


def test_maps_describe_themselves(tmp_path):
    axis = np.array([-1.0, 1.0])
    maps = [lg.basins(RULE, TEACHER, a=axis, b=axis, w=0.0, store=store) for store in (None, tmp_path / "map.zarr")]
    maps.append(lg.sample_basins(RULE, TEACHER, num_starts=3, low=Mode(-1, -1, 0), high=(1, 1, 0.5)))
    for data in maps:
        assert set(data.variables) >= {"a", "b", "w", "outcome", "branch", "time", "path_length", "peak_loss"}
        for name in data.variables:
            assert data[name].attrs["long_name"], name
            assert data[name].attrs["units"], name
        assert data.attrs["rule_key"] == "rflo"
        assert list(data.attrs["teacher"]) == list(TEACHER)
