"""Fixed points: the known manifolds are at rest with the stated loss, and a search finds them and nothing else."""

import sys

import numpy as np
import pytest

import localgrad as lg
from localgrad.modes.equations import field
from localgrad.modes.fixed_points import fixed_points, search_fixed_points

MODULE = sys.modules[fixed_points.__module__]  # its name is also that of the function
HALF = lg.Rule(lg.Feedback.blend(0.5, 1.0), "full", name="half-fixed feedback")
RULES = {
    "bptt": (lg.BPTT(), ["optimal", "silent"]),
    "tbptt-1": (lg.TruncatedBPTT(1), ["optimal", "silent"]),
    "tbptt-2": (lg.TruncatedBPTT(2), ["optimal", "silent"]),
    "tbptt-5": (lg.TruncatedBPTT(5), ["optimal", "silent"]),
    "rflo": (lg.RFLO(-1.3, 0.5), ["optimal"]),
    "rflo-symmetric": (lg.RFLO("symmetric", 0.5), ["optimal", "silent"]),
    "eprop": (lg.EProp(0.7), ["optimal"]),
    "three-factor": (lg.ThreeFactor(0.7), ["optimal"]),
    "half-fixed": (HALF, ["optimal", "silent", "blocked"]),
    "blend-of-both": (
        lg.Rule(lg.Feedback.blend(0.3, -0.8), lg.Propagator.blend(0.4, 0.6), 3),
        ["optimal", "silent", "blocked"],
    ),
}
TEACHERS = [lg.Mode(1.0, 1.0, 0.8), lg.Mode(1.5, -0.7, 0.3), lg.Mode(-0.6, 0.9, -0.5)]
every_rule = pytest.mark.parametrize(("rule", "names"), RULES.values(), ids=RULES)


def brute_loss(student, teacher, num_lags=3000):
    """`½ Σ_j (a b w^j − a* b* w*^j)²`, summed; 0.95^3000 is nothing."""
    j = np.arange(num_lags)
    response, wanted = (x.a * x.b * x.w**j for x in (student, teacher))
    return float(((response - wanted) ** 2).sum() / 2)


@every_rule
@pytest.mark.parametrize("teacher", TEACHERS, ids=str)
def test_manifolds_are_at_rest_with_their_losses(rule, names, teacher):
    found = fixed_points(rule, teacher)
    assert [manifold.name for manifold in found] == names
    c, w_star = teacher.a * teacher.b, teacher.w
    for manifold in found:
        t = np.array([-3.0, -0.4, 0.2, 1.7]) if manifold.parameter == "s" else np.array([-0.95, -0.3, 0.0, 0.9])
        points = manifold.at(t)
        # Products of numbers below 30 in the field cancel to rounding.
        assert np.max(np.abs(np.stack(np.broadcast_arrays(*field(rule, points, teacher))))) < 1e-12
        losses = [brute_loss(lg.Mode(*x), teacher) for x in np.stack(np.broadcast_arrays(*points), axis=1)]
        np.testing.assert_allclose(manifold.loss(t), losses, rtol=1e-11, atol=1e-28)
        if manifold.name == "optimal":
            assert np.all(manifold.loss(t) < 1e-28)
        if manifold.name == "silent":
            np.testing.assert_allclose(manifold.loss(t), c**2 / (2 * (1 - w_star**2)), rtol=1e-13)
        if manifold.name == "blocked":
            blocked = c**2 / 2 * (1 / (1 - w_star**2) - (1 - t**2) / (1 - t * w_star) ** 2)
            np.testing.assert_allclose(manifold.loss(t), blocked, rtol=1e-11)
        assert manifold.domain == ((-np.inf, np.inf) if manifold.parameter == "s" else (-1.0, 1.0))
        assert "-0" not in manifold.formula


def test_where_feedback_vanishes():
    _, silent, blocked = fixed_points(HALF, TEACHERS[0])  # f = ½ a + ½
    assert silent.at(0.3).a == blocked.at(0.3).a == -1.0
    assert "(-1, 0, w)" in silent.formula


def test_distance_to_a_manifold():
    optimal, silent = fixed_points(lg.BPTT(), TEACHERS[0])
    point = lg.Mode(np.array([2.0, 0.0, 2.0]), np.array([0.5, 0.0, 0.6]), np.array([0.8, 0.1, 0.8]))
    np.testing.assert_allclose(optimal.distance(point), [0, np.inf, 0.1], atol=1e-15)
    np.testing.assert_allclose(silent.distance(point), [2.5, 0, 2.6], atol=1e-15)


