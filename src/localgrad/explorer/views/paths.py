"""Paths from one start under several rules, and the loss on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from localgrad.explorer.state import State
from localgrad.figures.looks import rule_style
from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.equations import mode_loss
from localgrad.outcomes import Outcome

POINTS = 400
"""Points of a path, the first at learning time 0, the others evenly in the logarithm of time."""

FIRST = 1e-3
"""Learning time of the second point."""

_DASHES = {"-": None, "--": "7 4", "-.": "8 3 2 3", ":": "2 3"}


def look(key: str) -> dict[str, Any]:
    """Colour and dash of the rule with this key, as the page draws lines: those of all figures."""
    style = rule_style(key)
    kind = style["linestyle"]
    dash = _DASHES[kind] if isinstance(kind, str) else " ".join(f"{2 * x:g}" for x in kind[1])
    return {"color": style["color"], "dash": dash}


def paths(state: State, rest: bool) -> Iterator[tuple[dict, dict]]:
    """From one start under the rule of the sliders and those beside it: where they lead, and the loss on the way."""
    times = np.concatenate([[0.0], np.geomspace(FIRST, state.duration, POINTS - 1)])
    curves, found, refused = {}, [], []
    for place, rule in enumerate(state.rules):
        try:
            run = integrate_modes(
                rule, state.start, state.teacher, duration=state.duration, save_at=times, poles=state.poles
            )
        except ValueError as error:
            refused.append({"rule": rule.name, "key": rule.key, "why": str(error)})
            continue
        points = Mode(*(run.saved or ()))
        curves[f"path{place}"] = np.stack(points).astype(np.float32)
        curves[f"loss{place}"] = np.asarray(mode_loss(points, state.teacher), np.float32)
        found.append({"place": place, "rule": rule.name, "key": rule.key} | look(rule.key) | _summary(run, state))
    yield {"found": found, "refused": refused}, curves | {"time": times.astype(np.float32)}


def _summary(run: Any, state: State) -> dict[str, Any]:
    ends = [float(x) for x in run.final]
    length, peak = float(run.path_length), float(run.peak_loss)
    straight = float(np.linalg.norm(np.subtract(ends, state.start)))
    return {
        "outcome": str(Outcome(int(run.outcome))),
        "branch": int(run.branch),
        "time": float(run.time),
        "end": ends,
        "length": length,
        "detour": length / straight if straight > 0 else None,
        "peak": peak if np.isfinite(peak) else None,
    }
