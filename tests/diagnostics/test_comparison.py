"""Rules compared on one path, against brute-force updates; and what BPTT's flow conserves, and the others do not."""

import jax
import numpy as np
import pytest
from cases import (
    BY_ID,
    FEEDBACK,
    HIDDEN,
    HORIZON,
    INPUT,
    OUTPUT,
    STUDENT,
    TEACHER,
    network,
    random_matrices,
)
from oracles import LONG, brute_force_update

import localgrad as lg

# As in test_conformance: sums of some ten lags of order 1.
ROUNDING = 1e-11

BATCH = [[random_matrices(OUTPUT, HIDDEN, INPUT, seed=20 + 3 * i + j, radius=0.6) for j in range(3)] for i in range(2)]
NETWORKS = network(np.array([[one[x] for one in row] for row in BATCH]) for x in range(3))
COMPARED = [BY_ID[name] for name in ("bptt", "tbptt", "rflo", "eprop", "eprop-random", "rflo-per-unit", "three-factor")]


def flat(update, part):
    """One vector of all parameters, or of one matrix."""
    chosen = update if part == "whole" else [dict(zip("AWB", update, strict=True))[part]]
    return np.concatenate([np.asarray(x).ravel() for x in chosen])


@pytest.mark.parametrize(("cases", "horizon", "loss"), [(COMPARED, None, "final"), (COMPARED[:3], HORIZON, "sequence")])
def test_against_brute_force(cases, horizon, loss):
    found = lg.compare_updates([c() for c in cases], NETWORKS, network(TEACHER), horizon=horizon, loss=loss)
    assert found.rules[:3] == ("BPTT", "tBPTT(2)", "RFLO")
    for r, i, j in np.ndindex(len(cases), 2, 3):
        settings = (BATCH[i][j], TEACHER, horizon or LONG, loss)
        update = brute_force_update(*cases[r].reference(BATCH[i][j]), *settings)
        gradient = brute_force_update(*BY_ID["bptt"].reference(BATCH[i][j]), *settings)
        for part in ("whole", "W", "B"):
            u, g = flat(update, part), flat(gradient, part)
            agreement = getattr(found, part)
            expected = u @ g / np.linalg.norm(u) / np.linalg.norm(g)
            np.testing.assert_allclose(agreement.cosine[r, i, j], expected, atol=ROUNDING)
            np.testing.assert_allclose(agreement.size_ratio[r, i, j], np.linalg.norm(u) / np.linalg.norm(g), ROUNDING)


def test_which_rules_agree_with_the_gradient_and_which_do_not():
    rules = [lg.BPTT(), lg.EProp(), lg.TruncatedBPTT(HORIZON), lg.RFLO(FEEDBACK, 0.4), lg.EProp(FEEDBACK)]
    found = lg.compare_updates(rules, NETWORKS, network(TEACHER), horizon=HORIZON)
    np.testing.assert_allclose(found.W.cosine[[0, 2]], 1, rtol=ROUNDING)
    np.testing.assert_allclose(found.W.size_ratio[[0, 2]], 1, rtol=ROUNDING)
    assert np.all(found.W.cosine[[1, 3, 4]] < 0.999)
    assert np.all(np.abs(found.W.cosine[3] - found.W.cosine[4]) > 1e-4)  # RFLO is not e-prop
    assert np.all(found.W.cosine[1] > found.W.cosine[4])  # with the same propagator, the readout is the better feedback
    # On a diagonal W, symmetric e-prop is BPTT.
    A, W, B = NETWORKS.matrices
    diagonal = lg.LinearRNN(A, W * np.eye(HIDDEN), B)
    found = lg.compare_updates(rules, diagonal, network(TEACHER), horizon=HORIZON)
    assert np.all(found.B.cosine[1] > 1 - ROUNDING)
    assert np.all(found.W.cosine[3] < 0.999)


