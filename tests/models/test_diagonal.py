"""Diagonal layers as models: their doors, and their conversions from and to networks."""

import pickle

import jax
import numpy as np
import pytest
from cases import LAYER, TEACHER, layer, network

import localgrad as lg
from localgrad.models.diagonal import from_blocks


def response(C, poles, B, count=6):
    return np.stack([((C * poles**j) @ B).real for j in range(count)])


def test_real_blocks_respond_alike():
    found = lg.markov_parameters(lg.real_blocks(layer(LAYER)), 6)
    np.testing.assert_allclose(found, response(*LAYER), rtol=1e-13, atol=1e-14)


def test_blocks_and_back():
    """What each number gets from its copies in the blocks: twice itself for a pole."""
    C, poles, B = from_blocks(lg.real_blocks(layer(LAYER))).arrays
    for found, expected in ((C, LAYER[0]), (poles, 2 * LAYER[1]), (B, LAYER[2])):
        np.testing.assert_allclose(found, expected)


def test_diagonalized_networks_respond_alike():
    """Real eigenvalues and conjugate pairs: five units, some of them real."""
    found = lg.diagonalized(network(TEACHER))
    assert len(found.poles) < 5
    assert np.all(np.asarray(found.poles).imag >= 0)
    expected = lg.markov_parameters(network(TEACHER), 6)
    np.testing.assert_allclose(response(*map(np.asarray, found.arrays)), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("W", "match"),
    [([[0.5, 1.0], [0.0, 0.5]], "cannot be diagonalised"), ([[np.nan, 0.0], [0.0, 1.0]], "not finite")],
)
def test_what_cannot_be_diagonalised_is_refused(W, match):
    with pytest.raises(ValueError, match=match):
        lg.diagonalized(lg.LinearRNN([[1.0, 0.0]], W, [[1.0], [0.0]]))


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        (([1.0], [0.5], [[1.0]]), "must be matrices and the poles a vector"),
        (([[1.0]], 0.5, [[1.0]]), "must be matrices and the poles a vector"),
        (([[1.0, 2.0]], [0.5], [[1.0]]), "there are 1 poles, but C has 2 columns"),
        ((np.zeros((1, 0)), np.zeros(0), np.zeros((0, 1))), "an output, a unit and an input at least"),
        (("C", [0.5], [[1.0]]), "C is the word 'C'"),
        (([[1.0]], [None], [[1.0]]), "poles"),
    ],
)
def test_what_is_no_layer_is_refused(arrays, match):
    with pytest.raises(ValueError, match=match):
        lg.DiagonalSSM(*arrays)


def test_precision_and_pickling():
    small = lg.DiagonalSSM(*(x.astype(np.complex64) for x in LAYER))
    assert all(x.dtype == np.complex64 for x in small.arrays)
    assert lg.DiagonalSSM([[1]], [0], [[np.float32(2)]]).C.dtype == np.complex128
    again = pickle.loads(pickle.dumps(layer(LAYER)))
    assert jax.tree.all(jax.tree.map(lambda x, y: np.array_equal(x, y), again, layer(LAYER)))