@pytest.mark.parametrize("function", [fixed_points, search_fixed_points])
@pytest.mark.parametrize(
    ("rule", "teacher", "words"),
    [
        (lg.RFLO(0.0, 0.5), TEACHERS[0], "feedback is zero.*give a non-zero feedback"),
        (lg.Rule(lg.Feedback()), TEACHERS[0], "feedback is zero"),
        (lg.BPTT(), lg.Mode(0.0, 1.0, 0.5), r"teacher a\* b\* = 0"),
        (lg.BPTT(), lg.Mode(1.0, 0.0, 0.5), r"teacher a\* b\* = 0"),
    ],
)
def test_degenerate_problems_are_refused(function, rule, teacher, words):
    with pytest.raises(ValueError, match=words):
        function(rule, teacher)


@every_rule
def test_the_search_finds_what_there_is_and_nothing_else(rule, names):
    for seed, teacher in enumerate(TEACHERS[:2]):
        search = search_fixed_points(rule, teacher, num_starts=60, seed=seed)
        assert {*search.labels} <= {*names}, "a fixed point that the theory does not know"
        assert search.num_escaped + len(search.labels) == 60
        assert sum(search.count(name) for name in names) == len(search.labels)
        rates = np.stack(np.broadcast_arrays(*field(rule, search.roots, teacher)))
        assert np.linalg.norm(rates, axis=0).max() < 1e-9  # the search's own tolerance


def test_the_search_has_power():
    found = search_fixed_points(HALF, TEACHERS[0], num_starts=150, seed=0)
    assert min(found.count(name) for name in ("optimal", "silent", "blocked")) >= 5
    branches = np.sign(found.roots.a[found.labels == "optimal"])
    assert {*branches} == {-1.0, 1.0}
    assert np.ptp(found.roots.w[found.labels == "silent"]) > 0.5  # along the line, not at one point of it


@pytest.mark.parametrize("num_starts", [1, 7])
def test_the_search_is_repeatable(num_starts):
    one, other = (search_fixed_points(lg.BPTT(), TEACHERS[0], num_starts=num_starts, seed=3) for _ in range(2))
    np.testing.assert_array_equal(np.stack(one.roots), np.stack(other.roots))


def test_random_rules_have_no_unknown_fixed_points():
    """Feedback, propagator and lags drawn at random, under random teachers."""
    rng = np.random.default_rng(5)
    for seed in range(6):
        phi, fixed, full, decay = rng.uniform(-1, 1, 4) * [1, 1, 0.6, 0.4]  # |m| < 1
        lags = [None, 1, 2, 3, 4, 6][seed]
        rule = lg.Rule(lg.Feedback(phi, fixed), lg.Propagator(full, None, decay), lags)
        teacher = lg.Mode(*rng.uniform(0.4, 1.6, 2) * rng.choice([-1, 1], 2), rng.uniform(-0.9, 0.9))
        search = search_fixed_points(rule, teacher, num_starts=40, seed=seed)
        assert search.count("unknown") == 0
        assert len(search.labels) > 0


@pytest.mark.parametrize("missing", ["optimal", "silent", "blocked"])
def test_a_manifold_that_the_theory_missed_would_be_unknown(monkeypatch, missing):
    """The negative control: hide one manifold from the labels, and its roots are reported as unknown."""
    full = search_fixed_points(HALF, TEACHERS[0], num_starts=100, seed=0)
    known = tuple(m for m in fixed_points(HALF, TEACHERS[0]) if m.name != missing)
    monkeypatch.setattr(MODULE, "fixed_points", lambda rule, teacher: known)
    blinded = search_fixed_points(HALF, TEACHERS[0], num_starts=100, seed=0)
    assert full.count("unknown") == 0
    # The curves cross: where silent or blocked roots also lie on another curve they keep that label.
    assert blinded.count("unknown") >= full.count(missing) - 2 > 0


def test_another_teachers_manifold_is_unknown(monkeypatch):
    swapped = fixed_points(lg.RFLO(1.0, 0.5), lg.Mode(1.0, 1.0, 0.79))
    monkeypatch.setattr(MODULE, "fixed_points", lambda rule, teacher: swapped)
    search = search_fixed_points(lg.RFLO(1.0, 0.5), TEACHERS[0], num_starts=20)
    assert search.count("unknown") == len(search.labels) == 20
