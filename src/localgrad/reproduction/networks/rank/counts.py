"""The table of `rank.py`: how many runs converge or diverge, under every rule, with other numbers and teachers."""

import xarray as xr

from localgrad.outcomes import Outcome

_COUNTED = ("loss", "outcome", "cut")
"""What of the runs is counted here, as `rank.py` names it."""


def table(data: xr.Dataset) -> list[list[str]]:
    """How the runs of every rule ended, those of RFLO and e-prop with other numbers, and those with other teachers."""
    header = ["rule", "scale", "ŵ", "scale of R", *(f"loss ≤ {100 * t:g} %" for t in data.threshold.values), "diverged",
              "out of steps", "median loss"]  # fmt: skip
    fixed = [f"{data.attrs['scale']:g}", f"{data.attrs['decay']:g}", f"{data.attrs['feedback_scale']:g}"]
    rows = [_row(data, str(name), fixed, *(data[key].sel(rule=name) for key in _COUNTED))
            for name in data.rule.values]  # fmt: skip
    for i, name in enumerate(data.variant.values):
        numbers = [f"{float(x):g}" for x in data.variant_numbers[i]]
        rows.append(_row(data, str(name), numbers, *(data[f"variant_{key}"][i] for key in _COUNTED)))
    for name in data.rule.values if data.sizes["teacher"] > 1 else ():
        ends = [data[f"{key}_by_teacher"].sel(rule=name) for key in _COUNTED]
        each = [_row(data, str(name), fixed, *of_teacher) for of_teacher in zip(*ends, strict=True)]
        counts = [_range(cells) for cells in list(zip(*each, strict=True))[4:]]
        rows.append([f"{name}, {len(each)} teachers", *each[0][1:4], *counts])
    return [header, *rows]


def _range(cells: tuple[str, ...]) -> str:
    """From the least to the largest of cells like `3 of 20` or `0.22`."""
    ordered = sorted(cells, key=lambda cell: float(cell.split()[0]))
    low, high = ordered[0], ordered[-1]
    return high if low == high else f"{low.split()[0]}–{high}"


def _row(
    data: xr.Dataset, name: str, numbers: list[str], loss: xr.DataArray, outcome: xr.DataArray, cut: xr.DataArray
) -> list[str]:
    scale, decay, feedback = numbers
    uses = [scale, decay if name == "RFLO" else "–", feedback if name in ("RFLO", "e-prop (random)") else "–"]
    total = loss.sizes["seed"]
    counts = [f"{int(((loss <= t) & (outcome != Outcome.DIVERGED)).sum())} of {total}" for t in data.threshold.values]
    ends = [f"{int(how.sum())} of {total}" for how in (outcome == Outcome.DIVERGED, cut)]
    return [name, *uses, *counts, *ends, f"{float(loss.median()):.2g}"]
