"""Networks: shapes, constructors, Markov parameters, frames."""

import jax
import numpy as np
import pytest
from cases import STUDENT, TEACHER, matrices, network
from hypothesis import given
from hypothesis import strategies as st
from oracles import markov_errors

import localgrad as lg


def test_markov_parameters_are_the_impulse_response():
    silent = tuple(0 * x for x in TEACHER)
    found = lg.markov_parameters(network(STUDENT), 6)
    # Six products of matrices with entries of order one.
    np.testing.assert_allclose(found, markov_errors(STUDENT, silent, 6), rtol=0, atol=1e-13)


def test_markov_parameters_by_simulation():
    A, W, B = STUDENT
    responses = []
    for unit in range(B.shape[1]):
        h, x, outputs = np.zeros(len(W)), np.eye(B.shape[1])[unit], []
        for t in range(6):
            h = W @ h + B @ (x if t == 0 else 0 * x)
            outputs.append(A @ h)
        responses.append(outputs)
    np.testing.assert_allclose(lg.markov_parameters(network(STUDENT), 6), np.moveaxis(responses, 0, 2), atol=1e-13)


@given(st.integers(0, 2**31 - 1))
def test_spectral_radius(seed):
    """Of a matrix with known eigenvalues, a complex pair among them, in random coordinates."""
    rng = np.random.default_rng(seed)
    r, angle, real = rng.uniform(0.1, 2), rng.uniform(0.3, 2.8), rng.uniform(-2, 2)
    block = np.zeros((3, 3))
    block[:2, :2] = r * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    block[2, 2] = real
    S = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    np.testing.assert_allclose(lg.spectral_radius(S @ block @ S.T), max(r, abs(real)), rtol=1e-12)


def test_random_network_has_the_promised_scales():
    net = lg.random_network(30, 40, 50, key=jax.random.key(0), scale=0.3)
    assert net.sizes == (30, 40, 50)
    # Standard deviations over 1200 to 2000 entries: 2 % at one standard error, 10 % at five.
    for part, expected in zip(matrices(net), (0.3 / 40**0.5, 0.3 / 40**0.5, 0.3 / 50**0.5), strict=True):
        np.testing.assert_allclose(part.std(), expected, rtol=0.1)


@pytest.mark.parametrize("sizes", [(2, 4, 3), (1, 16, 1), (3, 17, 40)])
def test_random_network_takes_the_numbers_of_jax(sizes):
    """Whatever room they are drawn in: 256 numbers hold the first two, 1024 and more the last."""
    output, hidden, input = sizes
    key = jax.random.key(7)
    key_a, key_w, key_b = jax.random.split(key, 3)
    drawn = [
        jax.random.normal(key_a, (output, hidden)) / hidden**0.5,
        jax.random.normal(key_w, (hidden, hidden)) / hidden**0.5,
        jax.random.normal(key_b, (hidden, input)) / input**0.5,
    ]
    for part, expected in zip(matrices(lg.random_network(*sizes, key=key)), drawn, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-14)


def test_random_network_with_a_spectral_radius():
    net = lg.random_network(2, 6, 3, key=jax.random.key(0), spectral_radius=0.9)
    np.testing.assert_allclose(lg.spectral_radius(net.W), 0.9, rtol=1e-12)


def test_random_networks_differ_by_key_and_only_by_key():
    one, same, other = (lg.random_network(2, 4, 3, key=jax.random.key(k)) for k in (0, 0, 1))
    assert all(np.array_equal(x, y) for x, y in zip(matrices(one), matrices(same), strict=True))
    assert not any(np.allclose(x, y) for x, y in zip(matrices(one), matrices(other), strict=True))


def test_frames_are_orthogonal():
    for frame, size in zip(lg.random_frames(2, 4, 3, key=jax.random.key(0)), (2, 4, 3), strict=True):
        np.testing.assert_allclose(frame @ frame.T, np.eye(size), atol=1e-14)


def test_aligned_network_is_diagonal_in_its_frames():
    modes = lg.Mode(np.array([0.8, -0.6]), np.array([-1.2, 0.9]), np.array([0.5, -0.3]))
    U, P, V = frames = lg.random_frames(2, 4, 3, key=jax.random.key(0))
    net = lg.aligned_network(modes, frames)
    for rotated, diagonal in ((U.T @ net.A @ P, modes.a), (P.T @ net.W @ P, modes.w), (P.T @ net.B @ V, modes.b)):
        expected = np.zeros(rotated.shape)
        expected[[0, 1], [0, 1]] = diagonal
        np.testing.assert_allclose(rotated, expected, atol=1e-14)


def test_aligned_network_without_frames():
    net = lg.aligned_network(lg.Mode([1.0, 2.0], [3.0, 4.0], [0.5, 0.25]))
    assert net.sizes == (2, 2, 2)
    np.testing.assert_array_equal(net.B, np.diag([3.0, 4.0]))


class TestBadInput:
    def test_more_modes_than_axes(self):
        frames = lg.random_frames(2, 4, 3, key=jax.random.key(0))
        with pytest.raises(ValueError, match="3 modes do not fit into frames of sizes 2 and 4; every frame needs"):
            lg.aligned_network(lg.Mode(np.ones(3), np.ones(3), np.zeros(3)), frames)

    @pytest.mark.parametrize(
        ("A", "W", "B"),
        [
            (np.ones((2, 4)), np.ones((4, 3)), np.ones((4, 3))),  # W not square
            (np.ones(4), np.ones((4, 4)), np.ones((4, 3))),  # A a vector
            (1.0, 0.5, 1.0),  # numbers
        ],
    )
    def test_not_matrices(self, A, W, B):
        with pytest.raises(ValueError, match=r"must be matrices and W square, got shapes .*a single mode is LinearRNN"):
            lg.LinearRNN(A, W, B)

    @pytest.mark.parametrize(
        ("A", "B", "found"),
        [
            (np.ones((2, 5)), np.ones((4, 3)), "A has 5 columns and B 4 rows"),
            (np.ones((2, 4)), np.ones((3, 4)), "A has 4 columns and B 3 rows"),
        ],
    )
    def test_sizes_that_do_not_fit(self, A, B, found):
        with pytest.raises(ValueError, match=f"W has 4 hidden units, but {found}; all three must agree"):
            lg.LinearRNN(A, np.ones((4, 4)), B)
