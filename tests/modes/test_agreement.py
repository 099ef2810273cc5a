"""`learn_mode` and `integrate_modes` say the same of how learning ends: two integrators, one definition of outcomes.

Disagreements that are left are matters of tolerance: a start so near the border of two basins that the errors of a step
choose between them, and a start on a blocked point (feedback 0), which rounding errors leave in their own direction.
"""

import numpy as np
import pytest

import localgrad as lg
from localgrad import Mode, Outcome

RULES = [
    lg.BPTT(),
    lg.TruncatedBPTT(1),
    lg.TruncatedBPTT(3),
    lg.RFLO("symmetric", 0.5),
    lg.RFLO(1.0, 0.5),
    lg.RFLO(-1.0, 0.5),
    lg.RFLO(3.0, 0.9),
    lg.RFLO(-0.8, 0.3),
    lg.EProp(1.0),
    lg.ThreeFactor(1.0),
    lg.Rule(lg.Feedback.blend(0.5, 1.0), lg.Propagator.blend(0.5, 0.5)),
]


def problems(count, seed):
    """Starts and teachers at random; a third of the starts on the optimal manifold, of them a half next to it."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-3, 3, (2, count))
    w, w_star = rng.uniform(-0.95, 0.95, (2, count))
    c = rng.choice([-1.0, 1.0], count) * rng.uniform(0.3, 2, count)
    on = np.arange(count) < count // 3
    s = np.exp(rng.uniform(-2, 2, count)) * rng.choice([-1, 1], count)
    beside = np.where(np.arange(count) < count // 6, 1 + 1e-4 * rng.standard_normal(count), 1.0)
    return Mode(np.where(on, s * beside, a), np.where(on, c / s, b), np.where(on, w_star, w)), Mode(c, 1.0, w_star)


def ends(rule, start, teacher):
    run = lg.integrate_modes(rule, start, teacher, duration=300.0)
    both = []
    for i in range(len(start.a)):
        one, its_teacher = Mode(*(x[i] for x in start)), Mode(teacher.a[i], 1.0, teacher.w[i])
        path = lg.learn_mode(rule, one, its_teacher, duration=300.0, rtol=1e-6, atol=1e-8)
        both.append(((str(path.outcome), path.branch), (str(Outcome.words(run.outcome[i])), int(run.branch[i]))))
    return both


@pytest.mark.parametrize(("count", "rules"), [(6, RULES[1::2]), pytest.param(20, RULES, marks=pytest.mark.slow)])
def test_both_engines_agree_on_every_problem(count, rules):
    seen = set()
    for k, rule in enumerate(rules):
        for single, many in ends(rule, *problems(count, k)):
            assert single == many
            seen.add(many)
    assert {("converged", 1), ("converged", -1), ("stalled", 0), ("diverged", 0)} <= seen


def test_an_unstable_optimum_is_no_convergence():
    """The rate at which RFLO(−0.8, 0.3) leaves (1, 1, 0.6) is 2.4, though the loss there is 0."""
    rule, start, teacher = lg.RFLO(-0.8, 0.3), Mode(1.0, 1.0, 0.6), Mode(2.0, 0.5, 0.6)
    assert lg.convergence_rate(rule, teacher, 1.0) == pytest.approx(-2.4, abs=0.05)
    path = lg.learn_mode(rule, start, teacher, duration=100.0)
    run = lg.integrate_modes(rule, start, teacher, duration=100.0)
    assert path.outcome is Outcome.STALLED
    assert run.outcome == Outcome.STALLED
    stable = lg.learn_mode(lg.RFLO(0.8, 0.3), start, teacher, duration=100.0)
    assert (stable.outcome, stable.branch) == (Outcome.CONVERGED, 1)


def test_both_end_or_refuse_at_every_size():
    for size in (1e3, 3e7, 1e15, 1e60, 1e120):
        start = Mode(-size, 0.3, -0.1)
        path = lg.learn_mode(lg.BPTT(), start, Mode(1.0, 1.0, 0.8), duration=1000.0, max_steps=500)
        run = lg.integrate_modes(lg.BPTT(), start, Mode(1.0, 1.0, 0.8), duration=1000.0, max_steps=500)
        for outcome in (path.outcome, Outcome(int(run.outcome))):
            assert outcome in (Outcome.CONVERGED, Outcome.UNFINISHED)
        assert all(np.isfinite(path.final))
    with pytest.raises(ValueError, match="overflows; give smaller weights"):
        lg.learn_mode(lg.BPTT(), Mode(-1e160, 0.3, -0.1), Mode(1.0, 1.0, 0.8), duration=1000.0)
