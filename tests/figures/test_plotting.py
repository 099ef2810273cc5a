"""Rules look the same in every figure, and differ from one another even in grey print."""

import sys

import matplotlib
import numpy as np
import pytest

from localgrad.figures.plotting import GREY, figure_to_png, figure_to_svg, new_figure, rule_style, style
from localgrad.rules.presets import PRESETS, make_rule, parameters_of

VALUES = {"feedback": 1.0, "decay": 0.5}


def _key_of(preset: str, **given: float) -> str:
    needed = {k for k, p in parameters_of(preset).items() if p.default is p.empty}
    return make_rule(preset, **{key: VALUES[key] for key in needed} | given).key


KEYS = [*map(_key_of, PRESETS), _key_of("eprop", feedback=1.0)]
# A new preset may do without a look of its own; those that have one differ.
OWN = [key for key in KEYS if rule_style(key) != rule_style("custom")]


@pytest.mark.parametrize("key", ["color", "linestyle", "marker"])
def test_named_rules_differ_in_each_respect(key):
    assert len({str(rule_style(rule)[key]) for rule in OWN}) == len(OWN) >= 7


def test_truncations_share_a_colour_and_differ_otherwise():
    styles = [rule_style(f"tbptt-{lags}") for lags in range(2, 7)]
    assert len({each["color"] for each in styles}) == 1
    assert len({(str(each["linestyle"]), each["marker"]) for each in styles}) == 5


def test_unknown_rules_are_grey():
    assert rule_style("custom")["color"] == rule_style("tbptt-x")["color"] == GREY


def test_style_is_undone_and_ignores_the_user():
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"text.usetex": True}), style():
        assert not matplotlib.rcParams["text.usetex"]
    assert dict(matplotlib.rcParams) == before


def test_figures_are_drawn_without_pyplot_state():
    figure, axes = new_figure(2, 3)
    assert axes.shape == (6,)
    assert figure.get_figwidth() == 7
    axes[0].imshow(np.eye(3))
    assert figure_to_png(figure, dpi=20).startswith(b"\x89PNG")
    assert b"<svg" in figure_to_svg(figure)
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        assert pyplot.get_fignums() == []


def test_a_notebook_shows_a_figure_as_the_last_value_of_a_cell():
    figure, axes = new_figure()
    axes[0].plot([0, 1], [0, 1])
    shown = figure._repr_png_()
    assert shown.startswith(b"\x89PNG")
    assert len(shown) > 1000
