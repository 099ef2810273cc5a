"""Rates: how fast each rule converges to every point of the optimal manifold, and at which learning rate it breaks.

Along one branch of the manifold `(s, c/s, w*)`: the convergence rate `−Re λ₊`, both eigenvalues of the rule of the
sliders, the critical learning rate, and where the rules' rates cross. Errors may come late here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from localgrad.explorer.snippets import rates_snippet
from localgrad.explorer.state import State
from localgrad.explorer.views.landscape import STILL
from localgrad.explorer.views.paths import look
from localgrad.modes.stability import convergence_rate, critical_learning_rate, rate_crossings, spectrum
from localgrad.rules.rule import Rule

POINTS = 300
REACH = 10.0
"""The manifold is shown from `√|c| / REACH` to `√|c| · REACH`."""


def points_of_branch(state: State) -> np.ndarray:
    """Values of `s` along the branch, evenly in their logarithm."""
    middle = np.sqrt(abs(state.teacher_a * state.teacher_b))
    size = np.geomspace(middle / REACH, middle * REACH, POINTS)
    return size if state.branch == "s > 0" else -size


def rates(state: State, rest: bool) -> Iterator[tuple[dict, dict]]:
    """Curves along the branch, and the crossings with the rule of the sliders."""
    s = points_of_branch(state)
    own, *_ = rules = state.rules
    curves, found, refused = {"s": s}, [], []
    for place, rule in enumerate(rules):
        try:
            about, arrays = _of_rule(rule, own, state, s)
        except ValueError as error:
            refused.append({"rule": rule.name, "why": str(error)})
            continue
        found.append({"place": place, "rule": rule.name, "key": rule.key} | look(rule.key) | about)
        curves |= {f"{name}{place}": values for name, values in arrays.items()}
    arrays = {name: np.asarray(values, np.float32) for name, values in curves.items()}
    yield {"found": found, "refused": refused, "snippet": rates_snippet(state)}, arrays


def _of_rule(rule: Rule, own: Rule, state: State, s: np.ndarray) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    along = (rule, state.teacher, s)
    rate = convergence_rate(*along, poles=state.poles)
    values = spectrum(*along, poles=state.poles)[..., 1:]
    fastest = int(np.argmax(rate))
    about: dict[str, Any] = {
        "stable": float(np.mean(rate > STILL * np.abs(values).max(axis=-1))),
        "fastest": float(rate[fastest]),
        "fastest_at": float(s[fastest]),
        "turning": float(np.mean(values[:, 0].imag != 0)),
        "crossings": [],
    }
    if rule is not own:
        ends = sorted((float(s[0]), float(s[-1])))
        crossings = rate_crossings(rule, own, state.teacher, *ends, samples=200, poles=state.poles)
        about["crossings"] = [float(x) for x in crossings] if len(crossings) < 10 else []
    arrays = {"rate": rate, "critical": critical_learning_rate(*along, poles=state.poles)}
    return about, arrays | {"plus": values[:, 0].real, "minus": values[:, 1].real, "turn": values[:, 0].imag}
