"""Tasks of several delays: what is claimed of them, what was published, and the figure. The data: `delays.py`."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from localgrad.figures.plotting import GREY, rule_style
from localgrad.reproduction.experiment import Claim
from localgrad.reproduction.networks.literature.delays import Border
from localgrad.reproduction.networks.literature.topics import BPTT_KEY, DECAY, EPROP_KEY, RFLO_KEY, TBPTT_KEY, Published

SOURCE = "theory, section 15 (Proca et al. 2025)"
_NEW = "theory, section 15"
_SILENT = 0.01  # a recurrent weight that is none


def _at(data: xr.Dataset, key: str, delay: int, ratio: float) -> xr.Dataset:
    """All starts of one rule at the ratio of the grid that is next to this one."""
    here = data.sel(rule=key, delay=delay)
    return here.isel(place=int(np.argmin(np.abs(here.ratio.values - ratio))))


def _best(here: xr.Dataset) -> float:
    """The weight of the start that ends with the least loss."""
    return float(here.weight[int(np.argmin(here.end_loss.values))])


def _jump(data: xr.Dataset, key: str, delay: int, border: Border) -> tuple[float, float]:
    """The largest weight below where such solutions exist, and above it the largest, over the weight at the border."""
    below, above = (_at(data, key, delay, x * border.exists).weight.max() for x in (0.96, 1.04))
    return float(below), float(above) / max(border.weight, 1e-9)


def facts(data: xr.Dataset) -> dict[str, float]:
    """What claims and verdicts are made of."""
    bptt, tbptt, rflo = BPTT_KEY, TBPTT_KEY, RFLO_KEY
    two = data.sel(rule=bptt, delay=2)
    learned = two.weight.isel(first_weight=0)
    exact = np.sqrt(np.maximum(2 * two.ratio - 1, 0) / (3 * two.ratio))
    away = np.abs(two.ratio - 0.5) > 0.08
    late = [int(D) for D in data.delay.values if D > 2]
    jumps = [_jump(data, bptt, D, Border.of_bptt(D)) for D in late]
    short_jumps = [_jump(data, tbptt, D, Border.of_one_lag(D)) for D in late]
    switched = [[_best(_at(data, bptt, D, x * Border.of_bptt(D).best)) for x in (0.98, 1.02)] for D in late]
    last = data.sel(rule=bptt).isel(place=-1).weight.sel(delay=late).isel(first_weight=0)
    line, smallest = data.isel(first_weight=0), data.sel(rule=rflo).isel(place=0)
    steps = line.line_weight.diff("strength") / line.strength.diff("strength")
    return {
        "continuous": float(np.abs(learned - exact).where(away).max()), "short-continuous": _short_deviation(data),
        "none-before": max(a for a, _ in jumps), "jump": min(b for _, b in jumps),
        "best-before": max(a for a, _ in switched),
        "best-after": min(b / Border.of_bptt(D).best_weight for D, (_, b) in zip(late, switched, strict=True)),
        "stays": float(last.max()),
        "short-before": max(a for a, _ in short_jumps), "short-jump": min(b for _, b in short_jumps),
        "last-input": float(np.abs(data.gain.sel(rule=tbptt) - 1).max()),
        "eprop-rests": _optimality(data.sel(rule=EPROP_KEY)), "interpolates": _interpolation(data.sel(rule=rflo)),
        "no-threshold": float((smallest.weight / smallest.ratio / DECAY ** (data.delay - 1)).min()),
        "line-optimum": float(np.abs(line.line_weight - line.line_optimum).isel(strength=[0, 1, -2, -1]).max()),
        "line-first": float((line.line_weight / line.strength).isel(strength=0).max()),
        "steeper": float(steps.isel(line=-1).max() / steps.isel(line=0).max()),
    }  # fmt: skip


def _short_deviation(data: xr.Dataset) -> float:
    """Of the learned w over T = 3 steps from rest from the optimum, the root of `(2r − 1)/(2 − r)`."""
    exact = np.sqrt(np.maximum(2 * data.short_ratio - 1, 0) / (2 - data.short_ratio))
    return float(np.abs(data.short_weight.sel(steps=3) - exact).max())


def _interpolation(data: xr.Dataset) -> float:
    """The error's transfer function at RFLO's decay and at the learned pole, the larger, relative to the target's."""
    w, u, r, D = data.weight, data.gain, data.ratio, data.delay
    found = [np.abs(u / (1 - z * w) / (1 + r * z**D) - 1) for z in (DECAY, w)]
    return float(max(x.max() for x in found))


