"""What is drawn over maps and along the manifold: fixed points are at rest, and stable where a push dies out."""

import numpy as np
import pytest

import localgrad as lg
from localgrad.explorer.state import read_state
from localgrad.explorer.views.landscape import landscape
from localgrad.explorer.views.rates import points_of_branch, rates


def shown(view, **changes):
    state = read_state(changes)
    [(header, arrays)] = view(state, True)
    return state, header, arrays


BLEND = {"feedback_share": 0.5, "feedback": 1.0}


@pytest.mark.parametrize(
    "changes", [{}, {"feedback_share": 0.0}, BLEND, {"poles": "tanh"}, {"delay": 1}, {"lags": 1, "feedback_share": 0.0}]
)
def test_the_curves_are_at_rest(changes):
    state, header, arrays = shown(landscape, **changes)
    names = [curve["name"] for curve in header["curves"]]
    assert names == [
        m.name for m in lg.fixed_points(state.rule, state.teacher) for _ in range(1 + (m.parameter != "w"))
    ]
    for place in range(len(names)):
        a, b, w = arrays[f"points{place}"].astype(float)
        inside = np.abs(w) < 0.99
        velocity = np.array(lg.mode_update(state.rule, lg.Mode(a[inside], b[inside], w[inside]), state.teacher))
        assert np.abs(velocity).max() < 1e-3 * (1 + np.abs(b).max() ** 3)  # the page gets single precision


def test_stable_points_hold_after_a_push_and_unstable_ones_do_not():
    """The trajectory from a small push, as a second way to what the spectrum says."""
    state, _, arrays = shown(landscape, **BLEND)
    manifolds = lg.fixed_points(state.rule, state.teacher)
    for place, manifold in enumerate([manifolds[0], *manifolds]):  # the optimal one has two branches
        for k in (40, 80, 140):
            at = arrays[f"points{place}"][0 if manifold.parameter == "s" else 2, k]
            point = lg.Mode(*map(float, manifold.at(float(at))))
            start = lg.Mode(point.a * (1 + 1e-5), point.b + 1e-5, point.w)
            run = lg.integrate_modes(state.rule, start, state.teacher, duration=1000.0, early_stop=False)
            away = np.linalg.norm(np.subtract(run.final, point))
            assert (away < 0.01) == bool(arrays[f"stable{place}"][k]), (manifold.name, k, away)


def test_the_loss_is_that_of_the_plane():
    state, header, arrays = shown(landscape, plane="aw", fixed=0.5)
    assert header["silent_loss"] == pytest.approx(0.5 / (1 - 0.8**2))
    assert arrays["loss"].shape == (96, 96)
    a, w = -3 + 6 * (10 + 0.5) / 96, 1 - 2 * (5 + 0.5) / 96  # the sixth row from above, the eleventh column
    assert arrays["loss"][5, 10] == pytest.approx(float(lg.mode_loss(lg.Mode(a, 0.5, w), state.teacher)), rel=1e-6)


def test_rates_are_those_of_the_library_and_their_python_runs(capsys):
    state, header, arrays = shown(rates, feedback=1.0)
    s = points_of_branch(state)
    assert np.allclose(arrays["rate0"], lg.convergence_rate(state.rule, state.teacher, s), rtol=1e-6)
    [crossing] = next(found for found in header["found"] if found["key"] == "bptt")["crossings"]
    assert crossing == pytest.approx(0.2535, abs=1e-4)  # as in the docstring of lg.rate_crossings
    namespace = {}
    exec(header["snippet"], namespace)
    assert np.allclose(arrays["rate0"], namespace["rate"], rtol=1e-6)
    assert np.allclose(arrays["critical0"], namespace["critical"], rtol=1e-6)
    assert "fastest" in capsys.readouterr().out


def test_late_errors_and_the_other_branch():
    on_time, late, below = (shown(rates, feedback=1.0, **more)[2] for more in ({}, {"delay": 2}, {"branch": "s < 0"}))
    assert not np.allclose(on_time["rate0"], late["rate0"])
    assert np.all(below["s"] < 0)
    assert np.mean(below["rate0"] > 0) < np.mean(on_time["rate0"] > 0)  # docs/theory.md, section 7: the sign of âs
