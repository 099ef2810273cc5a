"""Learning to integrate and to oscillate: what is claimed, what was published, the figure. The data: `outliers.py`."""

from typing import Any

import numpy as np
import xarray as xr

from localgrad.figures.plotting import GREY, rule_style
from localgrad.reproduction.axes import name_of
from localgrad.reproduction.experiment import Claim
from localgrad.reproduction.networks.literature.outliers import TASKS
from localgrad.reproduction.networks.literature.topics import BPTT_KEY, EPROP_KEY, RFLO_KEY, TBPTT_KEY, Published

SOURCE = "theory, section 15 (Bordelon et al. 2025)"
_NEW = "theory, section 15"


def _distance(a: xr.DataArray, b: Any) -> xr.DataArray:
    return np.hypot(*((a - b).sel(part=x) for x in ("real", "imaginary")))


def facts(data: xr.Dataset) -> dict[str, float]:
    """What claims and verdicts are made of."""
    bptt, rflo = BPTT_KEY, RFLO_KEY
    first, low = data.path.isel(eigenvalue=0), data.low_path.isel(eigenvalue=0)
    own, second = first.sel(rule=bptt), data.path.isel(eigenvalue=1).sel(rule=bptt)
    known = low.rename(low_rule="rule").drop_vars("low_rule_name")
    small = _distance(first.sel(rule=known.rule), known).max("outlier_time")
    tiny = _distance(data.tiny_path.isel(eigenvalue=0), low).max("outlier_time").rename(low_rule="rule")
    rflo_alone = data.empty_path.sel(low_rule=rflo)
    last = data.outlier_loss
    return {
        "exact": float(_distance(data.empty_path, data.low_path).isel(eigenvalue=0).max()),
        "small": float(small.sel(rule=bptt).max()), "follows": float((tiny / small).sel(rule=bptt).max()),
        "follows-local": float((tiny / small).max()),
        "bulk": float((_distance(second, 0) / _distance(own, 0)).isel(outlier_time=-1).max()),
        "arrives": float(_distance(own.isel(outlier_time=-1), data.pole).max()),
        "lazy": float((data.lazy_change / data.change).max()),
        "rflo-second": float(_distance(rflo_alone.isel(eigenvalue=1), 0).max()),
        "rflo-turns": float(np.abs(rflo_alone.sel(part="imaginary")).max()),
        "rflo-integrates": float(last.sel(rule=rflo, task="integrator").max()),
        "rflo-oscillates": float(data.empty_loss.sel(low_rule=rflo, task="oscillator").min()),
        "floor": float(data.floor.sel(task="oscillator")),
        "local-left": float(last.sel(rule=EPROP_KEY).max()),
                "tbptt-slower": float((data.outlier_length.sel(rule=TBPTT_KEY) / data.outlier_length.sel(rule=bptt))
                              .sel(task="integrator").min()),
    }  # fmt: skip


def claims(data: xr.Dataset) -> list[Claim]:
    """The published path of the outliers, and what local rules make of it."""
    found, name = facts(data), "literature.outliers"
    return [
        Claim.at_most(
            f"{name}-reduced", _NEW,
            "From W = 0 the outlier of a network is that of 3 units, under BPTT, tBPTT(1) and RFLO (largest "
            "distance, over learning)",
            1e-3, found["exact"],
        ),
        Claim.at_most(
            f"{name}-path", SOURCE,
            "BPTT's outlier comes the closer to this path the smaller the recurrent weights are at first (largest "
            "distance over learning, of a quarter of them over that of all)",
            0.5, found["follows"],
        ),
        Claim.at_most(
            f"{name}-bulk", SOURCE,
            "It is the only one, or the only pair: no other eigenvalue comes half as far (largest modulus at the end "
            "over the outlier's)",
            0.5, found["bulk"],
        ),
        Claim.at_most(
            f"{name}-arrives", SOURCE,
            "It arrives at the target's pole, of the oscillator a conjugate pair (largest distance)",
            0.02, found["arrives"],
        ),
        Claim.at_most(
            f"{name}-lazy", SOURCE,
            "From large weights, of radius 0.8, W changes less than half as much (largest ratio of the changes)",
            0.5, found["lazy"],
        ),
        Claim.at_most(
            f"{name}-local", _NEW,
            "The outliers of tBPTT(1) and RFLO come as close to the paths of their own three units (the same ratio, "
            "largest)",
            0.5, found["follows-local"],
        ),
        Claim.at_most(
            f"{name}-rflo-one", _NEW,
            "From W = 0 RFLO makes one eigenvalue only (largest modulus of the second)",
            1e-6, found["rflo-second"],
        ),
        Claim.at_most(
            f"{name}-rflo-real", _NEW,
            "and a real one (largest imaginary part)",
            1e-6, found["rflo-turns"],
        ),
        Claim.at_least(
            f"{name}-rflo-floor", _NEW,
            "so that it cannot oscillate: its loss stays above that of the best answer with one real pole (least loss "
            "over that)",
            1, found["rflo-oscillates"] / found["floor"],
        ),
        Claim.at_most(
            f"{name}-rflo-integrates", "new: measured",
            "RFLO learns to integrate (largest loss left)",
            2e-4, found["rflo-integrates"],
        ),
        Claim.at_most(
            f"{name}-eprop", "new: measured",
            "e-prop with random feedback learns both (largest loss left)",
            1e-3, found["local-left"],
        ),
    ]  # fmt: skip


