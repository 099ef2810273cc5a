"""Networks against mode equations: read a network's modes off once, after a transient, and predict the rest.

From the snapshot at which every mode's median input–output alignment reaches a threshold, a network's effective modes
`(a_k, b_k, w_k)`, and `â_k` of its feedback, follow the mode equations of its rule, and for comparison those of others.
The error is that of the gain `a_k b_k`, relative to the teacher's `a*_k b*_k`.

Symmetric e-prop is BPTT in a mode. But `diag W` is not a frame-free notion (docs/theory.md, section 4): in generic
frames e-prop's equations, with `m = w`, need not hold. Those of the same feedback and `m = 0`, tBPTT(1)'s and the
three-factor rule's, run beside them. Limits: `a_k b_k` exceeds a mode's gain by the factor `(1 + |c_k|)/(2|c_k|)`
where alignment is incomplete (`diagnostics/alignment.py`), so that errors cannot fall below that.
"""

import jax
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from localgrad.diagnostics.alignment import EffectiveModes, effective_modes
from localgrad.figures.plotting import GREY, PALETTE, label_panels, new_figure, rule_style
from localgrad.learning.flow import LearningCurve
from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.reproduction.experiment import Claim
from localgrad.reproduction.networks.emergent_alignment.sampled import Course
from localgrad.rules.presets import BPTT, RFLO, EProp, ThreeFactor, TruncatedBPTT

ORTHONORMAL = "RFLO (orthonormal R)"
_NAMED = (BPTT(), TruncatedBPTT(1), RFLO(1.0, 0.5), EProp(1.0), ThreeFactor(1.0), EProp())
FULL, TRUNCATED, LOCAL, RANDOM, TRACELESS, SYMMETRIC = (rule.name for rule in _NAMED)
KEYS = {rule.name: rule.key for rule in _NAMED} | {ORTHONORMAL: ORTHONORMAL}
"""A rule's key, for its look, by the name it has here."""
EQUATIONS = (FULL, TRUNCATED, LOCAL, RANDOM, TRACELESS)
# The mode equations that are a rule's own.
OWN = {name: name for name in EQUATIONS[:4]} | {SYMMETRIC: FULL, ORTHONORMAL: LOCAL}
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
    return xr.Dataset(data, {"equations": list(EQUATIONS), "start": curves[0].snapshot_times[:-1]})


def sampled_predictions(courses: list[Course], R: jax.Array, *, decay: float, aligned: float) -> xr.Dataset:
    """Errors of the rules' own mode equations in sampled training, as in `predictions`."""
    rows = [_predicted(course, R, decay, aligned) for course in courses]
    own = [row["error"][EQUATIONS.index(OWN[c.rule.name])] for row, c in zip(rows, courses, strict=True)]
    dims = ("sampled_rule", "sampled_student", "mode")
    return xr.Dataset({"sampled_error": (dims, np.stack(own))}, {"sampled_rule": [c.rule.name for c in courses]})


def _predicted(curve: LearningCurve | Course, R: jax.Array, decay: float, aligned: float) -> dict[str, np.ndarray]:
    """All of one rule, in units of the teacher's `a* b*` and `w*`."""
    fixed, own = curve.rule.feedback.fixed, OWN[curve.rule.name]
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
        "error": np.stack([error(name, end) for name in EQUATIONS]),
        "error_from": np.stack([error(own, start) for start in range(len(curve.snapshot_times) - 1)]),
    }


def follow_modes(equations: str, modes: EffectiveModes, times: np.ndarray, start: int, decay: float) -> Mode:
    """Mode equations from snapshot `start` on; before it the network's modes. Shapes "student time mode"."""
    feedback = np.asarray(modes.feedback)[:, start]
    rules = (BPTT(), TruncatedBPTT(1), RFLO(feedback, decay), EProp(feedback), ThreeFactor(feedback))
    rule = next(rule for rule in rules if rule.name == equations)
    initial, later = Mode(*(x[:, start] for x in modes.student)), times[start:] - times[start]
    run = integrate_modes(rule, initial, modes.teacher, duration=later[-1], save_at=later, early_stop=False)
    predicted = Mode(*(np.moveaxis(x, -1, 1) for x in run.saved or ()))
    return Mode(*(np.concatenate([x[:, :start], y], axis=1) for x, y in zip(modes.student, predicted, strict=True)))


def _typical_error(data: xr.Dataset) -> xr.DataArray:
    """Median over students and modes of the largest later error: "rule equations"."""
    return data.error.median(("student", "mode"))


def _own_by_mode(data: xr.Dataset) -> xr.DataArray:
    """The median error of the own equations for BPTT, tBPTT(1) and RFLO with either R: "rule mode"."""
    rules = (*SEPARATING, EQUATIONS[2])
    own = [data.error.sel(rule=rule, equations=OWN[rule], drop=True).median("student") for rule in rules]
    return xr.concat(own, "rule")


def prediction_checks(data: xr.Dataset) -> list[Claim]:
    """Whether the mode equations predict sampled training as well as the flow."""
    return [
        Claim.at_most(
            "emergent-alignment.sampled",
            "paper, emergent alignment",
            "After the transient the mode equations predict the two dominant modes in sampled training "
            "(largest later error of the gain, relative to a*_k b*_k, median over students, worst rule of "
            "BPTT, tBPTT(1) and RFLO)",
            0.05,
            data.sampled_error.median("sampled_student").isel(mode=slice(0, 2)).max(),
        ),
    ]


