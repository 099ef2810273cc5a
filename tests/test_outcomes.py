"""The one table of outcomes and thresholds."""

import numpy as np
import pytest

from localgrad import Outcome
from localgrad.outcomes import DIVERGED_GAP, divergence_gap


def test_outcomes_print_as_words():
    assert str(Outcome.CONVERGED) == f"{Outcome.CONVERGED}" == "converged"
    assert f"{Outcome.STALLED:>10}" == "   stalled"
    codes = np.array([[0, 3], [2, 1]], dtype=np.int8)
    assert Outcome.words(codes).tolist() == [["converged", "unfinished"], ["diverged", "stalled"]]
    assert Outcome.words(0) == "converged"
    assert Outcome.counts(codes[0]) == {"converged": 1, "unfinished": 1}


def test_outcomes_stay_numbers_in_arrays():
    codes = np.array([Outcome.CONVERGED, Outcome.DIVERGED])
    assert codes.dtype.kind == "i"
    assert (codes == Outcome.DIVERGED).tolist() == [False, True]


def test_the_gap_of_divergence():
    assert divergence_gap(0.5, 0.0) == pytest.approx(DIVERGED_GAP / 2)
    assert divergence_gap(-0.5, -0.99999999) == pytest.approx(0.5e-8)  # a start nearer to 1 may still come back
    np.testing.assert_allclose(divergence_gap(np.zeros(2), np.array([0.0, 0.9999])), [1e-4, 5e-5])
