"""Networks: shapes, constructors, Markov parameters, frames."""

import copy
import pickle
from decimal import Decimal

import jax
import numpy as np
import pytest
import sympy
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


# --- what is no network ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[1 + 5j]]), "A is complex; give real numbers"),
        ([["a"]], "A is a list"),
        ("a", "A is the word 'a'"),
        (None, "A is None; give a number or an array"),
        (np.array([[object()]]), "A is an array of object|A is a ndarray"),
        ([[Decimal("0.1")]], "A is a list"),
        (np.ma.masked_array([[1.0]], mask=[[True]]), "A is a masked array; fill in its missing entries"),
        ([[1.0], [1.0, 2.0]], "rows differ in length"),
    ],
)
def test_entries_that_are_no_real_numbers(value, message):
    with pytest.raises(ValueError, match=message):
        lg.LinearRNN(value, [[0.5]], [[1.0]])


def test_symbols_are_no_weights():
    with pytest.raises(ValueError, match="W is w; give a number or an array of numbers"):
        lg.LinearRNN([[1.0]], sympy.Symbol("w"), [[1.0]])


@pytest.mark.parametrize("sizes", [(0, 2, 2), (2, 0, 2), (2, 2, 0)])
def test_networks_of_nothing(sizes):
    output, hidden, input = sizes
    with pytest.raises(ValueError, match="needs an output, a hidden unit and an input at least"):
        lg.LinearRNN(np.ones((output, hidden)), np.ones((hidden, hidden)), np.ones((hidden, input)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, bool])
def test_whole_numbers_become_floating_ones(dtype):
    net = lg.LinearRNN(*(np.ones((1, 1), dtype) for _ in range(3)))
    assert {x.dtype for x in net.matrices} == {np.dtype(float)}
    assert lg.LinearRNN(np.array([[100]], np.uint8), [[0.5]], [[1.0]]).A[0, 0] ** 2 == 10000


@pytest.mark.parametrize("W", [np.zeros((0, 0)), [[np.nan]], [[np.inf]], [[1j]], [["a"]], None, [1.0]])
def test_no_spectral_radius(W):
    with pytest.raises(ValueError, match=r"^W (has|is) .*"):
        lg.spectral_radius(W)
    with pytest.raises(ValueError, match="W is traced by JAX"):
        jax.jit(lg.spectral_radius)(np.eye(2))


@pytest.mark.parametrize("num_lags", [0, -1, 2.5, np.inf, True, "3", 2**63])
def test_numbers_of_lags(num_lags):
    with pytest.raises(ValueError, match="num_lags must be"):
        lg.markov_parameters(network(STUDENT), num_lags)


# --- random networks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": 0}, r"key must be a JAX random key, such as jax.random.key\(0\); got 0"),
        ({"key": None}, "key must be a JAX random key"),
        ({"key": np.zeros(3, np.uint32)}, "key must be a JAX random key"),
        ({"scale": np.nan}, "scale must be one finite number, got nan"),
        ({"scale": np.ones(2)}, "scale must be one finite number"),
        ({"spectral_radius": np.inf}, "spectral_radius must be one finite number, got inf"),
        ({"spectral_radius": -0.5}, "spectral_radius must not be negative, got -0.5"),
        ({"scale": 0.0, "spectral_radius": 0.9}, "scale is 0, so W has no spectral radius to change"),
        ({"hidden": np.inf}, "hidden must be a whole number of at least 1; got inf"),
        ({"hidden": 0}, "hidden must be a whole number of at least 1; got 0"),
        ({"hidden": 2**40}, "hidden must be at most"),
        ({"hidden": 10**6}, "does not fit into memory; give smaller sizes"),
    ],
)
def test_no_random_network(change, message):
    given = {"output": 1, "hidden": 2, "input": 1, "key": jax.random.key(0)} | change
    with pytest.raises(ValueError, match=message):
        lg.random_network(**given)


@pytest.mark.slow
def test_an_array_of_keys_gives_a_batch():
    """Typed keys and raw ones; each network is the one of its key alone."""
    keys = jax.random.split(jax.random.key(3), 4)
    batch = lg.random_network(2, 5, 3, key=keys, spectral_radius=0.7)
    assert batch.W.shape == (4, 5, 5)
    raw = lg.random_network(2, 5, 3, key=jax.random.key_data(keys), spectral_radius=0.7)
    for index in range(4):
        alone = lg.random_network(2, 5, 3, key=keys[index], spectral_radius=0.7)
        for one, other, third in zip(alone.matrices, batch.matrices, raw.matrices, strict=True):
            np.testing.assert_allclose(other[index], one, rtol=1e-12)
            np.testing.assert_allclose(third[index], one, rtol=1e-12)
        np.testing.assert_allclose(lg.spectral_radius(batch.W[index]), 0.7, rtol=1e-12)
    assert lg.random_network(1, 2, 1, key=keys.reshape(2, 2)).A.shape == (2, 2, 1, 2)


# --- modes -----------------------------------------------------------------------------------------------------------


def test_a_tuple_is_a_mode():
    np.testing.assert_array_equal(lg.aligned_network(([1.0], [2.0], [0.5])).B, [[2.0]])


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (([1.0, 1.0], [1.0], [0.5, 0.2]), r"shapes \(2,\), \(1,\) and \(2,\); give one length"),
        (([1.0], [1.0], [2.0]), "w must lie between −1 and 1; the largest .* is 2"),
        (([1.0], [1.0], [-1.0]), "w must lie between −1 and 1"),
        (([1.0], [1.0], [np.nan]), "w must lie between −1 and 1"),
        (([1.0], [1.0 + 1j], [0.5]), "modes' b is complex"),
        (([1.0], [0.5]), "modes is a tuple; give a localgrad.Mode"),
        (3.0, "modes is a float; give a localgrad.Mode"),
    ],
)
def test_no_aligned_network(modes, message):
    with pytest.raises(ValueError, match=message):
        lg.aligned_network(modes)


# --- precision -------------------------------------------------------------------------------------------------------


def test_float64_is_cut_with_a_warning_at_the_line_that_brings_it():
    narrow = [np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)]
    stored = pickle.dumps(lg.LinearRNN(*(np.ones((1, 1)) / 3 for _ in range(3))))
    with jax.enable_x64(False):
        student = lg.LinearRNN(*narrow)
        bring = {
            "network": lambda: lg.LinearRNN(np.ones((1, 1)), *narrow[1:]),
            "modes": lambda: lg.aligned_network(lg.Mode(np.ones(1), np.ones(1), np.zeros(1))),
            "rule": lambda: lg.expected_update(lg.EProp(np.ones((1, 1))), student, student),
            "network from a file": lambda: pickle.loads(stored),
        }
        for name, call in bring.items():
            with pytest.warns(UserWarning, match="cut from float64 to float32") as found:
                call()
            assert {w.filename for w in found} == {__file__}, name
            assert len(found) == 1, name
        lg.expected_update(lg.EProp(np.ones((1, 1), np.float32)), student, student)  # warns of nothing


def test_a_pickled_network_is_the_same():
    for read in (pickle.loads(pickle.dumps(network(STUDENT))), copy.deepcopy(network(STUDENT))):
        for one, other in zip(matrices(read), STUDENT, strict=True):
            np.testing.assert_array_equal(one, other)
