"""The slowest point of the optimal manifold."""

import numpy as np
import pytest

import localgrad as lg
from localgrad import Mode
from localgrad.modes.stability import convergence_rate


@pytest.mark.parametrize("branch", [1, -1])
@pytest.mark.parametrize("teacher", [(1.0, 1.0, 0.8), (2.0, -1.5, -0.3), (0.01, 1.0, 0.5), (3.0, 1.0, 0.0)])
def test_bptt_is_slowest_at_the_root_of_c(teacher, branch):
    teacher = Mode(*teacher)
    found = lg.slowest_point(lg.BPTT(), teacher, branch=branch)
    assert found.is_unique
    assert not found.at_end
    assert found.s == pytest.approx(branch * np.sqrt(abs(teacher.a * teacher.b)), rel=1e-6)
    assert found.rate == pytest.approx(convergence_rate(lg.BPTT(), teacher, found.s))


def test_the_slowest_rate_is_no_larger_than_any_on_a_grid():
    for rule in (lg.BPTT(), lg.TruncatedBPTT(1), lg.RFLO(1.0, 0.5), lg.RFLO(-1.0, 0.5), lg.EProp(0.7)):
        found = lg.slowest_point(rule, Mode(1.3, 0.7, 0.6), s_min=0.1, s_max=20.0)
        rates = convergence_rate(rule, Mode(1.3, 0.7, 0.6), np.geomspace(0.1, 20.0, 3001))
        assert found.rate <= rates.min() + 1e-12 * abs(rates.min())


def test_a_flat_stretch_is_named():
    everywhere = lg.slowest_point(lg.BPTT(), Mode(1.0, 1.0, 0.0))  # the rate is min(c², s² + c²/s²), here c² = 1
    assert not everywhere.is_unique
    assert everywhere.interval == pytest.approx((1e-3, 1e3))
    assert everywhere.rate == pytest.approx(1.0, rel=1e-14)
    assert "not unique" in repr(everywhere)
    low, high = lg.slowest_point(lg.BPTT(), Mode(1.0, 1.0, 0.0), branch=-1).interval
    assert (low, high) == pytest.approx((-1e3, -1e-3))
    above = lg.slowest_point(lg.BPTT(), Mode(2.5, 1.0, 0.0))  # c > 2: a minimum 2c at √c, below the c² elsewhere
    assert above.is_unique
    assert (above.s, above.rate) == pytest.approx((np.sqrt(2.5), 5.0))


def test_a_rate_that_falls_to_the_end_says_so():
    found = lg.slowest_point(lg.RFLO(1.0, 0.5), Mode(1.0, 1.0, 0.8))
    assert found.at_end
    assert found.s == pytest.approx(1e3)
    assert "the end of the range" in repr(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"branch": 0}, "branch must be 1"),
        ({"s_min": -1.0}, "must be positive"),
        ({"s_min": 2.0, "s_max": 1.0}, "rising"),
        ({"teacher": Mode(0.0, 1.0, 0.5)}, "the mode is silent"),
        ({"teacher": Mode(np.ones(2), 1.0, 0.5)}, "give one number"),
    ],
)
def test_bad_input_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        lg.slowest_point(**({"rule": lg.BPTT(), "teacher": Mode(1.0, 1.0, 0.5)} | changes))
