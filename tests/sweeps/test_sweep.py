"""A sweep is the same, bit for bit, whatever its chunks, their order and the number of restarts; and it is what the
engines compute when they are called directly."""

import pickle
import warnings

import jax
import numpy as np
import pytest
from sweep_cases import MODES, changed, data_files

import localgrad as lg
from localgrad.sweeps.draws import codes_of, keys_of, mix, normals, uniforms
from localgrad.sweeps.kinds.students import network_rule, student_of
from localgrad.sweeps.kinds.tasks import jax_key, task_of
from localgrad.sweeps.plan import RAN, REFUSED, compute, make_plan
from localgrad.sweeps.reading import define
from localgrad.sweeps.runner import jobs_of
from localgrad.sweeps.store import open_store
from localgrad.tasks.linear_sequences import linear_sequences

NETWORKS = {
    "kind": "flow",
    "run": {"task": {"random": [1, 2, 1], "spectral_radius": 0.5}, "hidden": 2, "duration": 20.0},
    "axes": {"rule": ["bptt", {"label": "rflo", "rule": "rflo", "decay": 0.5}], "seed": 2},
}
TRAINING = changed(
    NETWORKS, kind="train", run__duration=None, run__learning_rate=0.01, run__num_steps=20, run__batch_size=4,
    run__horizon=10,
)  # fmt: skip


CELLS = changed(TRAINING, axes__rule=["rflo"], run__decay=0.5, axes__seed=1, axes__cell=[
    "linear", {"label": "leaky", "cell": "leaky", "leak": 0.5}, "diagonal"])  # fmt: skip


NONLINEAR = changed(TRAINING, axes__rule=["rflo", "bptt"], run__decay="internal", axes__seed=2, axes__cell=[
    {"label": "tanh", "cell": "tanh", "leak": 0.5}, {"label": "lif", "cell": "lif", "leak": 0.1}, "gru", "lru",
])  # fmt: skip


def values_of(data):
    return {name: data[name].values for name in data.data_vars}


