"""Learning in a closed loop: what is claimed, what was published, the figure. The data: `closed_loop.py`."""

from typing import Any

import numpy as np
import xarray as xr

from localgrad.figures.plotting import GREY, PALETTE, rule_style, zero_line
from localgrad.reproduction.axes import name_of
from localgrad.reproduction.experiment import Claim
from localgrad.reproduction.networks.literature.closed_loop import BEST
from localgrad.reproduction.networks.literature.topics import BPTT_KEY, EPROP_KEY, RFLO_KEY, TBPTT_KEY, Published
from localgrad.rules.presets import BPTT

SOURCE = "theory, section 15 (Ger & Barak 2025)"


def stages(data: xr.Dataset, student: int) -> tuple[int, int]:
    """Under BPTT through the plant: moments at which the steepest unstable fall is over, and the loop is stable."""
    one = data.isel(loop_rule=0, student=student)
    relative = one.loop_loss / one.loop_loss[0]
    stable = int(np.argmax(one.loop_radius.values < 1))
    fall = -np.diff(np.log(relative.values[:stable])) / np.diff(np.log(np.maximum(one.moment.values[:stable], 1e-12)))
    steepest = int(np.argmax(fall))
    calm = np.flatnonzero(fall[steepest:] < 0.1 * fall[steepest])
    return (steepest + int(calm[0]) if len(calm) else stable), stable


def facts(data: xr.Dataset) -> dict[str, float]:
    """What claims and verdicts are made of."""
    final = data.loop_loss.isel(moment=-1) / BEST
    rows = [_facts_of_student(data, k) for k in range(data.sizes["student"])]
    local = [BPTT_KEY, TBPTT_KEY, RFLO_KEY, EPROP_KEY]
    return {
        "unstable": min(r["radius"] for r in rows), "gain": max(r["gain"] for r in rows),
        "patience": min(r["patience"] for r in rows), "plateau": max(r["plateau"] for r in rows),
        "third-before": max(r["before"] for r in rows), "third-after": min(r["after"] for r in rows),
        "gradient-rise": float(data.rebound.isel(loop_rule=0).max()),
        "spike": float(data.rebound.sel(loop_rule="open").max()), "imitates": float(data.imitation.max()),
        "overshoot": float(data.rebound.sel(loop_rule=local).min()),
        "local-stable": float(data.loop_radius.sel(loop_rule=local).isel(moment=-1).max()),
        "best": float(final.isel(loop_rule=slice(0, -1)).min()),
    }  # fmt: skip


def _facts_of_student(data: xr.Dataset, student: int) -> dict[str, float]:
    over, stable = stages(data, student)
    one = data.isel(loop_rule=0, student=student)
    before, after = one.third[: stable + 1], one.third[stable:]
    return {
        "radius": float(one.loop_radius[over]), "gain": float(one.loop_gain[over]),
        "patience": float(one.moment[stable] / one.moment[over]),
        "plateau": float(one.loop_loss[over] / one.loop_loss[max(stable - 1, over)]),
        "before": float(before.max()), "after": float(after.max()),
    }  # fmt: skip


