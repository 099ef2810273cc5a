"""Teachers as modes: typed as text, of a symmetric matrix, and of the connectome. Files: test_weight_files.py."""

import builtins
import importlib.util
import re

import numpy as np
import pytest

from localgrad.models.aligned import aligned_network, project_modes
from localgrad.models.linear import LinearRNN, spectral_radius
from localgrad.tasks.teachers import connectome, is_symmetric, parse_mode_teacher, symmetric_modes


def test_a_mode_from_text():
    assert parse_mode_teacher(" 1,-2e0 , 0.8") == (1.0, -2.0, 0.8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,1", "has 2 value(s)"),
        ("", "has 1 value(s)"),
        ("1,1,0.8,", "has 4 value(s)"),
        ("1,x,0.8", "b* = 'x' is not a finite number"),
        ("1,1_0,0.8", "b* = '1_0'"),
        ("nan,1,0.8", "a* = 'nan'"),
        ("1,1,", "w* = ''"),
        ("1,1,inf", "w* = 'inf'"),
        ("1,1,1", "w* = 1 must lie strictly between"),
        ("1,1,-1.5", "w* = -1.5 must lie"),
        ("1,\n,0.5", r"b* = ''"),
    ],
)
def test_a_bad_mode_says_what_is_wrong(text, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        parse_mode_teacher(text)
    assert len(str(caught.value).splitlines()) == 1


def random_symmetric(n, seed=1):
    matrix = np.random.default_rng(seed).normal(size=(n, n))
    return (matrix + matrix.T) / (4 * np.sqrt(n))


@pytest.mark.parametrize("n", [1, 2, 9, 68])
def test_symmetric_modes_give_the_network_back(n):
    W = random_symmetric(n)
    modes, frames = symmetric_modes(W)
    assert np.all(np.diff(modes.w) <= 0)
    np.testing.assert_array_equal(modes.a, np.ones(n))
    np.testing.assert_array_equal(modes.b, np.ones(n))
    network = aligned_network(modes, frames)
    atol = 100 * np.finfo(float).eps  # an orthogonal product of entries of size 1
    np.testing.assert_allclose(network.W, W, atol=atol)
    np.testing.assert_allclose(network.A, np.eye(n), atol=atol)
    np.testing.assert_allclose(network.B, np.eye(n), atol=atol)
    for there, back in zip(modes, project_modes(LinearRNN(np.eye(n), W, np.eye(n)), frames), strict=True):
        np.testing.assert_allclose(back, there, atol=atol)
    largest = np.abs(frames.P).argmax(axis=0)
    assert np.all(frames.P[largest, np.arange(n)] > 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_symmetric_and_measured_asymmetry_is_not(dtype):
    modes, frames = symmetric_modes(random_symmetric(68))
    P, w = frames.P.astype(dtype), modes.w.astype(dtype)
    product = (P * w) @ P.T
    assert is_symmetric(product)
    product[3, 5] += 1e-4 * np.abs(product).max()
    assert not is_symmetric(product)
    with pytest.raises(ValueError, match=r"W\[3, 5\] and W\[5, 3\] differ"):
        symmetric_modes(product)


def test_symmetry_of_things_that_are_no_matrix():
    assert is_symmetric([[0, 1], [1, 0]])
    assert is_symmetric(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        is_symmetric(np.zeros((2, 3)))


needs_tvb = pytest.mark.skipif(importlib.util.find_spec("tvb_data") is None, reason="needs localgrad[connectome]")


@needs_tvb
def test_the_connectome_of_68_regions_is_symmetric():
    W, labels = connectome()
    assert W.shape == (68, 68)
    np.testing.assert_array_equal(W, W.T)
    assert spectral_radius(W) == pytest.approx(0.95, rel=1e-12)
    assert W.min() == 0
    assert len(set(labels)) == 68
    assert [label[:2] for label in labels] == ["r_"] * 34 + ["l_"] * 34
    assert [label[2:] for label in labels[:34]] == [label[2:] for label in labels[34:]]
    modes, _ = symmetric_modes(W)
    assert modes.w[0] == pytest.approx(0.95, rel=1e-12)
    assert np.sum(modes.w < 0) == 20


@needs_tvb
@pytest.mark.parametrize(("regions", "first"), [(66, "rBSTS"), (76, "rA1"), (96, "RM-TCpol_R"), (192, "lAD")])
def test_the_other_connectomes_are_not_symmetric(regions, first):
    W, labels = connectome(regions, spectral_radius=0.5)
    assert W.shape == (regions, regions)
    assert len(labels) == regions
    assert labels[0] == first
    assert not is_symmetric(W)
    assert spectral_radius(W) == pytest.approx(0.5, rel=1e-12)


@needs_tvb
@pytest.mark.parametrize("regions", [67, 0, "68", None])
def test_an_unknown_connectome(regions):
    with pytest.raises(ValueError, match=re.escape("choose one of [66, 68, 76, 96, 192]")):
        connectome(regions)


@needs_tvb
def test_the_connectome_runs_no_code_of_the_package(monkeypatch):
    load = builtins.__import__

    def refuse(name, *rest, **named):
        assert name != "tvb_data"
        return load(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    connectome()


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=re.escape("pip install 'localgrad[connectome]'")):
        connectome()
    with pytest.raises(ValueError, match="spectral_radius = 2"):
        connectome(spectral_radius=2)
