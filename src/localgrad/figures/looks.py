"""Colours and line styles, as plain words and numbers: what figures and the explorer share.

A rule has the same colour, line style and marker everywhere, told apart by any one of the three; so has each way in
which learning ends. Colours are those of Okabe & Ito (2008), which colour-blind readers tell apart.
"""

from typing import Any

import numpy as np

from localgrad.outcomes import Outcome

# Okabe & Ito 2008, without their yellow, which is too light for lines on white.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#767676"
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
"""Colours for what is not a rule: modes, panels, branches."""

OUTCOME_KINDS = ("converged, s > 0", "converged, s < 0", "stalled", "diverged", "unfinished")
"""How learning ends, as maps of basins tell it: both branches of the optimal manifold, then the other outcomes."""

OUTCOME_COLORS = (BLUE, GREEN, "#F0E442", "#CFCFCF", BLACK)
"""One for each of `OUTCOME_KINDS`; the first two are paler the longer convergence takes."""

_RULES: dict[str, tuple[str, Any, str]] = {
    "bptt": (BLACK, "-", "o"),
    "tbptt-1": (BLUE, "--", "s"),
    "rflo": (VERMILLION, "-.", "^"),
    "eprop": (GREEN, ":", "D"),
    "eprop-random": (PURPLE, (0, (3, 1, 1, 1, 1, 1)), "v"),
    "feedback-alignment": (ORANGE, (0, (8, 2)), "P"),
    "three-factor": (GREY, (0, (1, 3)), "X"),
}
_LONGER_TRUNCATIONS = {2: ("-", "p"), 3: ((0, (4, 1)), "h"), 4: ((0, (2, 1)), "<"), 5: ((0, (1, 1)), ">")}


def rule_style(key: str) -> dict[str, Any]:
    """`color`, `linestyle` and `marker` of the rule with this key (`Rule.key`): the same in every figure.

    Truncated BPTT of two lags and more shares one colour. Rules without a look of their own are grey. For long curves
    thin the markers, `ax.plot(x, y, **rule_style(key), markevery=0.1)`, or drop them with `| {"marker": ""}`.

    >>> rule_style("bptt")
    {'color': '#000000', 'linestyle': '-', 'marker': 'o'}
    """
    key = key.partition("#")[0]  # the mark of a second rule with this key
    kind, _, lags = key.partition("-")
    if key in _RULES:
        color, linestyle, marker = _RULES[key]
    elif f"{kind}-1" in _RULES and lags.isdecimal():
        color = SKY
        linestyle, marker = _LONGER_TRUNCATIONS.get(int(lags), ((0, (6, 1, 1, 1)), "*"))
    else:
        color, linestyle, marker = GREY, (0, (5, 3)), "d"
    return {"color": color, "linestyle": linestyle, "marker": marker}


def outcome_kinds(outcome: Any, branch: Any) -> np.ndarray:
    """Index into `OUTCOME_KINDS` of each trajectory, from its outcome's code and its branch.

    >>> outcome_kinds([0, 0, 2], [1, -1, 0]).tolist()
    [0, 1, 3]
    """
    outcome, branch = np.asarray(outcome), np.asarray(branch)
    # STALLED, DIVERGED and UNFINISHED follow the two branches.
    return np.where(outcome == Outcome.CONVERGED, np.where(branch > 0, 0, 1), outcome + 1).astype(np.uint8)


def slowness(time: Any) -> np.ndarray:
    """How pale a converged trajectory is drawn, from 0 to 0.85: by the logarithm of its learning time."""
    return np.clip((np.log10(np.asarray(time) + 1e-9) + 0.5) / 2.5, 0, 0.85)