def claims(data: xr.Dataset) -> list[Claim]:
    """The published stages, and what rules do that know nothing of the plant."""
    found, name = facts(data), "literature.loop"
    return [
        Claim.at_least(
            f"{name}-unstable", SOURCE,
            "BPTT through the plant, first stage: the loss falls by a push against the position, although the loop is "
            "unstable (its radius when the fall is over, least)",
            1, found["unstable"],
        ),
        Claim.at_most(
            f"{name}-push", SOURCE,
            "that push is small and negative (readout times input weights then, largest)",
            0, found["gain"],
        ),
        Claim.at_least(
            f"{name}-plateau", SOURCE,
            "Second stage: until the loop is stable learning takes longer by far (learning time then over that of the "
            "first stage, least)",
            5, found["patience"],
        ),
        Claim.at_least(
            f"{name}-third", SOURCE,
            "Third stage: once the loop is stable a third, real eigenvalue grows (largest after, least over students)",
            0.5, found["third-after"],
        ),
        Claim.at_most(
            f"{name}-third-before", SOURCE,
            "which was small until then (largest before)",
            0.25, found["third-before"],
        ),
        Claim.at_most(
            f"{name}-falls", "theory, section 10",
            "It is the gradient: the loss never rises (largest loss over one before)",
            1 + 1e-6, found["gradient-rise"],
        ),
        Claim.at_least(
            f"{name}-spike", SOURCE,
            "A student that imitates the learned network in an open loop has a spike of the loss in the loop on its "
            "way (largest loss over one before)",
            10, found["spike"],
        ),
        Claim.at_most(
            f"{name}-imitates", SOURCE,
            "though in the end it imitates (largest loss left outside the loop)",
            0.01, found["imitates"],
        ),
        Claim.at_least(
            f"{name}-overshoot", "new: measured",
            "Rules that know their network only push too hard: under each of them the loss rises again (largest loss "
            "over one before, least over rules)",
            10, found["overshoot"],
        ),
        Claim.at_most(
            f"{name}-returns", "new: measured",
            "Yet all of them come to a stable loop (largest radius at the end)",
            0.99, found["local-stable"],
        ),
        Claim.at_least(
            f"{name}-best", "theory, section 15",
            "No rule leaves less than any controller that sees the position alone must (least loss over that)",
            1 - 1e-6, found["best"],
        ),
    ]  # fmt: skip


def published(data: xr.Dataset) -> list[Published]:
    """Statements of Ger & Barak 2025."""
    found = facts(data)
    return [
        Published.judged(
            "Closed-loop learning has three stages: a push against the position, a plateau until the loop is stable, "
            "then refinement by a third real eigenvalue", "Ger & Barak",
            {"first": found["unstable"] > 1 and found["gain"] < 0, "second": found["patience"] > 5,
             "third": found["third-after"] > 0.5 and found["third-before"] < 0.25},
            f"radius {found['unstable']:.3f} after the first, which takes 1/{found['patience']:.0f} of the time to "
            f"stability; third eigenvalue {found['third-before']:.2f}, then {found['third-after']:.2f}",
        ),
        Published.judged(
            "Open-loop students of the same task go another way, with a spike of the loss in the loop", "Ger & Barak",
            {"the spike": found["spike"] > 10}, f"highest loss in the loop {found['spike']:.2g} times the first",
        ),
        Published.judged(
            "Learning balances short-term policy against long-term stability", "Ger & Barak",
            {"without the plant's part the loss rises": found["overshoot"] > 10},
            f"rules without it raise the loss {found['overshoot']:.2g} times or more, the gradient never",
        ),
    ]  # fmt: skip


def draw(data: xr.Dataset, axes: Any) -> None:
    """Loss in the loop, radius of the loop, and the third eigenvalue, over the length of the way; the first student."""
    looks: dict[str, dict[str, Any]] = {
        BPTT(through_plant=True).key: {"color": GREY, "linestyle": "-", "linewidth": 2.5},
        "open": {"color": PALETTE[1]},
    }
    for key in data.loop_rule.values:
        one = data.sel(loop_rule=key).isel(student=0)
        look = looks.get(str(key)) or rule_style(str(key)) | {"marker": ""}
        axes[0].plot(one.way, one.loop_loss, **look, label=name_of(data, key, "loop_rule"))
        axes[1].plot(one.way, one.loop_radius, **look)
    gradient = data.isel(loop_rule=0, student=0)
    axes[2].plot(gradient.way, gradient.third, **looks[str(gradient.loop_rule.item())], label="third eigenvalue")
    axes[2].plot(gradient.way, gradient.loop_radius, color=GREY, linestyle="--", label="radius")
    for moment in stages(data, 0):
        for axis in axes[2:]:
            axis.axvline(float(gradient.way[moment]), color="0.8", linewidth=0.8)
    _dress(axes)


def _dress(axes: Any) -> None:
    axes[0].set(yscale="log", ylabel="loss in the loop", xlabel="length of the way")
    axes[1].set(ylabel="radius of the loop", xlabel="length of the way")
    axes[2].set(ylabel="eigenvalues of the loop", xlabel="length of the way", xlim=(0, 1.2))
    for axis in axes[1:]:
        zero_line(axis, 1.0)