def test_the_feedbacks_sign_and_size():
    """ΔW and ΔB are linear in a fixed feedback, and ΔA does not know it."""
    rules = [lg.RFLO(scale * FEEDBACK, 0.4) for scale in (1, -1, 3)]
    found = lg.compare_updates(rules, NETWORKS, network(TEACHER))
    for part in (found.W, found.B):
        np.testing.assert_allclose(part.cosine[1], -part.cosine[0], rtol=1e-9)
        np.testing.assert_allclose(part.cosine[2], part.cosine[0], rtol=1e-9)
        np.testing.assert_allclose(part.size_ratio[2], 3 * part.size_ratio[0], rtol=ROUNDING)
    # ⟨Δ, ∇⟩ is ‖ΔA‖² ± the rest, over the same norms.
    assert np.all(found.whole.cosine[0] + found.whole.cosine[1] > 1e-3)
    assert np.all(found.whole.size_ratio[2] < 3 * found.whole.size_ratio[0])


def test_one_network_has_no_leading_axes():
    rules = [lg.EProp(), lg.RFLO(FEEDBACK, 0.4)]
    one = lg.compare_updates(rules, network(BATCH[1][2]), network(TEACHER))
    many = lg.compare_updates(rules, NETWORKS, network(TEACHER))
    assert one.whole.cosine.shape == (2,)
    for x, y in zip(one[1:], many[1:], strict=True):
        np.testing.assert_allclose(x.cosine, y.cosine[:, 1, 2], atol=ROUNDING)


def test_without_gradient():
    """A silent student has no gradient; RFLO moves its input weights nevertheless. Without a teacher nothing moves."""
    silent, still = (lg.LinearRNN(0 * A, W, 0 * B) for A, W, B in (STUDENT, TEACHER))
    rules = [lg.BPTT(), lg.RFLO(FEEDBACK, 0.4)]
    found = lg.compare_updates(rules, silent, network(TEACHER))
    np.testing.assert_array_equal(found.whole.cosine, 0)
    np.testing.assert_array_equal(found.whole.size_ratio, [1, np.inf])
    np.testing.assert_array_equal(found.B.size_ratio, [1, np.inf])
    np.testing.assert_array_equal(found.W.size_ratio, [1, 1])  # ΔW waits for the states, ΔW = Rᵀ(…)Bᵀ
    np.testing.assert_array_equal(lg.compare_updates(rules, silent, still).whole.size_ratio, 1)


def scaled_to(radius, index=(1, 0)):
    """The batch, with one network's `W` scaled to a spectral radius."""
    W = np.array(NETWORKS.W)
    W[index] *= radius / 0.6
    return lg.LinearRNN(NETWORKS.A, W, NETWORKS.B)


def test_a_network_without_an_update_is_named():
    rules = [lg.TruncatedBPTT(1), lg.RFLO(FEEDBACK, 0.4)]
    message = (
        r"BPTT: the network at index \(1, 0\) of the batch: the student's W has spectral radius 1.2, .*finite horizon"
    )
    with pytest.raises(ValueError, match=message):
        lg.compare_updates(rules, scaled_to(1.2), network(TEACHER))
    found = lg.compare_updates(rules, scaled_to(1.2), network(TEACHER), horizon=HORIZON)  # the remedy works
    assert np.all(np.isfinite(found.whole.cosine))
    # Stable, but not together with the rule's propagator.
    with pytest.raises(ValueError, match=r"RFLO: the network at index \(1, 0\) .* lower the decay"):
        lg.compare_updates([lg.RFLO(FEEDBACK, 1.2)], scaled_to(0.9), network(TEACHER))
    # A single network needs no index.
    with pytest.raises(ValueError, match=r"^BPTT: the teacher's W has spectral radius"):
        lg.compare_updates(rules, network(STUDENT), lg.LinearRNN(TEACHER[0], 2 * np.eye(5), TEACHER[2]))


