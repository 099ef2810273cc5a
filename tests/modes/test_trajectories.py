"""Single learning trajectories against an independent field and integrator, and every way they can end."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import localgrad as lg
from localgrad.modes.trajectory import learn_mode
from localgrad.outcomes import Outcome

TEACHER = lg.Mode(1.0, 1.0, 0.8)
START = lg.Mode(1.0, 1.0, 0.6)

# rule, and its feedback f(a), propagator m(w) and number of lags, typed anew
RULES = {
    "bptt": (lg.BPTT(), lambda a: a, lambda w: w, None),
    "tbptt-3": (lg.TruncatedBPTT(3), lambda a: a, lambda w: w, 3),
    "rflo": (lg.RFLO(1.0, 0.5), lambda a: 1.0, lambda w: 0.5, None),
    "rflo-detour": (lg.RFLO(-1.0, 0.5), lambda a: -1.0, lambda w: 0.5, None),
    "eprop": (lg.EProp(0.7), lambda a: 0.7, lambda w: w, None),
    "blend": (
        lg.Rule(lg.Feedback.blend(0.5, 2.0), lg.Propagator.blend(0.25, 0.4)),
        lambda a: 0.5 * a + 1.0,
        lambda w: 0.75 * w + 0.1,
        None,
    ),
}


def reference(feedback, propagator, lags, start, teacher, times, rtol=1e-11):
    """`(a, b, w, path length)` at `times`: section 5 of the theory typed anew, by an explicit method of order 8."""
    a_star, b_star, w_star = teacher
    c = a_star * b_star

    def sigma(z):
        return 1 / (1 - z) if lags is None else sum(z**j for j in range(lags))

    def flow(_, x):
        a, b, w, _ = x
        f, m = feedback(a), propagator(w)
        da = a * b**2 / (1 - w**2) - c * b / (1 - w * w_star)
        db = f * (a * b * sigma(m * w) - c * sigma(m * w_star))
        dw = f * b * (a * b * w * sigma(m * w) / (1 - w**2) - c * w_star * sigma(m * w_star) / (1 - w * w_star))
        return [-da, -db, -dw, np.sqrt(da**2 + db**2 + dw**2)]

    solution = solve_ivp(flow, (0, times[-1]), [*start, 0.0], "DOP853", t_eval=times, rtol=rtol, atol=1e-13)
    return solution.y


@pytest.mark.parametrize(("rule", "feedback", "propagator", "lags"), RULES.values(), ids=RULES)
def test_against_another_integrator(rule, feedback, propagator, lags):
    path = learn_mode(rule, START, TEACHER, duration=3.0, rtol=1e-10, atol=1e-12)
    expected = reference(feedback, propagator, lags, START, TEACHER, path.time)
    # Local errors of 1e-10 add up and, on the detour, grow on the way.
    np.testing.assert_allclose(np.stack([*path.modes, path.path_length]), expected, atol=1e-7)
    a, b, w = expected[:3]
    j = np.arange(400)[:, None]  # 0.9^800 is nothing
    loss = ((a * b * w**j - 0.8**j) ** 2).sum(axis=0) / 2
    np.testing.assert_allclose(path.loss, loss, atol=1e-6 * loss.max())
    assert path.peak_loss == path.loss.max() / path.loss[0]


def test_tighter_tolerances_bring_smaller_errors():
    errors = []
    for rtol in (1e-5, 1e-8):
        path = learn_mode(lg.RFLO(-1.0, 0.5), START, TEACHER, duration=3.0, rtol=rtol, atol=rtol / 100)
        expected = reference(*RULES["rflo-detour"][1:], START, TEACHER, path.time)
        errors.append(np.abs(np.stack(path.modes) - expected[:3]).max())
    assert errors[1] < errors[0] / 10
    assert errors[1] < 1e-5


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("gain", [1, -1])
def test_converged_on_either_branch(sign, gain):
    start = lg.Mode(sign * 0.9, sign * gain * 0.8, 0.3)
    path = learn_mode(lg.BPTT(), start, lg.Mode(gain * 1.0, 1.0, 0.8), duration=200.0)
    assert (path.outcome, path.branch) == (Outcome.CONVERGED, sign)
    a, b, w = path.final
    # A loss of 1e-12 of the silent student's leaves 1e-6 in the state.
    np.testing.assert_allclose([a * b, w, a * a - b * b], [gain, 0.8, 0.17], atol=1e-5)
    assert path.time[-1] < 200.0


def test_the_papers_detour():
    path = learn_mode(lg.RFLO(-1.0, 0.5), START, TEACHER, duration=100.0)
    assert (path.outcome, path.branch) == (Outcome.CONVERGED, -1)
    np.testing.assert_allclose(path.final, [-0.504, -1.982, 0.8], atol=1e-3)  # the digits of docs/theory.md
    assert path.path_length[-1] == pytest.approx(4.71, abs=5e-3)
    assert 10 < path.peak_loss < 11
    straight = learn_mode(lg.BPTT(), START, TEACHER, duration=100.0)
    assert (straight.outcome, straight.branch, straight.peak_loss) == (Outcome.CONVERGED, 1, 1.0)
    assert straight.path_length[-1] == pytest.approx(0.23, abs=5e-3)


@pytest.mark.parametrize("c", [1.0, -0.5])
@pytest.mark.parametrize("rule", [lg.BPTT(), lg.TruncatedBPTT(1)], ids=lambda rule: rule.name)
def test_stalled_on_the_saddles_stable_manifold(rule, c):
    # With w* = w = 0 the plane a = −sign(c) b is invariant and runs into (0, 0, 0), exactly also in floating point.
    path = learn_mode(rule, lg.Mode(0.8, -0.8 * np.sign(c), 0.0), lg.Mode(c, 1.0, 0.0), duration=80.0)
    assert (path.outcome, path.branch) == (Outcome.STALLED, 0)
    np.testing.assert_allclose(path.final, 0, atol=1e-6)
    assert path.loss[-1] == pytest.approx(c**2 / 2)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_diverged(decay):
    path = learn_mode(lg.RFLO(-1.0, decay), START, TEACHER, duration=100.0)
    assert (path.outcome, path.branch) == (Outcome.DIVERGED, 0)
    assert 1 - 1e-4 < abs(path.final.w) < 1
    assert path.time[-1] < 5
    assert path.peak_loss > 1e3


def test_diverged_where_the_propagator_has_its_pole():
    # |ŵ| > 1: the credit's sum diverges at w = 1/ŵ, before |w| = 1.
    path = learn_mode(lg.RFLO(-1.0, 1.2), START, TEACHER, duration=100.0)
    assert path.outcome is Outcome.DIVERGED
    assert path.final.w == pytest.approx(1 / 1.2, abs=2e-5)  # the gap is 1e-4 of the teacher's own


def test_unfinished():
    path = learn_mode(lg.BPTT(), lg.Mode(0.1, 0.1, 0.0), TEACHER, duration=0.5)
    assert (path.outcome, path.branch, path.time[-1]) == (Outcome.UNFINISHED, 0, 0.5)


def test_slow_but_on_its_way_is_unfinished_not_stalled():
    rule, teacher = lg.BPTT(), lg.Mode(0.01, 1.0, 0.8)  # slow: the rate is of the order of c
    full = learn_mode(rule, lg.Mode(0.2, 0.1, 0.5), teacher, duration=1e5)
    assert full.outcome is Outcome.CONVERGED
    i = np.flatnonzero(full.loss < 1e-5 * 1e-4 / 0.72)[0]  # ten times the loss at which it has converged
    part = learn_mode(rule, lg.Mode(0.2, 0.1, 0.5), teacher, duration=float(full.time[i]))
    assert part.outcome is Outcome.UNFINISHED


@pytest.mark.parametrize("gap", [1e-6, 1e-12])
def test_a_start_at_the_boundary_may_come_back(gap):
    back = learn_mode(lg.BPTT(), lg.Mode(1.0, 1.0, 1 - gap), TEACHER, duration=50.0)
    assert (back.outcome, back.branch, back.peak_loss) == (Outcome.CONVERGED, 1, 1.0)
    out = learn_mode(lg.RFLO(-1.0, 0.0), lg.Mode(1.0, 1.0, 1 - gap), TEACHER, duration=50.0)
    assert out.outcome is Outcome.DIVERGED


def test_a_start_on_the_optimum_stays():
    path = learn_mode(lg.BPTT(), TEACHER, TEACHER, duration=10.0)
    assert (path.outcome, path.branch, path.peak_loss, path.path_length[-1]) == (Outcome.CONVERGED, 1, 1.0, 0.0)
    rested = learn_mode(lg.BPTT(), lg.Mode(0.0, 0.0, 0.3), TEACHER, duration=10.0)
    assert (rested.outcome, rested.path_length[-1]) == (Outcome.STALLED, 0.0)


# --- invariants ------------------------------------------------------------------------------------------------------


def test_bptt_conserves_and_others_do_not():
    def drift(rule):
        path = learn_mode(rule, lg.Mode(0.7, 1.3, -0.4), TEACHER, duration=5.0, rtol=1e-9, atol=1e-11)
        conserved = path.modes.a**2 - path.modes.b**2
        return np.abs(conserved - conserved[0]).max()

    assert drift(lg.BPTT()) < 1e-7
    assert min(map(drift, (lg.TruncatedBPTT(1), lg.RFLO(1.0, 0.5), lg.EProp(1.0)))) > 1e-2


def test_bptt_never_raises_the_loss():
    path = learn_mode(lg.BPTT(), lg.Mode(-0.3, 1.2, -0.9), TEACHER, duration=100.0)
    assert np.all(np.diff(path.loss) <= 1e-9 * path.loss[0])


def test_path_length_is_no_shorter_than_the_way_through_its_points():
    path = learn_mode(lg.RFLO(-1.0, 0.5), START, TEACHER, duration=100.0)
    chords = np.linalg.norm(np.diff(np.stack(path.modes), axis=1), axis=0)
    assert np.all(np.diff(path.path_length) >= chords - 1e-7)
    assert path.path_length[-1] == pytest.approx(chords.sum(), rel=1e-3)  # the steps are short
    assert path.path_length[0] == path.time[0] == 0


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"initial": lg.Mode(1.0, 1.0, 1.0)}, "student w = 1 must lie strictly between"),
        ({"initial": lg.Mode(np.nan, 1.0, 0.5)}, "student a = nan is not finite"),
        ({"initial": lg.Mode(1e150, 1e100, 0.5)}, r"a = 1e\+150, b = 1e\+100 overflows; give smaller"),
        ({"initial": lg.Mode(np.ones(2), 1.0, 0.5)}, "single modes of scalars; for many at once use integrate_modes"),
        ({"teacher": lg.Mode(0.0, 1.0, 0.5)}, r"teacher a\* b\* = 0 must lie between"),
        ({"teacher": lg.Mode(1e-100, 1e-100, 0.5)}, r"teacher a\* b\* = 1e-200 must lie .*rescale"),
        ({"teacher": lg.Mode(1e100, 1e100, 0.5)}, r"teacher a\* b\* = 1e\+200 must lie"),
        ({"teacher": lg.Mode(1.0, 1.0, -1.5)}, "teacher w = -1.5 must lie strictly between"),
        ({"rule": lg.RFLO(1.0, 1.3)}, "propagator times teacher w = 1.04"),
        ({"rule": lg.RFLO(np.inf, 0.5)}, "feedback = inf is not finite"),
        ({"duration": 0.0}, "duration must be positive and finite, got 0.0"),
        ({"duration": np.inf}, "duration must be positive and finite, got inf"),
        ({"rtol": -1e-3}, "rtol must be positive and finite, got -0.001"),
        ({"atol": np.nan}, "atol must be positive and finite, got nan"),
    ],
)
def test_bad_input_is_refused(changes, words):
    arguments = {"rule": lg.BPTT(), "initial": START, "teacher": TEACHER, "duration": 1.0} | changes
    with pytest.raises(ValueError, match=words) as caught:
        learn_mode(**arguments)
    assert len(str(caught.value).splitlines()) == 1
