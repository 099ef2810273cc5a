"""The table of the experiment on rank: how many runs converge or diverge, by rule, numbers and teacher."""

import numpy as np
import xarray as xr

from localgrad.outcomes import Outcome

_COUNTED = ("loss", "outcome", "cut")
"""What of the runs is counted here, as the dataset names it."""


def table(data: xr.Dataset) -> list[list[str]]:
    """How the runs of every rule ended, those of RFLO and e-prop with other numbers, and those with other teachers."""
    header = ["rule", "scale", "ŵ", "scale of R", *(f"loss ≤ {100 * t:g} %" for t in data.threshold.values), "diverged",
              "out of steps", "median loss"]  # fmt: skip
    fixed = [f"{data.attrs['scale']:g}", f"{data.attrs['decay']:g}", f"{data.attrs['feedback_scale']:g}"]
    numbers = [_used(fixed, *has) for has in zip(data.has_feedback.values, data.has_decay.values, strict=True)]
    names = [str(name) for name in data.rule_name.values]
    rows = [_row(data, name, numbers[i], *(data[key].isel(rule=i) for key in _COUNTED)) for i, name in enumerate(names)]
    for i, name in enumerate(data.variant_name.values):
        varied = ["–" if np.isnan(x) else f"{x:g}" for x in data.variant_numbers[i].values]
        rows.append(_row(data, str(name), varied, *(data[f"variant_{key}"][i] for key in _COUNTED)))
    for i, name in enumerate(names if data.sizes["teacher"] > 1 else ()):
        ends = [data[f"{key}_by_teacher"].isel(rule=i) for key in _COUNTED]
        each = [_row(data, name, numbers[i], *of_teacher) for of_teacher in zip(*ends, strict=True)]
        counts = [_range(cells) for cells in list(zip(*each, strict=True))[4:]]
        rows.append([f"{name}, {len(each)} teachers", *each[0][1:4], *counts])
    return [header, *rows]


def _range(cells: tuple[str, ...]) -> str:
    """From the least to the largest of cells like `3 of 20` or `0.22`."""
    ordered = sorted(cells, key=lambda cell: float(cell.split()[0]))
    low, high = ordered[0], ordered[-1]
    return high if low == high else f"{low.split()[0]}–{high}"


def _used(numbers: list[str], has_feedback: bool, has_decay: bool) -> list[str]:
    """The numbers that a rule has: those with a fixed feedback its scale, RFLO its decay."""
    scale, decay, feedback = numbers
    return [scale, decay if has_decay else "–", feedback if has_feedback else "–"]


def _row(
    data: xr.Dataset, name: str, numbers: list[str], loss: xr.DataArray, outcome: xr.DataArray, cut: xr.DataArray
) -> list[str]:
    total = loss.sizes["seed"]
    counts = [f"{int(((loss <= t) & (outcome != Outcome.DIVERGED)).sum())} of {total}" for t in data.threshold.values]
    ends = [f"{int(how.sum())} of {total}" for how in (outcome == Outcome.DIVERGED, cut)]
    return [name, *numbers, *counts, *ends, f"{float(loss.median()):.2g}"]
