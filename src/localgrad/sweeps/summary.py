"""A store in numbers: how runs ended, how that hangs on each axis, and how pairs of runs differ.

`converged` stands for the outcome `CONVERGED` as 0 or 1; other measures are variables of the store. Runs that were not
run yet or could not be computed are left out everywhere. Documents hold plain numbers, `None` for what cannot be told.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from localgrad.checks import check_memory
from localgrad.outcomes import Outcome
from localgrad.sweeps.axes import SEED
from localgrad.sweeps.plan import NOT_RUN, RAN, REFUSED
from localgrad.sweeps.statistics import Difference, Interval, holm, paired_difference, probability
from localgrad.sweeps.store import RECEIPTS, read_receipt

CONVERGED = "converged"
"""The measure that is 1 where a run converged, else 0."""

_MOST_PAIRS = 10
_MOST_VALUES = 200


@dataclass(frozen=True)
class Measure:
    """One number of each run, over the axes of the sweep; NaN where there is none.

    - `name`: of the measure; `values`: with the seeds last, if the sweep has any; `is_share`: whether it is 0 or 1.
    """

    name: str
    values: xr.DataArray
    is_share: bool

    @property
    def axes(self) -> list[str]:
        """The names of the axes but for the seeds."""
        return [str(name) for name in self.values.dims if name != SEED]

    def along(self, **chosen: Any) -> np.ndarray:
        """The runs at one place of some axes, shape `"seeds others"`; without seeds all runs are of one."""
        part = self.values.isel(chosen).transpose(SEED, ...) if SEED in self.values.dims else self.values.isel(chosen)
        return part.values.reshape(part.sizes.get(SEED, 1), -1)

    def describe(self, runs: np.ndarray) -> dict[str, Any]:
        """A probability with its interval, or median and quartiles, of runs of shape `"seeds others"`."""
        known = runs[np.isfinite(runs)]
        if self.is_share:
            return {"runs": known.size} | _plain(probability(runs))
        quartiles = np.quantile(known, [0.5, 0.25, 0.75]) if known.size else [np.nan] * 3
        return {"runs": known.size} | _plain(Interval(*map(float, quartiles)))


def measure_of(data: xr.Dataset, name: str = CONVERGED, *, logarithm: bool = False) -> Measure:
    """The measure of this name, or its logarithm to base 10; `ValueError` where the store has none."""
    usable = [str(x) for x in data.data_vars if x not in ("status", "outcome")]
    names = [CONVERGED, *usable] if "outcome" in data else usable
    if name not in names:
        raise ValueError(f"there is no measure {name!r} in the store; give one of {', '.join(names)}")
    check_memory("the runs of the store", 24 * data.status.size, "select some of them with xarray.open_zarr")
    ran = data.status == RAN
    if name == CONVERGED:
        values = (data.outcome == int(Outcome.CONVERGED)).where(ran)
    else:
        values = data[name].astype(float).where(ran)
        values = values.where(np.isfinite(values))
    if logarithm:
        if name == CONVERGED or bool((values <= 0).any()):
            raise ValueError(f"{name} is not positive throughout and has no logarithm; leave out --log")
        values, name = np.log10(values), f"log10 {name}"
    order = [*(x for x in data.status.dims if x != SEED), *(x for x in data.status.dims if x == SEED)]
    return Measure(name, values.transpose(*order).compute(), name == CONVERGED)


def usual_measure(data: xr.Dataset) -> str:
    """What is shown if nothing else is asked for."""
    return CONVERGED if "outcome" in data else next(str(x) for x in data.data_vars if x != "status")


def summarize(data: xr.Dataset, path: Path, measure: Measure, compare: str | None) -> dict[str, Any]:
    """The document that `localgrad show` prints."""
    codes = np.bincount(data.status.values.ravel(), minlength=3)
    found: dict[str, Any] = {
        "title": data.attrs.get("title", ""),
        "kind": data.attrs.get("kind", ""),
        "store": str(path),
        "axes": {str(name): int(size) for name, size in data.status.sizes.items()},
        "runs": {"ran": int(codes[RAN]), "refused": int(codes[REFUSED]), "missing": int(codes[NOT_RUN])},
        "refusals": refusals(path),
        "outcomes": _outcomes(data),
        "measure": measure.name,
        "units": "probability"
        if measure.is_share
        else str(data[measure.name.removeprefix("log10 ")].attrs.get("units", "1")),
        "marginals": {axis: marginal(measure, axis) for axis in measure.axes},
    }
    axis = compare if compare is not None else usual_comparison(measure)
    return found | {"compared": axis, "differences": differences(measure, axis) if axis else []}


def _outcomes(data: xr.Dataset) -> dict[str, float]:
    if "outcome" not in data:
        return {}
    codes = data.outcome.values[data.status.values == RAN]
    return {word: count / codes.size for word, count in Outcome.counts(codes).items()} if codes.size else {}


def refusals(path: Path) -> list[dict[str, Any]]:
    """Why runs could not be computed, and how many, the most frequent first; by what the chunks' receipts say."""
    counts: dict[str, int] = {}
    for receipt in (path / RECEIPTS).glob("*.json"):
        try:
            for reason, (count, _) in read_receipt(receipt)["failures"].items():
                counts[str(reason)] = counts.get(str(reason), 0) + int(count)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged: `localgrad sweep` computes it again
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [{"reason": reason, "runs": count} for reason, count in ordered[:20]]


def marginal(measure: Measure, axis: str) -> list[dict[str, Any]]:
    """For each value of an axis, by rising value: the measure over all else."""
    values = measure.values[axis].values
    order = _order(values)[:_MOST_VALUES]
    return [{"value": _word(values[i])} | measure.describe(measure.along(**{axis: int(i)})) for i in order]


def usual_comparison(measure: Measure) -> str | None:
    """The axis whose values are compared if none is named: the first of words, else none."""
    return next((axis for axis in measure.axes if measure.values[axis].dtype.kind not in "iuf"), None)


def differences(measure: Measure, axis: str) -> list[dict[str, Any]]:
    """Paired differences between the values of an axis, tested, and corrected by Holm's method over all of them.

    All pairs of up to five values; of more, each against the first.
    """
    if axis not in measure.axes:
        raise ValueError(f"there is no axis {axis!r} to compare; give one of {', '.join(measure.axes)}")
    names = [_word(x) for x in measure.values[axis].values]
    pairs = list(itertools.combinations(range(len(names)), 2))
    if len(pairs) > _MOST_PAIRS:
        pairs = [(0, i) for i in range(1, len(names))]
    found = [paired_difference(measure.along(**{axis: j}), measure.along(**{axis: i})) for i, j in pairs]
    corrected = holm(np.array([x.p_value for x in found]))
    return [
        {"of": names[j], "minus": names[i]} | _plain(x) | {"p_holm": _number(p)}
        for (i, j), x, p in zip(pairs, found, corrected, strict=True)
    ]


def _order(values: np.ndarray) -> np.ndarray:
    """Numbers by size, words as they stand: a store that was extended has its new values last."""
    return np.argsort(values, kind="stable") if values.dtype.kind in "iuf" else np.arange(len(values))


def _word(value: Any) -> Any:
    return value.item() if isinstance(value, np.number) else str(value)


def _plain(found: Interval | Difference) -> dict[str, Any]:
    return {name: _number(x) for name, x in found._asdict().items()}


def _number(x: Any) -> Any:
    return x if isinstance(x, int) else float(x) if np.isfinite(x) else None
