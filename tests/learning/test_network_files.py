"""Runs of networks of cells as files: as they were saved, and believed only as far as they fit together."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequence_cases import HIDDEN, INPUT, OUTPUT, Larger, Summing, feedback, network

import localgrad as lg

RATE = {"key": jax.random.key(3), "batch_size": 4, "learning_rate": 0.1, "num_steps": 3}


def assert_equal(one, other):
    assert repr(one) == repr(other)
    for name in ("initial", "final", "snapshots", "rule", "final_rule", "records", "loss", "record_steps", "outcome"):
        x, y = (jax.tree.leaves(getattr(run, name)) for run in (one, other))
        assert len(x) == len(y)
        assert all(np.array_equal(a, b) for a, b in zip(x, y, strict=True)), name


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run.npz"
    settings = RATE | {"save_every": 2, "record_every": 1, "record": ["cosine", "rank"]}
    run = lg.train(lg.RFLO(feedback(2), "internal"), [network(0), network(1)], Summing(), **settings)
    lg.save(run, path)
    return run, path


def test_a_run_is_loaded_as_it_was_saved(saved):
    run, path = saved
    again = lg.load_run(path, task=Summing())
    assert_equal(run, again)
    assert again.final.layers[0].activation == "tanh"
    assert again.final.layers[0].learns == ("W", "B", "bias")
    assert again.plot().axes


@pytest.mark.slow
def test_a_stack_of_gates_blocks_and_complex_units_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    first = lg.cells.GRU(rng.normal(size=(3, HIDDEN, HIDDEN)), rng.normal(size=(3, HIDDEN, INPUT)), None)
    glu = rng.normal(size=(2, HIDDEN, 2 * HIDDEN))
    second = lg.cells.Block(lg.cells.LRU(None, rng.normal(size=(2, HIDDEN, HIDDEN)), None, nu=-2.0), *glu)
    net = lg.Network([first, second], lg.Readout(rng.normal(size=(OUTPUT, HIDDEN))), [feedback()])
    run = lg.train(lg.SnAp1(), net, Larger(), **RATE)
    lg.save(run, tmp_path / "run.npz")
    again = lg.load_run(tmp_path / "run.npz", task=Larger())
    assert_equal(run, again)
    assert jax.tree.structure(again.final) == jax.tree.structure(run.final)


class Own(lg.Cell):
    def local(self, s, u):
        return 0.5 * s + jnp.sin(u)

    def emit(self, s):
        return s


def sine(*weights):
    return lg.cells.LeakyRate(*weights, leak=0.5, activation=jnp.sin)


@pytest.mark.parametrize("kind", [Own, sine])
def test_code_of_ones_own_is_given_again(kind, tmp_path):
    cell = kind(0.1 * np.eye(HIDDEN), np.ones((HIDDEN, INPUT)), None)
    net = lg.Network(cell, lg.Readout(feedback()))
    run = lg.train(lg.BPTT(), net, Summing(), **RATE)
    lg.save(run, tmp_path / "run.npz")
    with pytest.raises(ValueError, match=r"give such a network as network=\.\.\."):
        lg.load_run(tmp_path / "run.npz", task=Summing())
    assert_equal(run, lg.load_run(tmp_path / "run.npz", task=Summing(), network=net))
    other = lg.Network(lg.cells.Linear(cell.W, cell.B, None), net.readout)
    with pytest.raises(ValueError, match="other cells than those of the run"):
        lg.load_run(tmp_path / "run.npz", task=Summing(), network=other)


def test_a_task_of_ones_own_is_asked_for_and_compared(saved):
    with pytest.raises(ValueError, match=r"of its task no file holds 'Summing'; give the task as task=\.\.\."):
        lg.load_run(saved[1])
    with pytest.raises(ValueError, match="the task given is not that of the run"):
        lg.load_run(saved[1], task=Summing(leak=0.5))


@pytest.mark.slow
def test_tasks_that_ship_come_back_with_their_parts(tmp_path):
    task = lg.tasks.Reaching(lg.tasks.TwoJointArm(), length=4, credit="loop")
    net = lg.Network(lg.cells.LeakyRate(np.eye(3), np.ones((3, 6)), None, leak=0.5), lg.Readout(0.1 * np.ones((2, 3))))
    run = lg.train(lg.BPTT(), net, task, record="cosine", **RATE)
    lg.save(run, tmp_path / "run.npz")
    again = lg.load_run(tmp_path / "run.npz")
    assert_equal(run, again)
    assert again.task == task
    rows = np.ones((5, 2, INPUT))
    data = lg.tasks.from_arrays(rows, rows)
    lg.save(lg.train(lg.BPTT(), network(), data, **RATE), tmp_path / "data.npz")
    assert np.array_equal(lg.load_run(tmp_path / "data.npz", task=data).task.inputs, rows)


def told(words, **changes):
    return {"description": np.array(json.dumps(words | changes))}


def with_layer(words, **changes):
    """The words of a network with something else said of its layer."""
    return told(words, network={"layers": [words["network"]["layers"][0] | changes]})


BAD = {
    "weights of another size": lambda a, w: {"final.layers[0].W": a["final.layers[0].W"][..., :-1]},
    "seeds that disagree": lambda a, w: {"final.layers[0].B": a["final.layers[0].B"][:1]},
    "NaN weights": lambda a, w: {"initial.readout.A": np.nan * a["initial.readout.A"]},
    "whole numbers": lambda a, w: {"final.readout.A": a["final.readout.A"].astype(int)},
    "no weights": lambda a, w: {"final.readout.A": None},
    "losses of another run": lambda a, w: {"loss": a["loss"][:1]},
    "NaN losses": lambda a, w: {"loss": np.nan * a["loss"]},
    "records that lie": lambda a, w: {"records.cosine": a["records.cosine"][:, :1]},
    "no records": lambda a, w: {"records.loss": None},
    "an outcome that there is not": lambda a, w: {"outcome": np.array([0, 9])},
    "feedback that does not fit": lambda a, w: {"rule.feedback.fixed": a["rule.feedback.fixed"][..., :2]},
    "a rule of other seeds": lambda a, w: {"rule.feedback.fixed": a["rule.feedback.fixed"][:1]},
    "a cell that there is not": lambda a, w: with_layer(w, cell="Cell"),
    "no layers": lambda a, w: told(w, network={"layers": []}),
    "layers that are none": lambda a, w: told(w, network={"layers": [3]}),
    "an activation that there is not": lambda a, w: with_layer(w, static={"activation": "evil"}),
    "an option that there is not": lambda a, w: with_layer(w, static={"W": 3}),
    "a silent loss that is none": lambda a, w: told(w, silent_loss="much"),
    "snapshots of other steps": lambda a, w: {"snapshot_steps": a["snapshot_steps"][:1]},
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_together_is_refused(case, saved, tmp_path):
    with np.load(saved[1]) as file:
        arrays = dict(file)
    arrays |= BAD[case](arrays, json.loads(str(arrays["description"])))
    path = tmp_path / "bad.npz"
    np.savez(path, **{name: x for name, x in arrays.items() if x is not None})
    with pytest.raises(ValueError, match=r"run '.*bad\.npz': ") as caught:
        lg.load_run(path, task=Summing())
    assert len(str(caught.value)) < 400
