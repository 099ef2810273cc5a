"""The lag-by-lag algorithm at its seams: block borders, horizons around them, lags around them."""

import numpy as np
import pytest
from cases import BY_ID, FEEDBACK, STUDENT, TEACHER, assert_close, matrices, network
from oracles import brute_force_loss, brute_force_update

import localgrad as lg
from localgrad.updates.lags import BLOCK

# As in test_expected: sums of some hundred terms in float64.
ROUNDING = 1e-12

# Horizons on both sides of every seam: one block, two blocks, and more blocks than the first capacity holds.
HORIZONS = [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, 4 * BLOCK, 4 * BLOCK + 1]


@pytest.mark.parametrize("loss", ["final", "sequence"])
@pytest.mark.parametrize("horizon", HORIZONS)
def test_updates_across_block_borders(horizon, loss):
    # Slow decay, so that lags beyond the first blocks still count: 0.97^64 = 0.14.
    student, teacher = ((A, W * (0.97 / np.abs(np.linalg.eigvals(W)).max()), B) for A, W, B in (STUDENT, TEACHER))
    case = BY_ID["eprop-random"]
    update = lg.expected_update(case(), network(student), network(teacher), horizon=horizon, loss=loss)
    expected = brute_force_update(*case.reference(student), student, teacher, horizon, loss)
    assert_close(matrices(update), expected, ROUNDING)
    value = lg.expected_loss(network(student), network(teacher), horizon=horizon, loss=loss)
    np.testing.assert_allclose(value, brute_force_loss(student, teacher, horizon, loss), rtol=ROUNDING)


@pytest.mark.parametrize("lags", [BLOCK - 1, pytest.param(BLOCK, marks=pytest.mark.slow), BLOCK + 1])
def test_truncation_across_block_borders(lags):
    rule = lg.Rule(FEEDBACK, 1.3, lags)  # credit grows with the lag: the last one counts most
    update = lg.expected_update(rule, network(STUDENT), network(TEACHER), horizon=3 * BLOCK)
    M = 1.3 * np.eye(4)
    expected = brute_force_update(FEEDBACK, M, lags, STUDENT, TEACHER, 3 * BLOCK)
    assert_close(matrices(update), expected, ROUNDING)