def published(data: xr.Dataset) -> list[Published]:
    """Statements of Bordelon et al. 2025, as its abstract has them, and of a summary of its regimes."""
    found, radius = facts(data), data.attrs["radius"]
    return [
        Published.judged(
            "From small weights learning to integrate is one outlier's path in a low-dimensional system",
            "Bordelon et al.",
            {"the path": found["follows"] < 0.5, "only one outlier": found["bulk"] < 0.5},
            f"distance from the path at most {found['small']:.2f} for a radius of {radius:g}, a quarter of the weights "
            f"leaves at most {found['follows']:.2f} of it; others come at most {found['bulk']:.2f} as far",
        ),
        Published.judged(
            "A damped oscillation is learned by a conjugate pair of outliers", "Bordelon et al.",
            {"the pair": found["arrives"] < 0.02}, f"distance from the target's poles {found['arrives']:.4f}",
        ),
        Published.judged(
            "Large recurrent weights are hardly changed (lazy learning)", "Bordelon et al.",
            {"less change": found["lazy"] < 0.5}, f"change of W at most {found['lazy']:.2f} of that of small ones",
        ),
    ]  # fmt: skip


def draw(data: xr.Dataset, axes: Any) -> None:
    """The outlier's modulus in learning to integrate, and its way in the plane in learning to oscillate.

    Of all students; wide and grey the predicted ways of the first, the targets thin, or a cross.
    """
    few, every = data.low_path.isel(eigenvalue=0), data.path.isel(eigenvalue=0)
    for key in data.low_rule.values:
        for axis, name in zip(axes, TASKS, strict=True):
            axis.plot(*_shown(few.sel(low_rule=key, task=name).isel(seed=0), name), color="0.8", linewidth=4)
    for key in data.rule.values:
        look = rule_style(str(key)) | {"marker": "", "linewidth": 1.2}
        for axis, name in zip(axes, TASKS, strict=True):
            for seed in range(data.sizes["seed"]):
                label = name_of(data, key) if seed == 0 else None
                axis.plot(*_shown(every.sel(rule=key, task=name).isel(seed=seed), name), **look, label=label)
    axes[0].axhline(float(data.pole.sel(task=TASKS[0], part="real")), color=GREY, linewidth=0.8)
    axes[0].set(xscale="log", xlabel="learning time", ylabel="modulus of the outlier", title="integrator")
    axes[1].plot(*data.pole.sel(task=TASKS[1]).values, "x", color="black", markersize=8)
    axes[1].set(xlabel="real part of the outlier", ylabel="imaginary part", title="oscillator")


def _shown(way: xr.DataArray, name: str) -> tuple[Any, Any]:
    """What is drawn of a way: time and modulus, or its two parts."""
    real, imaginary = (way.sel(part=x).values[1:] for x in ("real", "imaginary"))
    return (way.outlier_time.values[1:], np.hypot(real, imaginary)) if name == TASKS[0] else (real, imaginary)
