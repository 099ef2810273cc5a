"""The Python that reproduces what is shown: whole programs that need only localgrad and NumPy."""

from __future__ import annotations

from localgrad.explorer.state import PLANES, State
from localgrad.models.poles import POLES


def _rule(state: State, fixed: str | None = None) -> str:
    """The rule of the sliders as it is written by hand; `fixed` is its feedback, by default the number."""
    fixed = fixed or repr(state.feedback)
    feedback = {0.0: '"symmetric"', 1.0: fixed}.get(
        state.feedback_share, f"lg.Feedback.blend({state.feedback_share!r}, {fixed})"
    )
    propagator = {0.0: '"full"', 1.0: repr(state.decay)}.get(
        state.propagator_share, f"lg.Propagator.blend({state.propagator_share!r}, {state.decay!r})"
    )
    return f"lg.Rule({feedback}, {propagator}, {state.lags or None})"


def _late(state: State) -> str:
    return f".with_delay({state.delay})" if state.delay else ""


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
            f"rule = {_rule(state)}{_late(state)}",
            f"teacher = {_teacher(state)}",
            *lines,
            f"found = lg.basins(rule, teacher, {across}={across}, {up}={up}, {held}={state.fixed!r}, "
            f"duration={state.duration!r}{poles})",
            "converged = found.outcome == lg.Outcome.CONVERGED",
            "kind = np.where(converged, (1 - found.branch) // 2, found.outcome + 1)",
            'print("share that converged:", float(converged.mean()))',
            "",
        ]
    )


def network_snippet(state: State) -> str:
    """A program whose `curve` is the network's course of learning."""
    from localgrad.explorer.views.network import WEAKER

    count, units = state.teacher_modes, state.units
    return "\n".join(
        [
            "import jax",
            "import localgrad as lg",
            "import numpy as np",
            "",
            'jax.config.update("jax_enable_x64", True)',
            f"keys, k = jax.random.split(jax.random.key({state.seed}), 3), np.arange({count})",
            f"a, b, w = {state.teacher_a!r} * {WEAKER} ** k, np.full({count}, {state.teacher_b!r}), "
            f"{state.teacher_w!r} * (1 - k / {count})",
            f"frames = lg.random_frames({count}, {count}, {count}, key=keys[0])",
            "teacher = lg.aligned_network(lg.Mode(a, b, w), frames)",
            f"student = lg.random_network({count}, {units}, {count}, key=keys[1], scale={state.weight_scale!r})",
            f"R = jax.random.normal(keys[2], ({count}, {units})) / np.sqrt({units})",
            f"rule = {_rule(state, f'{state.feedback!r} * R')}",
            f"curve = lg.learn(rule, student, teacher, duration={state.learning_time!r})",
            "print(curve)",
            'print("rank of the change of W:", curve.spectrum.W.rank[-1])',
            "",
        ]
    )


def rates_snippet(state: State) -> str:
    """A program that prints how fast the rule of the sliders converges along the branch that is shown."""
    poles = "" if state.poles == next(iter(POLES)) else f", poles={state.poles!r}"
    sign = "" if state.branch == "s > 0" else "-"
    return "\n".join(
        [
            "import localgrad as lg",
            "import numpy as np",
            "",
            f"rule = {_rule(state)}{_late(state)}",
            f"teacher = {_teacher(state)}",
            "middle = np.sqrt(abs(teacher.a * teacher.b))",
            f"s = {sign}np.geomspace(middle / 10, middle * 10, 300)",
            f"rate = lg.convergence_rate(rule, teacher, s{poles})",
            f"critical = lg.critical_learning_rate(rule, teacher, s{poles})",
            'print("fastest:", rate.max(), "at s =", s[rate.argmax()])',
            "",
        ]
    )
