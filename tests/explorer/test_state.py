"""States: what comes from a link is a state or is refused in one sentence, and a rule finds its place among sliders."""

import numpy as np
import pytest

import localgrad as lg
from localgrad.explorer.launch import link
from localgrad.explorer.state import State, describe_fields, describe_presets, preset, read_state
from localgrad.explorer.views import mode_space
from localgrad.rules.presets import PRESETS


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"feedback": 1e9}, "feedback is 1000000000.0, but should be less than or equal to 3"),
        ({"feedback": "much"}, "feedback is 'much', but should be a valid number"),
        ({"feedback": float("nan")}, "feedback is nan, but should be a finite number"),
        ({"feedback": [1]}, "feedback is .* but should be a valid number"),
        ({"lags": 1.5}, "lags is 1.5, but should be a valid integer"),
        ({"poles": "none"}, "poles is 'none', but should be 'direct', 'tanh' or 'lru'"),
        ({"compare": "nonsense"}, "compare names an unknown rule 'nonsense'; known: "),
        ({"colour": "red"}, "a state has no field 'colour'; leave it out"),
        ({"view": "modes", "__class__": "x"}, "a state has no field '__class__'; leave it out"),
        ([], "the state is .*; give an object of the fields of a state"),
        (None, "the state is None; give an object"),
    ],
)
def test_what_is_no_state_is_refused_in_one_sentence(value, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_state(value)
    assert "\n" not in str(caught.value)


def test_every_named_rule_has_a_place_among_the_sliders():
    for entry in describe_presets():
        state = read_state({"feedback": 0.7, "decay": 0.3} | entry["place"])
        named = preset(entry["name"], state)
        assert named.key == entry["key"]
        assert state.rule.name != "of the sliders"  # some named rules are the same on a mode: the first one's name
        assert (state.rule.affine, state.rule.lags) == (named.affine, named.lags)
    assert [entry["name"] for entry in describe_presets()] == list(PRESETS)


def test_a_rule_between_the_named_ones_is_what_its_blends_say():
    state = read_state({"feedback_share": 0.25, "feedback": 2.0, "propagator_share": 0.5, "decay": 0.8, "lags": 3})
    phi0, phi1, mu0, mu1 = state.rule.affine
    assert (phi0, phi1, mu0, mu1) == pytest.approx((0.5, 0.75, 0.4, 0.5))
    assert state.rule.lags == 3
    assert state.rule.key == "custom"


def test_defaults_lie_within_their_bounds_and_steps():
    for name, field in describe_fields().items():
        if "minimum" in field:
            assert field["minimum"] <= field["default"] <= field["maximum"], name
            assert field["step"] > 0


def test_a_link_holds_what_differs_from_the_defaults():
    assert link(State()) == ""
    assert link(read_state({"lags": 2, "compare": "bptt,rflo"})) == "#lags=2&compare=bptt,rflo"


@pytest.mark.parametrize("plane", ["ab", "aw", "bw"])
@pytest.mark.parametrize("changes", [{}, {"feedback_share": 0.3, "propagator_share": 0.6}, {"poles": "lru", "lags": 0}])
def test_the_python_shown_makes_the_map_shown(plane, changes, capsys):
    state = read_state({"plane": plane, "fixed": 0.5} | changes)
    parts = [part for part in mode_space.basin(state, False) if part]
    [(header, arrays)] = parts
    namespace = {}
    exec(header["snippet"], namespace)
    shown = arrays["codes"] // mode_space.LEVELS
    assert shown.shape == (64, 64)
    assert np.array_equal(shown, namespace["kind"].T[::-1])
    assert len(np.unique(arrays["codes"])) > 1
    capsys.readouterr()


def test_maps_refine_and_paler_is_slower():
    state = read_state({"feedback_share": 0.0, "propagator_share": 0.0})
    parts = mode_space.basin(state, True)
    first, second = (next(part for part in parts if part) for _ in range(2))
    assert [first[0]["count"], second[0]["count"]] == [64, 256]
    run = lg.integrate_modes(lg.BPTT(), mode_space.starts(state, 64)[0], state.teacher, duration=1000.0, rtol=1e-5)
    level = first[1]["codes"] % mode_space.LEVELS
    order = np.argsort(run.time.ravel())
    assert np.all(np.diff(level.ravel()[order].astype(int)) >= 0)
    assert level.max() > level.min()
    assert sum(first[0]["shares"].values()) == pytest.approx(1)


def test_every_code_has_one_colour():
    colors = mode_space.palette()
    used = colors[: 5 * mode_space.LEVELS]
    assert np.all(used[:, 3] == 255)
    assert len(np.unique(used[:: mode_space.LEVELS], axis=0)) == 5
    assert not colors[5 * mode_space.LEVELS :].any()