def _optimality(data: xr.Dataset) -> float:
    """The error's transfer function and its slope at the learned pole, the larger, relative to the target's."""
    w, u, r, D = data.weight, data.gain, data.ratio, data.delay
    level = u / (1 - w**2) / (1 + r * w**D) - 1
    slope = (u * w / (1 - w**2) ** 2 - r * D * w ** (D - 1)) / (1 + r * w**D)
    return float(np.maximum(np.abs(level), np.abs(slope)).max())


def _published_ends(data: xr.Dataset) -> tuple[float, float, float]:
    """Over T = 4 steps: the best weight just below and above the ratio 1, and the largest at the largest ratio."""
    four = data.sel(steps=4)
    best = four.short_weight.isel(first_weight=four.short_loss.argmin("first_weight"))
    below, above = (float(best.sel(short_ratio=x, method="nearest")) for x in (0.95, 1.05))
    return below, above, float(four.short_weight.isel(short_ratio=-1).max())


def claims(data: xr.Dataset) -> list[Claim]:
    """First what was published, then what else follows from the loss, then other rules."""
    found, (below, above, far) = facts(data), _published_ends(data)
    name = "literature.delays"
    return [
        Claim.at_most(
            f"{name}-continuous", SOURCE,
            "Two inputs, T = 3 steps from rest: up to the ratio r = ½ the learned w is 0, from there on √((2r − 1)/(2 "
            "− r)), a transition without a jump (largest deviation)",
            0.01, found["short-continuous"],
        ),
        Claim.at_most(
            f"{name}-continuous-long", _NEW,
            "In an infinite horizon it is √((2r − 1)/(3r)) (largest deviation)",
            0.01, found["continuous"],
        ),
        Claim.at_most(
            f"{name}-published-below", SOURCE,
            "Over T = 4 steps from rest the best solution has no recurrent weight at the ratio 0.95 (its w)",
            _SILENT, below,
        ),
        Claim.at_least(
            f"{name}-published-above", SOURCE,
            "and one at the ratio 1.05: a transition with a jump at 1 (its w)",
            0.5, above,
        ),
        Claim.at_least(
            f"{name}-runs-away", _NEW,
            "But beyond the ratio 1 that solution is no point: w grows for ever (largest w, at the largest ratio)",
            2, far,
        ),
        Claim.at_most(
            f"{name}-none-before", _NEW,
            "In an infinite horizon with D > 2 no start keeps a recurrent weight 4 % below the ratio at which such "
            "solutions begin to exist (largest w)",
            _SILENT, found["none-before"],
        ),
        Claim.at_least(
            f"{name}-jump", _NEW,
            "4 % above it one does, by a jump (largest w over √((D − 2)/(D + 1)))",
            1, found["jump"],
        ),
        Claim.at_most(
            f"{name}-best-before", _NEW,
            "2 % below the ratio at which the recurrent solution becomes the best the best end has none (largest w)",
            _SILENT, found["best-before"],
        ),
        Claim.at_least(
            f"{name}-best-after", _NEW,
            "2 % above it has one (least w over the predicted one)",
            1, found["best-after"],
        ),
        Claim.at_most(
            f"{name}-stays", _NEW,
            "From a small w none is learned for D > 2, whatever the ratio, though it would be better (largest w)",
            _SILENT, found["stays"],
        ),
        Claim.at_most(
            f"{name}-line", _NEW,
            "Where all earlier inputs count alike, w is that of the optimum (largest deviation away from the steep "
            "rise)",
            0.01, found["line-optimum"],
        ),
        Claim.at_least(
            f"{name}-line-first", _NEW,
            "and there is no threshold, for w begins as the ratio (largest w over the smallest ratio)",
            0.9, found["line-first"],
        ),
        Claim.at_least(
            f"{name}-steeper", SOURCE,
            "It rises more steeply the more inputs there are (steepest rise with 12 inputs over that with 4)",
            1.5, found["steeper"],
        ),
        Claim.at_most(
            f"{name}-last-input", _NEW,
            "tBPTT(1) always answers the last input exactly (largest deviation of the gain from 1)",
            0.01, found["last-input"],
        ),
        Claim.at_most(
            f"{name}-one-lag-before", _NEW,
            "and keeps no recurrent weight 4 % below (D/2)(D/(D − 2))^(D/2 − 1), which is twice or more the ratio of "
            "BPTT, for D > 2 (largest w)",
            _SILENT, found["short-before"],
        ),
        Claim.at_least(
            f"{name}-one-lag-jump", _NEW,
            "but one 4 % above (largest w over √((D − 2)/D))",
            1, found["short-jump"],
        ),
        Claim.at_most(
            f"{name}-eprop", _NEW,
            "e-prop with fixed feedback carries credit by w in one unit and rests where BPTT does, where the error's "
            "transfer function and its slope vanish (largest of both over the target's)",
            0.01, found["eprop-rests"],
        ),
        Claim.at_most(
            f"{name}-interpolates", _NEW,
            "RFLO rests where the error's transfer function vanishes at its decay and at its pole (largest error over "
            "the target's)",
            0.01, found["interpolates"],
        ),
        Claim.at_least(
            f"{name}-no-threshold", _NEW,
            "so that it has no threshold: w begins as r ŵ^(D−1) (least w over that, at the smallest ratio)",
            0.9, found["no-threshold"],
        ),
    ]  # fmt: skip


