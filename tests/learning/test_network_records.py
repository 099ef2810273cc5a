"""What is recorded along a run of networks of cells: by definitions written out, and where it is known in advance."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from sequence_cases import HIDDEN, INPUT, OUTPUT, Larger, Summing, feedback, loss_by_hand, network

import localgrad as lg

KEY = jax.random.key(3)
RATE = {"key": KEY, "batch_size": 4, "learning_rate": 0.1}
RFLO = lg.RFLO(feedback(), "internal")
EVERYTHING = ("cosine", "curvature", "rank", "share", "radius", "lyapunov")


def linear_network(seed=0):
    """Linear units with symmetric weights, whose largest eigenvalue is real and alone."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(HIDDEN, HIDDEN)))[0]
    W = Q @ np.diag([0.9, 0.4, -0.3, 0.2, 0.1, -0.1]) @ Q.T
    return lg.Network(
        lg.cells.Linear(W, rng.normal(size=(HIDDEN, INPUT)), None), lg.Readout(rng.normal(size=(OUTPUT, HIDDEN)))
    )


def change(run, name="W"):
    final, initial = (getattr(net.layers[0], name) for net in (run.final, run.initial))
    return np.asarray(final) - np.asarray(initial)


@pytest.fixture(scope="module")
def tanh_run():
    return lg.train(RFLO, network(), Summing(), num_steps=4, record=EVERYTHING, **RATE)


@pytest.mark.slow
def test_cosines_are_those_of_the_updates_on_the_next_batch(tanh_run):
    batch = Summing().sample(jax.random.fold_in(KEY, 4), 4)
    given = tanh_run.final, batch.inputs, batch.targets
    found = [lg.network_update(rule, *given, mask=np.asarray(batch.mask))[0] for rule in (RFLO, lg.BPTT())]
    W = [np.asarray(x.layers[0].W).ravel() for x in found]
    both = [np.concatenate([np.ravel(y) for y in (x.layers[0].W, x.layers[0].B, x.layers[0].bias)]) for x in found]
    for name, (x, y) in (("cosine layers[0].W", W), ("cosine", both)):
        assert tanh_run.records[name][-1] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), rel=1e-12)
    exact = lg.train(lg.BPTT(), network(), Summing(), num_steps=4, record=["cosine"], **RATE)
    np.testing.assert_allclose(exact.records["cosine"], 1, rtol=1e-12)
    assert abs(tanh_run.records["cosine"][0]) < 0.9


@pytest.mark.slow
def test_curvatures_are_those_of_the_dense_hessian(tanh_run):
    batch, net = Summing().sample(jax.random.fold_in(KEY, 4), 4), tanh_run.final
    start, back = ravel_pytree(net)
    learns = np.abs(ravel_pytree(jax.tree.map(jnp.ones_like, net))[0] - ravel_pytree(_only_leak(net))[0]) > 0
    H = np.asarray(jax.hessian(lambda x: loss_by_hand(back(x), batch, "mse"))(start))[np.ix_(learns, learns)]
    update, _ = lg.network_update(RFLO, net, batch.inputs, batch.targets, mask=np.asarray(batch.mask))
    u = np.asarray(ravel_pytree(update)[0])[learns]
    assert tanh_run.records["curvature along"][-1] == pytest.approx(u @ H @ u / (u @ u), rel=1e-9)
    P = np.eye(len(u)) - np.outer(u, u) / (u @ u)
    bounds = np.linalg.eigvalsh(P @ H @ P)[[0, -1]]
    assert bounds[0] < tanh_run.records["curvature across"][-1] < bounds[1]
    assert tanh_run.records["curvature across"][-1] < tanh_run.records["curvature along"][-1]


def _only_leak(net):
    zeros = jax.tree.map(jnp.zeros_like, net)
    object.__setattr__(zeros.layers[0], "leak", jnp.ones(HIDDEN))
    return zeros


def test_ranks_and_shares_are_those_of_the_change(tanh_run):
    R = np.linalg.qr(feedback().T)[0]
    for name in "WB":
        moved = change(tanh_run, name)
        values = np.linalg.svd(moved, compute_uv=False)
        assert tanh_run.records[f"rank layers[0].{name}"].tolist() == [0, np.sum(values > 1e-6 * values[0])]
        ratio = np.sum(values**2) ** 2 / np.sum(values**4)
        assert tanh_run.records[f"participation layers[0].{name}"][-1] == pytest.approx(ratio, rel=1e-10)
        share = np.sum((R @ (R.T @ moved)) ** 2) / np.sum(moved**2)
        assert tanh_run.records[f"share layers[0].{name}"][-1] == pytest.approx(share, rel=1e-10)
        assert 0.5 < share < 0.999
    assert "bias" not in "".join(tanh_run.records).replace("cosine layers[0].bias", "")


def test_of_linear_units_the_theory_says_rank_share_radius_and_exponent():
    net = linear_network()
    run = lg.train(
        lg.RFLO(feedback(), 0.5), net, Summing(), num_steps=4, record=EVERYTHING, **RATE | {"learning_rate": 1e-3}
    )
    assert run.records["rank layers[0].W"].tolist() == [0, OUTPUT]  # the paper's proposition 3.1
    np.testing.assert_allclose(run.records["share layers[0].W"], [0, 1], atol=1e-12)
    for W, radius, exponent in (
        (net.layers[0].W, run.records["radius"][0], run.records["lyapunov"][0]),
        (run.final.layers[0].W, run.records["radius"][1], run.records["lyapunov"][1]),
    ):
        largest = np.abs(np.linalg.eigvals(np.asarray(W))).max()
        assert radius == pytest.approx(largest, rel=1e-12)
        assert exponent == pytest.approx(np.log(largest), abs=1e-9)
    assert run.records["radius"][0] == pytest.approx(0.9, rel=1e-12)