def prediction_numbers(data: xr.Dataset) -> dict[str, float]:
    """Errors of the other modes, and how far gains still had to go."""
    sampled = data.sampled_error.median("sampled_student").isel(mode=slice(2, None))
    return {"weaker": float(_own_by_mode(data).isel(mode=slice(2, None)).max()), "weaker-sampled": float(sampled.max())}


def prediction_claims(data: xr.Dataset) -> list[Claim]:
    """Networks follow the equations of their own rule, and how closely; e-prop's do not."""
    errors = _typical_error(data)
    own = {rule: float(errors.sel(rule=rule, equations=OWN[rule])) for rule in OWN}
    others = {rule: [e for e in EQUATIONS[:4] if e != OWN[rule]] for rule in SEPARATING}
    rivals = {rule: float(errors.sel(rule=rule, equations=others[rule]).min()) for rule in SEPARATING}
    without = {r: float(errors.sel(rule=r, equations=e)) for r, e in WITHOUT_PROPAGATOR.items()}
    return [
        Claim.at_least(
            "emergent-alignment.own-equations",
            "theory, section 4",
            "After the transient BPTT, tBPTT(1) and RFLO networks, R being one that can align, follow their own rule's "
            "mode equations and not another's (typical error of the best other rule over that of the own, least of 3)",
            1.0,
            min(rivals[rule] / own[rule] for rule in SEPARATING),
        ),
        Claim.at_most(
            "emergent-alignment.error",
            "new: measured",
            "… with a largest later error of the gain a_k b_k, relative to a*_k b*_k, of a few per cent, also under "
            "RFLO with a Gaussian R (median over students and modes, worst of four)",
            0.05,
            max(own[rule] for rule in (*SEPARATING, LOCAL)),
        ),
        Claim.at_most(
            "emergent-alignment.dominant",
            "paper, emergent alignment",
            "After the transient the mode equations predict the two dominant modes (largest later error of the gain, "
            "relative to a*_k b*_k, median over students, worst rule of BPTT, tBPTT(1) and RFLO)",
            0.05,
            _own_by_mode(data).isel(mode=slice(0, 2)).max(),
        ),
        Claim.at_least(
            "emergent-alignment.e-prop",
            "new: measured",
            "e-prop, whose modes do not separate in generic frames, is better described with m = 0 than by its own "
            "equations, m = w (error of the latter over that of the former, lesser of symmetric and random)",
            1.0,
            min(own[rule] / without[rule] for rule in WITHOUT_PROPAGATOR),
        ),
    ]


def _example(ax: Axes, data: xr.Dataset, rule: str) -> None:
    """Gains of the first student: symbols the network's, lines the mode equations' from the transient's end on."""
    one = data.sel(rule=rule).isel(student=0)
    after = one.time >= one.transient
    for i, color in enumerate(PALETTE[: data.sizes["mode"]]):
        ax.plot(one.time[1:], one.gain[1:, i], "os^D"[i % 4], color=color, markersize=3.2, markerfacecolor="none")
        ax.plot(one.time[after], one.mode_gain[after, i], color=color, label=f"mode {i + 1}")
    ax.axvline(float(one.transient), color=GREY, linewidth=0.8)
    ax.set(xscale="log", title=rule, xlabel="learning time", ylabel="gain a b / a* b*")


def draw_prediction(data: xr.Dataset) -> Figure:
    """Two students and their modes; the error over time; the error over the time at which the equations take over."""
    figure, axes = new_figure(2, 2, height=5.8)
    _example(axes[0], data, FULL)
    _example(axes[1], data, LOCAL)
    axes[0].legend(loc="lower right")
    error = abs(data.mode_gain - data.gain).median(("student", "mode"))
    largest = data.error_from.median(("student", "mode"))
    for name in data.rule.values:
        look, here = rule_style(KEYS[str(name)]) | {"marker": ""}, data.time > data.transient.sel(rule=name)
        axes[2].loglog(data.time[here], error.sel(rule=name)[here], **look, label=name)
        axes[3].loglog(data.start[1:], largest.sel(rule=name)[1:], **look)
    axes[2].set(xlabel="learning time", ylabel="error of the gain / a* b*")
    axes[3].set(xlabel="learning time at which the equations start", ylabel="largest later error / a* b*")
    figure.legend(*axes[2].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """Networks against the mode equations of every rule."""
    errors = _typical_error(data)
    rows = [["network", "transient ends", "gain still to come", *EQUATIONS, "w, own", "largest final loss"]]
    for name in map(str, data.rule.values):
        one = data.sel(rule=name)
        later = one.sel(time=slice(one.transient - 1e-9, None))
        to_come = abs(later.gain - later.gain.isel(time=0)).max("time").median()
        error_of_w = abs(later.mode_w - later.w).max("time").median()
        shown = [f"{x:.1%}{' (own)' * (e == OWN[name])}" for e, x in zip(EQUATIONS, errors.sel(rule=name), strict=True)]
        start, loss = f"{float(one.transient):.2f}", f"{float(one.final_loss.max()):.0e}"
        rows.append([name, start, f"{float(to_come):.0%}", *shown, f"{float(error_of_w):.1%}", loss])
    return rows
