"""Networks against mode equations: read a network's modes off once, after a transient, and predict the rest.

From the snapshot at which every mode's median input–output alignment reaches a threshold, a network's effective modes
`(a_k, b_k, w_k)`, and `â_k` of its feedback, follow the mode equations of its rule, and for comparison those of others.
The error is that of the gain `a_k b_k`, relative to the teacher's `a*_k b*_k`.

Symmetric e-prop is BPTT in a mode. But `diag W` is not a frame-free notion (docs/theory.md, section 4): in generic
frames e-prop's equations, with `m = w`, need not hold. Those of the same feedback and `m = 0`, tBPTT(1)'s and the
three-factor rule's, run beside them. Limits: `a_k b_k` exceeds a mode's gain by the factor `(1 + |c_k|)/(2|c_k|)`
where alignment is incomplete (`diagnostics/alignment.py`), so that errors cannot fall below that.
"""

from typing import Any

import jax
import numpy as np
import xarray as xr

from localgrad.diagnostics.alignment import EffectiveModes, effective_modes
from localgrad.learning.flow import LearningCurve
from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.reproduction.axes import rule_axis
from localgrad.reproduction.networks.emergent_alignment.sampled import Course
from localgrad.rules.presets import EProp, ThreeFactor, paper_rules
from localgrad.rules.rule import Rule


def _rules_of_modes(feedback: Any, decay: float) -> list[Rule]:
    """The rules whose mode equations are tried."""
    return [*paper_rules(feedback, decay), EProp(feedback), ThreeFactor(feedback)]


_EQUATIONS = _rules_of_modes(1.0, 0.5)
FULL, TRUNCATED, LOCAL, RANDOM, TRACELESS = EQUATIONS = tuple(rule.key for rule in _EQUATIONS)
SYMMETRIC = EProp().key


def orthonormal_local(R: jax.Array, decay: float) -> Rule:
    """RFLO whose feedback has orthonormal rows, a rule of its own in this experiment."""
    return Rule(R, decay, name="RFLO (orthonormal R)", key=ORTHONORMAL)


ORTHONORMAL = "orthonormal"
# The mode equations that are a rule's own.
OWN = {key: key for key in EQUATIONS[:4]} | {SYMMETRIC: FULL, ORTHONORMAL: LOCAL}
# Rules whose modes separate in any frames (docs/theory.md, section 4); a Gaussian `R` is not aligned in any.
SEPARATING = (FULL, TRUNCATED, ORTHONORMAL)
# Those with e-prop's feedback and `m = 0`.
WITHOUT_PROPAGATOR = {SYMMETRIC: TRUNCATED, RANDOM: TRACELESS}


def predictions(curves: list[LearningCurve], R: jax.Array, *, decay: float, aligned: float) -> xr.Dataset:
    """Gains and `w` of networks and of their own mode equations, and the errors of every rule's equations.

    `R` (shape "student output hidden") is what rules without a fixed feedback are read with; `aligned` ends the
    transient.
    """
    path, rows = ("rule", "student", "time", "mode"), [_predicted(curve, R, decay, aligned) for curve in curves]
    dims: dict[str, tuple[str, ...]] = dict.fromkeys(("gain", "w", "mode_gain", "mode_w"), path)
    dims |= {"transient": ("rule",)}
    dims |= {"error": ("rule", "equations", "student", "mode"), "error_from": ("rule", "start", "student", "mode")}
    data = {key: (dims[key], np.stack([row[key] for row in rows])) for key in dims}
    return xr.Dataset(data, {**rule_axis(_EQUATIONS, "equations"), "start": curves[0].snapshot_times[:-1]})


def sampled_predictions(courses: list[Course], R: jax.Array, *, decay: float, aligned: float) -> xr.Dataset:
    """Errors of the rules' own mode equations in sampled training, as in `predictions`."""
    rows = [_predicted(course, R, decay, aligned) for course in courses]
    own = [row["error"][EQUATIONS.index(OWN[c.rule.key])] for row, c in zip(rows, courses, strict=True)]
    dims = ("sampled_rule", "sampled_student", "mode")
    return xr.Dataset({"sampled_error": (dims, np.stack(own))}, rule_axis([c.rule for c in courses], "sampled_rule"))


def _predicted(curve: LearningCurve | Course, R: jax.Array, decay: float, aligned: float) -> dict[str, np.ndarray]:
    """All of one rule, in units of the teacher's `a* b*` and `w*`."""
    fixed, own = curve.rule.feedback.fixed, OWN[curve.rule.key]
    modes = effective_modes(curve.snapshots, curve.teacher, np.asarray(R if fixed is None else fixed)[:, None])
    level = np.median(curve.alignment.input_output, axis=0).min(axis=-1)
    end = int(np.argmax(level[:-1] >= aligned))  # 0, the very first snapshot, if none qualifies: no excuse
    c, gain = modes.teacher.a * modes.teacher.b, modes.student.a * modes.student.b

    def follow(equations: str, start: int) -> Mode:
        return follow_modes(equations, modes, curve.snapshot_times, start, decay)

    def error(equations: str, start: int) -> np.ndarray:
        a, b, _ = follow(equations, start)
        return abs(a * b - gain).max(axis=1) / c

    own_modes = follow(own, end)
    return {
        "transient": curve.snapshot_times[end],
        "gain": gain / c,
        "w": modes.student.w / modes.teacher.w,
        "mode_gain": own_modes.a * own_modes.b / c,
        "mode_w": own_modes.w / modes.teacher.w,
        "error": np.stack([error(key, end) for key in EQUATIONS]),
        "error_from": np.stack([error(own, start) for start in range(len(curve.snapshot_times) - 1)]),
    }


def follow_modes(equations: str, modes: EffectiveModes, times: np.ndarray, start: int, decay: float) -> Mode:
    """Mode equations from snapshot `start` on; before it the network's modes. Shapes "student time mode"."""
    feedback = np.asarray(modes.feedback)[:, start]
    rule = next(rule for rule in _rules_of_modes(feedback, decay) if rule.key == equations)
    initial, later = Mode(*(x[:, start] for x in modes.student)), times[start:] - times[start]
    run = integrate_modes(rule, initial, modes.teacher, duration=later[-1], save_at=later, early_stop=False)
    predicted = Mode(*(np.moveaxis(x, -1, 1) for x in run.saved or ()))
    return Mode(*(np.concatenate([x[:, :start], y], axis=1) for x, y in zip(modes.student, predicted, strict=True)))