BAD = {
    "one-rule": ((lg.BPTT(), NETWORKS, network(TEACHER)), {}, "sequence of at least one Rule"),
    "no-rule": (([], NETWORKS, network(TEACHER)), {}, "sequence of at least one Rule"),
    "names": ((["bptt"], NETWORKS, network(TEACHER)), {}, "sequence of at least one Rule"),
    "networks": (([lg.BPTT()], [NETWORKS], network(TEACHER)), {}, "the batch of networks is a list, not a LinearRNN"),
    "axes": (
        ([lg.BPTT()], lg.LinearRNN(NETWORKS.A, NETWORKS.W[0], NETWORKS.B), network(TEACHER)),
        {},
        r"leading axes \[\(2, 3\), \(3,\)\]",
    ),
    "nan": (([lg.BPTT()], scaled_to(np.nan), network(TEACHER)), {}, r"index \(1, 0\) .* student's W has an entry"),
    "feedback": (([lg.RFLO(np.ones((2, 5)), 0.4)], NETWORKS, network(TEACHER)), {}, r"feedback has shape \(2, 5\)"),
    "teacher": (([lg.BPTT()], NETWORKS, NETWORKS), {}, "the teacher is a batch"),
    "horizon": (([lg.BPTT()], NETWORKS, network(TEACHER)), {"horizon": 0}, "horizon must be a whole number"),
    "loss": (([lg.BPTT()], NETWORKS, network(TEACHER)), {"loss": "mean"}, "loss must be 'final' or 'sequence'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    arguments, options, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        lg.compare_updates(*arguments, **options)


def test_a_numpy_horizon():
    found = [
        lg.compare_updates([lg.EProp()], NETWORKS, network(TEACHER), horizon=h) for h in (HORIZON, np.int64(HORIZON))
    ]
    np.testing.assert_array_equal(found[0].whole.cosine, found[1].whole.cosine)


# --- what BPTT's flow conserves ---------------------------------------------------------------------------------------


def rate_of_change(rule, **settings):
    """`dQ/dk` along `dθ/dk = −Δθ`, relative to the largest entry that its own terms bring."""
    student = network(STUDENT)
    update = lg.expected_update(rule, student, network(TEACHER), **settings)
    _, rate = jax.jvp(lg.conserved_quantity, (student,), (jax.tree.map(lambda x: -x, update),))
    (A, _, _), (dA, _, _) = STUDENT, (np.asarray(x) for x in update.matrices)
    return float(np.abs(rate).max() / np.abs(A.T @ dA).max())


@pytest.mark.parametrize("settings", [{}, {"horizon": HORIZON}, {"horizon": HORIZON, "loss": "sequence"}], ids=str)
def test_bptt_conserves_and_no_other_rule_does(settings):
    assert rate_of_change(lg.BPTT(), **settings) < 1e-13
    for rule in (lg.TruncatedBPTT(1), lg.RFLO(FEEDBACK, 0.4), lg.EProp(), lg.EProp(FEEDBACK)):
        assert rate_of_change(rule, **settings) > 0.05


def test_a_finite_step_changes_it_to_second_order():
    student = network(STUDENT)
    update = lg.expected_update(lg.BPTT(), student, network(TEACHER))
    Q = lg.conserved_quantity(student)
    drift = [
        np.abs(lg.conserved_quantity(jax.tree.map(lambda x, dx, e=eta: x - e * dx, student, update)) - Q).max()
        for eta in (1e-3, 1e-4)
    ]
    # Q is quadratic, so the drift is η² times a constant, up to the rounding of Q over the drift.
    np.testing.assert_allclose(drift[0] / drift[1], 100, rtol=1e-5)


def test_the_conserved_quantity():
    """`a² − b²` of a mode; symmetric; `AᵀA − BBᵀ + WᵀW − WWᵀ` entry by entry, with any leading axes."""
    assert lg.conserved_quantity(lg.LinearRNN([[3.0]], [[0.5]], [[2.0]])).tolist() == [[5.0]]
    Q = lg.conserved_quantity(NETWORKS)
    assert Q.shape == (2, 3, HIDDEN, HIDDEN)
    for i, j in np.ndindex(2, 3):
        A, W, B = BATCH[i][j]
        terms = [
            [A[:, k] @ A[:, m] - B[k] @ B[m] + W[:, k] @ W[:, m] - W[k] @ W[m] for m in range(HIDDEN)]
            for k in range(HIDDEN)
        ]
        np.testing.assert_allclose(Q[i, j], terms, atol=1e-13)
