"""The Python that reproduces what is shown: whole programs that need only localgrad and NumPy."""

from __future__ import annotations

from localgrad.explorer.state import PLANES, State
from localgrad.models.poles import POLES


def _rule(state: State) -> str:
    """The rule of the sliders as it is written by hand."""
    feedback = {0.0: '"symmetric"', 1.0: repr(state.feedback)}.get(
        state.feedback_share, f"lg.Feedback.blend({state.feedback_share!r}, {state.feedback!r})"
    )
    propagator = {0.0: '"full"', 1.0: repr(state.decay)}.get(
        state.propagator_share, f"lg.Propagator.blend({state.propagator_share!r}, {state.decay!r})"
    )
    return f"lg.Rule({feedback}, {propagator}, {state.lags or None})"


def _teacher(state: State) -> str:
    return f"lg.Mode({state.teacher_a!r}, {state.teacher_b!r}, {state.teacher_w!r})"


def map_snippet(state: State, count: int) -> str:
    """A program whose `kind` is the map: 0 and 1 converged to s > 0 and s < 0, 2 stalled, 3 diverged, 4 unfinished."""
    across, up, held = PLANES[state.plane]
    lines = [
        f"{name} = {low!r} + {high - low!r} * (np.arange({count}) + 0.5) / {count}"
        for name, (low, high) in state.axes.items()
    ]
    poles = "" if state.poles == next(iter(POLES)) else f", poles={state.poles!r}"
    return "\n".join(
        [
            "import localgrad as lg",
            "import numpy as np",
            "",
            f"rule = {_rule(state)}",
            f"teacher = {_teacher(state)}",
            *lines,
            f"found = lg.basins(rule, teacher, {across}={across}, {up}={up}, {held}={state.fixed!r}, "
            f"duration={state.duration!r}{poles})",
            "converged = found.outcome == lg.Outcome.CONVERGED",
            "kind = np.where(converged, (1 - found.branch) // 2, found.outcome + 1)",
            'print(found.outcome.sizes, "converged:", float(converged.mean()))',
            "",
        ]
    )
