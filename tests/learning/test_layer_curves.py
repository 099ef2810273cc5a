"""`learn` on diagonal layers: the flow of each parametrisation, its ends, and what is refused."""

import numpy as np
import pytest
from cases import LAYER, LAYER_TEACHER, layer, network, random_layer

import localgrad as lg
from localgrad.models.coordinates import coordinates_of
from localgrad.models.layer_poles import LAYER_POLES
from localgrad.models.poles import find_poles

STEP = 1e-3


def real_layer(*arrays):
    return lg.DiagonalSSM(*(np.asarray(x, float) for x in arrays))


ONE, TEACHER = real_layer([[0.8]], [0.5], [[-1.2]]), real_layer([[1.1]], [0.6], [[0.7]])


@pytest.mark.parametrize("kind", LAYER_POLES)
def test_coordinates_and_back(kind):
    for found, expected in zip(coordinates_of(layer(LAYER), kind).model.arrays, LAYER, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


# The rest of the program for every kind is the same.
@pytest.mark.parametrize("kind", ["tanh", *(pytest.param(k, marks=pytest.mark.slow) for k in ("direct", "lru"))])
def test_a_small_step_is_that_of_a_mode(kind):
    """A real pole of one unit: `ẇ = −ρ(w) Δw` with the parametrisation's `ρ`, and `a`, `b` as ever."""
    rule = lg.RFLO(np.array([[-0.7]]), 0.4)
    curve = lg.learn(rule, ONE, TEACHER, duration=STEP, method=lg.Steps(STEP), poles=kind)
    a, b, w = lg.mode_update(lg.RFLO(-0.7, 0.4), lg.Mode(0.8, -1.2, 0.5), lg.Mode(1.1, 0.7, 0.6))
    moved = [(y - x).real.item() / -STEP for x, y in zip(ONE.arrays, curve.final.arrays, strict=True)]
    expected = [a, find_poles(kind).speed(0.5) * w, b]
    np.testing.assert_allclose(moved, expected, rtol=5 * STEP)  # of a step's second order


def test_a_batch_converges_in_the_disc():
    """Poles that cannot leave the disc: whatever the start, no run diverges."""
    students = [random_layer(1, 2, 1, seed, radius=0.9) for seed in (1, 2)]
    batch = lg.DiagonalSSM(*(np.stack(x) for x in zip(*students, strict=True)))
    teacher = lg.DiagonalSSM(*random_layer(1, 1, 1, 3, radius=0.5))
    curve = lg.learn(lg.BPTT(), batch, teacher, duration=300.0, poles="lru", tolerance=1e-3)
    assert [str(x) for x in lg.Outcome.words(curve.outcome)] == ["converged", "converged"]
    assert curve.snapshots.poles.shape[:1] == (2,)
    assert np.all(curve.spectral_radius < 1)
    assert "2 students" in repr(curve)


@pytest.mark.slow
def test_direct_poles_diverge_where_bounded_ones_do_not():
    """The mode of docs/theory.md, section 8, whose RFLO diverges with ŵ = 0.9."""
    start, teacher = real_layer([[1.0]], [0.6], [[1.0]]), real_layer([[1.0]], [0.8], [[1.0]])
    rule = lg.RFLO(np.array([[-1.0]]), 0.9)
    assert lg.learn(rule, start, teacher, duration=100.0).outcome == lg.Outcome.DIVERGED
    assert lg.learn(rule, start, teacher, duration=1000.0, poles="tanh").outcome == lg.Outcome.CONVERGED


@pytest.mark.parametrize(
    ("student", "options", "match"),
    [
        (LAYER, {"poles": "sigmoid"}, "poles of a layer must be 'direct', 'tanh', 'lru' or 's4d', got"),
        ((LAYER[0], 0 * LAYER[1], LAYER[2]), {"poles": "lru"}, "a pole has modulus 0, which 'lru' does not reach"),
        ((LAYER[0], 2 * LAYER[1], LAYER[2]), {}, "pole . has modulus 1.2, but an infinite horizon"),
    ],
)
def test_what_cannot_be_learned_is_refused(student, options, match):
    with pytest.raises(ValueError, match=match):
        lg.learn(lg.BPTT(), layer(student), layer(LAYER_TEACHER), duration=1.0, **options)


def test_poles_of_networks_are_refused():
    net = network((np.ones((1, 1)), 0.5 * np.ones((1, 1)), np.ones((1, 1))))
    with pytest.raises(ValueError, match="is for a DiagonalSSM"):
        lg.learn(lg.BPTT(), net, net, duration=1.0, poles="lru")


@pytest.mark.parametrize("name", ["alignment", "spectrum", "conserved_drift"])
def test_what_only_networks_have_is_refused(name):
    layer = lg.DiagonalSSM(np.ones((1, 2)) + 0j, np.array([0.5, 0.3 + 0.2j]), np.ones((2, 1)) + 0j)
    curve = lg.learn(lg.BPTT(), layer, lg.LinearRNN([[1.0]], [[0.5]], [[1.0]]), duration=0.01)
    with pytest.raises(ValueError, match=f"a DiagonalSSM has no {name} here; take lg.real_blocks"):
        getattr(curve, name)
