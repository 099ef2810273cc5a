"""Where the outcome of learning switches along a line."""

import numpy as np
import pytest

import localgrad as lg
from localgrad import Mode, Outcome
from localgrad.modes.ensemble.integrate import integrate_modes

# For w = w* = 0 BPTT keeps w = 0, and the invariant plane a = −b leads into the saddle: the boundary is a = −b exactly.
FLAT = Mode(1.0, 1.0, 0.0)


def test_the_invariant_plane_of_bptt_is_found():
    found = lg.boundary(lg.BPTT(), Mode(-1.0, 0.5, 0.0), Mode(1.0, 0.3, 0.0), FLAT)
    assert len(found) == 1
    t = found.fraction[0]
    assert t == pytest.approx((1.0 - 0.5) / (2.0 - 0.2), abs=2e-9)  # −1 + 2t = −(0.5 − 0.2 t)
    assert (found.points.a[0], found.points.b[0]) == pytest.approx((-1 + 2 * t, 0.5 - 0.2 * t))
    assert Outcome.words(found.before).tolist() == Outcome.words(found.after).tolist() == ["converged"]
    assert (found.branch_before.tolist(), found.branch_after.tolist()) == ([-1], [1])


def test_both_sides_of_every_switch_end_as_it_says():
    rule, teacher = lg.RFLO(1.0, 0.5), Mode(1.0, 1.0, 0.8)
    start, end = Mode(-3.0, 1.0, 0.0), Mode(3.0, -1.0, 0.2)
    found = lg.boundary(rule, start, end, teacher, precision=1e-7, rtol=1e-7)
    assert len(found) >= 1
    assert {"diverged", "converged"} <= {*Outcome.words(found.before), *Outcome.words(found.after)}
    for side, outcome, branch in ((-1, found.before, found.branch_before), (1, found.after, found.branch_after)):
        t = found.fraction + side * 1e-5
        there = Mode(*((1 - t) * x + t * y for x, y in zip(start, end, strict=True)))
        run = integrate_modes(rule, there, teacher, duration=1000.0, rtol=1e-7, atol=1e-10)
        np.testing.assert_array_equal(run.outcome, outcome)
        np.testing.assert_array_equal(run.branch, branch)


def test_no_switch_is_no_error():
    found = lg.boundary(lg.BPTT(), Mode(1.0, 1.0, 0.0), (2.0, 1.0, 0.0), FLAT, samples=9)
    assert len(found) == 0
    assert "0 switches" in repr(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": Mode(1.0, 1.0, 1.0)}, "start .* w strictly between"),
        ({"end": Mode(1.0, np.ones(2), 0.0)}, r"end b has shape \(2,\); give one number"),
        ({"end": Mode(np.nan, 1.0, 0.0)}, "must be finite"),
        ({"samples": 1}, "samples must be at least 2"),
        ({"samples": 10**15}, "1,000,000,000,000,000"),
        ({"precision": 0.0}, "precision must be positive"),
        ({"rule": "bptt"}, r"not a localgrad\.Rule"),
    ],
)
def test_bad_input_is_refused(changes, words):
    arguments = {"rule": lg.BPTT(), "start": Mode(1.0, 1.0, 0.0), "end": Mode(2.0, 1.0, 0.0), "teacher": FLAT} | changes
    with pytest.raises(ValueError, match=words) as caught:
        lg.boundary(**arguments)
    assert len(str(caught.value).splitlines()) == 1