def assert_same(one, other):
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep computed in one go, in one chunk."""
    out = tmp_path_factory.mktemp("whole") / "runs.zarr"
    lg.sweep(changed(MODES, chunk=1000), out=out, workers=0)
    return out


# --- numbers ---


def test_random_numbers_are_those_of_splitmix():
    """The published first numbers of a SplitMix64 generator that starts at 1234567."""
    steps = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert mix(np.uint64(1234567) + steps).tolist() == expected


def test_draws_have_their_distributions():
    keys = keys_of(0, "a", {"seed": codes_of(np.arange(20_000))}, 20_000)
    x, u = normals(keys, 2), uniforms(keys)
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02
    assert abs(np.corrcoef(x.T)[0, 1]) < 0.03
    assert np.all((u > 0) & (u < 1))
    np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0], 2000, rtol=0.1)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.03


def test_keys_hang_on_coordinates_and_nothing_else():
    seeds, scales = codes_of(np.arange(6)), codes_of([0.5, 1.0])
    keys = keys_of(3, "a", {"seed": seeds, "scale": np.repeat(scales, 3)}, 6)
    other = keys_of(3, "a", {"scale": scales[:1], "seed": seeds[1:2]}, 1)
    assert keys[1] == other[0]
    assert len({*keys, *keys_of(3, "b", {"seed": seeds}, 6), *keys_of(4, "a", {"seed": seeds}, 6)}) == 18
    assert codes_of([1, 2]).tolist() == codes_of([1.0, 2.0]).tolist()
    assert codes_of([0.0]).tolist() == codes_of([-0.0]).tolist()


# --- what is computed ---


def test_runs_are_those_of_the_engine(whole):
    """Starts drawn here anew, and integrated in one call a rule."""
    data = lg.sweep(changed(MODES, chunk=1000), out=whole, workers=0)
    seeds = {"seed": codes_of(np.arange(12))}
    drawn = {name: keys_of(0, name, seeds, 12) for name in ("a", "b", "w", "teacher_w")}
    a, b = normals(drawn["a"]), normals(drawn["b"])
    w, w_star = (0.9 * (2 * uniforms(drawn[name]) - 1) for name in ("w", "teacher_w"))
    for i, rule in enumerate((lg.BPTT(), lg.RFLO(1.0, 0.1), lg.RFLO(1.0, 0.9))):
        for j, scale in enumerate((0.3, 1.0)):
            start = lg.Mode(scale * a, scale * b, w)
            run = lg.integrate_modes(rule, start, lg.Mode(1.0, 1.0, w_star), duration=200.0, rtol=1e-5)
            np.testing.assert_array_equal(data.outcome.values[i, j], run.outcome)
            np.testing.assert_allclose(data.time.values[i, j], run.time, rtol=1e-6)


@pytest.mark.slow
def test_runs_of_networks_are_those_of_the_engine(tmp_path):
    data = lg.sweep(NETWORKS, out=tmp_path / "runs.zarr", workers=0)
    seeds = {"seed": codes_of(np.arange(2))}
    keys = {name: keys_of(0, name, seeds, 2) for name in ("task", "student", "feedback")}
    for seed in range(2):
        teacher = lg.random_network(1, 2, 1, key=jax_key(int(keys["task"][seed])), spectral_radius=0.5)
        student = lg.random_network(1, 2, 1, key=jax_key(int(keys["student"][seed])), scale=0.3)
        feedback = normals(keys["feedback"][seed], 2).reshape(1, 2) / np.sqrt(2)
        for place, rule in enumerate((lg.BPTT(), lg.RFLO(feedback, 0.5))):
            curve = lg.learn(rule, student, teacher, duration=20.0)
            assert data.outcome.values[place, seed] == curve.outcome
            np.testing.assert_allclose(data.loss.values[place, seed], curve.loss[-1] / curve.silent_loss, rtol=1e-12)


def test_cells_are_made_of_one_draw():
    """A leaky student has the weights of the linear one; a layer half as many poles, inside their ring."""
    box = define(changed(CELLS, axes__rule=["bptt"], run__hidden=6), ".")
    box = box.box(box.axes)
    keys = {name: box.keys(name)[0] for name in ("student", "task", "feedback")}
    task = task_of(box.row(0), keys)
    linear, leaky, layer = (student_of(box.row(i), keys, task) for i in range(3))
    assert [type(x) for x in (linear, leaky, layer)] == [lg.LinearRNN, lg.LeakyRNN, lg.DiagonalSSM]
    np.testing.assert_array_equal(linear.W, leaky.W)
    assert float(leaky.leak[0]) == 0.5
    assert layer.poles.shape == (3,)
    assert np.all((np.abs(layer.poles) > 0.5) & (np.abs(layer.poles) < 0.9) & (layer.poles.imag > 0))
    assert network_rule(box.row(2) | {"rule": "three-factor"}, keys, layer).lags == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run__hidden": 3, "axes__cell": ["diagonal"]}, "give an even number"),
        ({"axes__cell": ["leaky"]}, "leaky cells need a leak"),
        ({"axes__cell": ["square"]}, "axes.cell: give one of"),
        ({"axes__cell": ["tanh"]}, "tanh cells need a leak"),
        ({"axes__cell": ["lif"], "run__leak": 1.0}, "give less"),
        ({"axes__cell": ["lru"], "run__hidden": 3}, "give an even number"),
        ({"axes__cell": ["gru", "linear"], "axes__leak": [0.1, 0.2]}, r"axes\.leak: no run takes it"),
        ({"axes__cell": ["gru"], "run__task": "point-mass"}, "the task hears the student's output"),
        ({"axes__decay": ["external"], "run__decay": None}, 'give a finite number, or "internal"'),
    ],
)
def test_cells_that_cannot_be_made(change, words):
    with pytest.raises(ValueError, match=words):
        define(changed(CELLS, **change), ".")


@pytest.mark.slow
def test_runs_of_nonlinear_cells_are_those_of_the_engine(tmp_path):
    """Of tanh units under RFLO as Murray wrote it, on the sequences of the task."""
    document = changed(NONLINEAR, axes__cell=NONLINEAR["axes"]["cell"][:1], axes__rule=["rflo"])
    data = lg.sweep(document, out=tmp_path / "runs.zarr", workers=0)
    box = define(document, ".")
    box = box.box(box.axes)
    for seed in range(2):
        keys = {name: box.keys(name)[seed] for name in ("task", "student", "feedback", "noise")}
        task = task_of(box.row(seed), keys)
        student = lg.random_network(1, 2, 1, key=jax_key(int(keys["student"])), scale=0.3)
        cell = lg.cells.LeakyRate(student.W, student.B, None, leak=0.5)
        feedback = normals(keys["feedback"], 2).reshape(1, 2) / np.sqrt(2)
        run = lg.train(
            lg.RFLO(feedback, "internal"), lg.Network(cell, lg.Readout(student.A)), linear_sequences(task, 10, "final"),
            key=jax_key(int(keys["noise"])), num_steps=20, batch_size=4, learning_rate=0.01, test_size=1024,
        )  # fmt: skip
        found = data.isel(rule=0, cell=0, seed=seed)
        assert found.loss == run.records["loss"][-1] / run.silent_loss
        change = np.linalg.svd(run.final.layers[0].W - student.W, compute_uv=False) ** 2
        np.testing.assert_allclose(found["rank"], change.sum() ** 2 / (change**2).sum(), rtol=1e-12)


@pytest.mark.slow
def test_nonlinear_cells_learn(tmp_path):
    """More steps lower the loss, rules and cells differ, and poles alone make e-prop BPTT; what a cell lacks is NaN."""
    document = changed(NONLINEAR, axes__rule=["bptt", "eprop", "three-factor"], axes__seed=1, run__learning_rate=0.05)
    short = lg.sweep(changed(document, run__num_steps=1), out=tmp_path / "short.zarr", workers=0)
    long = lg.sweep(changed(document, run__num_steps=300), out=tmp_path / "long.zarr", workers=0)
    assert np.all(long.status == RAN)
    assert np.all(long.outcome == lg.Outcome.UNFINISHED)
    assert np.all(long.loss < short.loss)
    bptt, eprop = (long.loss.sel(rule=rule).values.ravel() for rule in ("bptt", "eprop"))
    np.testing.assert_allclose(bptt[-1], eprop[-1], rtol=1e-9)
    assert len(np.unique([*bptt, *eprop[:-1], *long.loss.sel(rule="three-factor").values.ravel()])) == 11
    assert np.all(np.isnan(long["rank"].sel(cell="lru")) & np.isnan(long.radius.sel(cell="gru")))
    assert np.all(long.radius.sel(cell="lru") < 1)


@pytest.mark.parametrize(
    "document",
    [changed(MODES, axes__seed=4), NETWORKS, CELLS, pytest.param(NONLINEAR, marks=pytest.mark.slow)],
    ids=["modes", "flow", "train", "cells"],
)
def test_results_do_not_hang_on_chunks_or_their_order(document, tmp_path):
    forms = {"one": 1000, "single": 1, "some": 5}
    found = {name: values_of(lg.sweep(changed(document, chunk=size), out=tmp_path / name, workers=0))
             for name, size in forms.items()}  # fmt: skip
    assert np.all(found["one"]["status"] == RAN)
    assert_same(found["one"], found["single"])
    assert_same(found["one"], found["some"])
    definition = define(changed(document, chunk=5), tmp_path)
    with open_store(tmp_path / "backwards", definition) as store:
        for result in reversed(list(jobs_of(definition))):
            store.write(result)
    assert data_files(tmp_path / "backwards") == data_files(tmp_path / "some")


def test_jobs_keep_their_precision_on_the_way_to_a_worker():
    """Pickled, and made again where JAX runs in 32 bits, as it does in a worker."""
    rule = lg.RFLO(jax.numpy.asarray([[0.1, 0.2]]), 0.5)
    document = changed(TRAINING, run__task="oscillator", axes__rule=["bptt", rule], axes__seed=1)
    plan = make_plan(define(document, "."))
    for place in plan.places():
        job = plan.job(place)
        with jax.enable_x64(False), warnings.catch_warnings():
            warnings.simplefilter("error")
            sent = compute(pickle.loads(pickle.dumps(job)))
        assert sent.files == compute(job).files
        assert not sent.failures


def test_another_seed_draws_other_numbers(whole, tmp_path):
    other = lg.sweep(changed(MODES, random_seed=1), out=tmp_path / "other.zarr", workers=0)
    first = lg.sweep(changed(MODES, chunk=1000), out=whole, workers=0)
    assert np.mean(first.path_length.values == other.path_length.values) < 0.1


def test_draws_say_which_runs_are_paired(tmp_path):
    """A start drawn anew for each scale, or shared by all of them; same-named values of `run` do not matter."""
    shared = define(changed(MODES, axes__rule=["bptt"]), tmp_path)
    anew = define(changed(MODES, axes__rule=["bptt"], draws__a=["seed", "scale"]), tmp_path)
    a_shared, a_anew = (d.box(d.axes).column("a").reshape(2, 12) for d in (shared, anew))
    np.testing.assert_array_equal(a_shared[0], a_shared[1])
    assert not np.any(a_anew[0] == a_anew[1])
    for_all = define(changed(MODES, draws__a=[]), tmp_path)
    assert len(np.unique(for_all.box(for_all.axes).column("a"))) == 1


def test_the_order_of_values_does_not_matter(whole, tmp_path):
    turned = changed(MODES, axes__rule=MODES["axes"]["rule"][::-1], axes__scale=[1.0, 0.3])
    data = lg.sweep(turned, out=tmp_path / "turned.zarr", workers=0)
    first = lg.sweep(changed(MODES, chunk=1000), out=whole, workers=0)
    again = data.sel(rule=first.rule.values, scale=first.scale.values)
    assert_same(values_of(first), values_of(again))


def test_a_run_that_cannot_be_computed_is_data(tmp_path):
    """With a feedback of 0 nothing is taught; the run says so, and the others are those of a sweep without it."""
    document = changed(MODES, axes__rule=None, run__rule="rflo", run__decay=0.5, run__feedback=None)
    axes = {"axes__scale": None}
    with_zero = changed(document, axes__feedback=[1.0, 0.0, 2.0], **axes)
    data = lg.sweep(with_zero, out=tmp_path / "zero.zarr", workers=0)
    assert np.all(data.status.sel(feedback=0.0) == REFUSED)
    assert np.all(data.outcome.sel(feedback=0.0) == -1)
    assert np.all(np.isnan(data.time.sel(feedback=0.0)))
    without = lg.sweep(changed(document, axes__feedback=[1.0, 2.0], **axes), out=tmp_path / "other.zarr", workers=0)
    assert_same(values_of(data.sel(feedback=[1.0, 2.0])), values_of(without))


def test_starts_outside_the_domain_are_outcomes_in_any_company(tmp_path):
    document = changed(MODES, run__w={"normal": [0.0, 1.0]}, axes__rule=["bptt"])
    one = lg.sweep(changed(document, chunk=1), out=tmp_path / "one.zarr", workers=0)
    all_ = lg.sweep(document, out=tmp_path / "all.zarr", workers=0)
    assert_same(values_of(one), values_of(all_))
    assert np.any(all_.outcome == lg.Outcome.DIVERGED)
    assert np.all(all_.status == RAN)


def test_poles_that_a_start_does_not_have_are_refused_run_by_run(tmp_path):
    document = changed(MODES, run__teacher_w=0.5, axes__rule=["bptt"], axes__scale=None, axes__poles=["direct", "lru"])
    data = lg.sweep(document, out=tmp_path / "runs.zarr", workers=0)
    w = 0.9 * (2 * uniforms(keys_of(0, "w", {"seed": codes_of(np.arange(12))}, 12)) - 1)
    np.testing.assert_array_equal(data.status.sel(poles="lru")[0], np.where(w > 0, RAN, REFUSED))
    assert np.all(data.status.sel(poles="direct") == RAN)
    run = lg.integrate_modes(
        lg.BPTT(), lg.Mode(1.0, 1.0, w[w > 0]), lg.Mode(1.0, 1.0, 0.5), duration=200.0, poles="lru"
    )
    assert np.all(run.outcome >= 0)


def test_only_what_is_asked_for_is_recorded(whole, tmp_path):
    data = lg.sweep(changed(MODES, record=["outcome"]), out=tmp_path / "some.zarr", workers=0)
    assert set(data.data_vars) == {"outcome", "status"}
    np.testing.assert_array_equal(data.outcome, lg.sweep(changed(MODES, chunk=1000), out=whole, workers=0).outcome)


# --- the store ---


def test_the_store_says_what_it_is(whole):
    data = lg.sweep(changed(MODES, chunk=1000), out=whole, workers=0)
    assert data.outcome.dims == ("rule", "scale", "seed")
    assert all(data[name].attrs["long_name"] and data[name].attrs["units"] for name in data.variables)
    assert data.attrs["random_seed"] == 0
    assert data.attrs["parameters"]["duration"] == "200.0"
    assert data.attrs["draws"]["a"] == ["seed"]
    provenance = data.attrs["provenance"]
    assert provenance["versions"]["localgrad"] == lg.__version__
    assert {"jax", "numpy", "zarr", "python"} <= set(provenance["versions"])
    assert provenance["command"]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_axes_are_extended_without_computing_again(whole, tmp_path, chunk, monkeypatch):
    small = changed(MODES, axes__seed=5, axes__scale=[1.0], axes__rule=MODES["axes"]["rule"][1:], chunk=chunk)
    lg.sweep(small, out=tmp_path / "runs.zarr", workers=0)
    kind, counted = define(small, tmp_path).kind, []
    compute = type(kind).compute
    monkeypatch.setattr(type(kind), "compute", lambda self, cells: counted.append(cells.size) or compute(self, cells))
    data = lg.sweep(changed(MODES, chunk=chunk), out=tmp_path / "runs.zarr", workers=0)
    assert sum(counted) == 3 * 2 * 12 - 2 * 1 * 5
    assert list(data.rule.values) == ["fast", "slow", "bptt"]  # what was there keeps its place
    assert data.scale.values.tolist() == [1.0, 0.3]
    first = lg.sweep(changed(MODES, chunk=1000), out=whole, workers=0)
    again = data.sel(rule=first.rule.values, scale=first.scale.values)
    assert_same(values_of(first), values_of(again))


def test_an_axis_is_extended_by_settings_of_its_own(tmp_path):
    """By one that sets a parameter which no value had set before."""
    lg.sweep(changed(MODES, axes__rule=["bptt"]), out=tmp_path / "runs.zarr", workers=0)
    grown = lg.sweep(MODES, out=tmp_path / "runs.zarr", workers=0)
    assert_same(values_of(grown), values_of(lg.sweep(MODES, out=tmp_path / "other.zarr", workers=0)))


def test_a_plan_covers_the_grid_once():
    plan = make_plan(define(changed(MODES, chunk=7), "."))
    runs = [plan.job(place).box.size for place in plan.places()]
    assert sum(runs) == plan.definition.size
    assert len(runs) == plan.num_chunks
    assert max(runs) <= 7


@pytest.mark.slow
def test_jax_keys_are_those_of_their_bits():
    assert jax.random.key_data(jax_key(2**63 + 5)).tolist() == [2**31, 5]