def test_a_leak_counts_in_the_radius(tanh_run):
    cell = network().layers[0]
    slope = 1 / np.cosh(np.asarray(cell.bias)) ** 2
    J = 0.6 * np.eye(HIDDEN) + 0.4 * slope[:, None] * np.asarray(cell.W)
    assert tanh_run.records["radius"][0] == pytest.approx(np.abs(np.linalg.eigvals(J)).max(), rel=1e-10)


def test_angles_are_between_the_leading_directions_of_seeds():
    nets = [network(seed) for seed in range(3)]
    run = lg.train(RFLO, nets, Summing(), num_steps=4, record="angle", **RATE)
    angle = run.records["angle layers[0].W"]
    assert angle.shape == (3, 2, 3)
    left = np.linalg.svd(change(run))[0][..., :OUTPUT]
    cosines = np.linalg.svd(left[0].T @ left[1], compute_uv=False)
    assert angle[0, -1, 1] == pytest.approx(np.arccos(np.sqrt(np.mean(cosines**2))), rel=1e-10)
    np.testing.assert_allclose(np.diagonal(angle[:, -1]), 0, atol=1e-7)
    np.testing.assert_allclose(angle[:, -1], angle[:, -1].T, atol=1e-12)
    own = lg.train(lg.RFLO(feedback(3), "internal"), nets, Summing(), num_steps=4, record="angle", **RATE)
    assert np.all(own.records["angle layers[0].W"][0, -1, 1:] > angle[0, -1, 1:])  # shared feedback, shared directions


@pytest.mark.slow
def test_stacks_gates_and_complex_units_are_recorded_too():
    rng = np.random.default_rng(0)
    first = lg.cells.GRU(rng.normal(size=(3, HIDDEN, HIDDEN)), rng.normal(size=(3, HIDDEN, INPUT)), None)
    second = lg.cells.LRU(None, rng.normal(size=(2, HIDDEN, HIDDEN)), None)
    net = lg.Network([first, second], lg.Readout(rng.normal(size=(OUTPUT, 2 * HIDDEN))), [feedback()])
    run = lg.train(lg.SnAp1(), net, Larger(), num_steps=2, record=EVERYTHING, **RATE)
    assert run.records["rank layers[0].W"].shape == (2, 3)  # each drive by itself
    assert run.records["share layers[0].W"].shape == (2, 3)
    assert run.records["share layers[1].B"].shape == (2, 2)
    assert run.records["radius"][0] >= np.exp(-np.exp(-1)) - 1e-12  # the LRU's own
    assert all(np.all(np.isfinite(x)) for x in run.records.values())


# --- the control: steps held to a span -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"learning_rate": 0.1}, {"optimizer": optax.adam(1e-2)}], ids=["descent", "adam"])
def test_steps_are_held_to_a_span(how):
    R = feedback()
    P = R.T @ np.linalg.inv(R @ R.T) @ R
    run = lg.train(lg.BPTT(), network(), Summing(), num_steps=3, key=KEY, batch_size=4, project_on=R, **how)
    for name in "WB":
        np.testing.assert_allclose(P @ change(run, name), change(run, name), atol=1e-12)
        assert np.linalg.norm(change(run, name)) > 1e-3
    np.testing.assert_allclose(P @ change(run, "bias"), change(run, "bias"), atol=1e-12)
    free = lg.train(lg.BPTT(), network(), Summing(), num_steps=1, key=KEY, batch_size=4, **how)
    held = lg.train(lg.BPTT(), network(), Summing(), num_steps=1, key=KEY, batch_size=4, project_on=R, **how)
    np.testing.assert_allclose(change(held), P @ change(free), atol=1e-13)
    np.testing.assert_allclose(held.final.readout.A, free.final.readout.A, atol=1e-14)
    assert np.linalg.norm(change(free) - change(held)) > 1e-3


@pytest.mark.slow
def test_each_seed_has_a_span_of_its_own_and_layers_may_be_free():
    spans = feedback(2)
    run = lg.train(lg.BPTT(), network(), Summing(), num_steps=2, project_on=spans, **RATE)
    for R, moved in zip(spans, change(run), strict=True):
        np.testing.assert_allclose(np.linalg.pinv(R) @ R @ moved, moved, atol=1e-12)
    below = lg.cells.LeakyRate(np.eye(INPUT), np.eye(INPUT), None, leak=0.5)
    stack = lg.Network([below, network().layers[0]], network().readout)
    run = lg.train(lg.BPTT(), stack, Summing(), num_steps=2, project_on=[None, spans[0]], **RATE)
    moved = np.asarray(run.final.layers[1].W - stack.layers[1].W)
    np.testing.assert_allclose(np.linalg.pinv(spans[0]) @ spans[0] @ moved, moved, atol=1e-12)
    assert abs(run.final.layers[0].W - stack.layers[0].W).max() > 1e-4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"project_on": np.ones((1, HIDDEN + 1))}, "project_on has shape"),
        ({"project_on": [[np.nan] * HIDDEN]}, "matrix project_on has an entry that is not finite"),
        ({"project_on": feedback(2), "rule": lg.RFLO(feedback(3), "internal")}, r"of \[2, 3\] seeds"),
        ({"record": "angle"}, "an angle is between seeds"),
        ({"record": 3}, "record is 3; give a list of names"),
    ],
    ids=["shape", "NaN", "seeds", "angle", "record"],
)
def test_what_cannot_be_recorded_or_projected_is_refused(options, words):
    rule = options.pop("rule", RFLO)
    with pytest.raises(ValueError, match=words):
        lg.train(rule, network(), Summing(), num_steps=1, **RATE, **options)