def published(data: xr.Dataset) -> list[Published]:
    """Statements of Proca et al. 2025, section 3.4 and appendix H."""
    found, (below, above, far) = facts(data), _published_ends(data)
    return [
        Published.judged(
            "Two inputs: recurrence sets in continuously for T = 3, by a first-order transition for T > 3",
            "Proca et al.",
            {"T = 3": found["short-continuous"] < 0.01, "the jump": below < _SILENT < above, "a minimum": far < 2},
            f"T = 4: best w {below:.2f} at the ratio 0.95, {above:.2f} at 1.05; beyond, w grows without end",
        ),
        Published.judged(
            "With its strength the network switches to the recurrent computation", "Proca et al.",
            {"T = 3": found["short-continuous"] < 0.01, "T > 3 from small weights": found["stays"] > _SILENT},
            f"D > 2, from w = 0.02: w at most {found['stays']:.3f} at every ratio; the end hangs on the start",
        ),
        Published.judged(
            "Constant dynamics: a transition that becomes sharper with length", "Proca et al.",
            {"sharper": found["steeper"] > 1.5, "w pruned below it": found["line-first"] < 0.5},
            f"steepest rise {found['steeper']:.1f} times; at the least ratio w is {found['line-first']:.2f} times it",
        ),
    ]  # fmt: skip


def draw(data: xr.Dataset, axis: Axes, key: str) -> None:
    """Learned weights over the ratio, for D = 3, from every start, with the borders; lines are guides."""
    here = data.sel(rule=key, delay=3)
    for k, start in enumerate(data.first_weight.values):
        look = rule_style(key) | {"linestyle": "", "marker": "vo^"[k], "markersize": 4}
        axis.plot(here.ratio, here.weight.sel(first_weight=start), **look, label=f"from w = {start:g}", alpha=0.8)
    border = Border.of_one_lag(3) if key == TBPTT_KEY else Border.of_bptt(3)
    if key != RFLO_KEY:
        axis.axvline(border.exists, color=GREY, linewidth=0.8)
        axis.axvline(border.best, color=GREY, linewidth=0.8, linestyle="--")
    axis.set(xlabel="ratio r", xlim=(0, 4.7), ylim=(-0.05, 1))
