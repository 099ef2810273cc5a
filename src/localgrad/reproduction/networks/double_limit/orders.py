"""Orders read off the dataset of `experiment.py`: one a problem and rule, of which claims take the median."""

from typing import Any

import numpy as np
import xarray as xr

_ROUNDING = 1e-10
"""Relative errors below this are not only bias, but rounding too: near its end `Δθ` is small."""
_DEPARTED = 100.0
"""Growth of a small perturbation that is called departure: stable directions do not come near it."""


def median_furthest(values: xr.DataArray, expected: float) -> float:
    """The median over problems, of the rule (and place on the curve) where it is furthest from what is expected."""
    medians = np.ravel(values.median("problem"))
    return float(medians[np.argmax(np.abs(medians - expected))])


def slopes(rows: xr.DataArray, dim: str, x: Any = None) -> xr.DataArray:
    """Slopes of `log rows` against `log x` along a dimension, by default against its coordinate."""
    logs = np.log(np.asarray(rows[dim] if x is None else x, dtype=float))
    return xr.apply_ufunc(
        lambda row: np.polyfit(logs, np.log(row), 1)[0], rows, input_core_dims=[[dim]], vectorize=True
    )


def geometric_rates(data: xr.Dataset) -> xr.DataArray:
    """Observed factor a step over the expected one, "problem rule at"; the factor `T^p` is divided out first."""
    T = data.horizon.values.astype(float)

    def rate(error: np.ndarray, power: Any) -> float:
        counted = (T >= 12) & (error > _ROUNDING)  # fewer steps: other products than the largest still count
        if counted.sum() < 2:
            return np.nan
        return float(np.exp(np.polyfit(T[counted], np.log(error[counted] / T[counted] ** float(power)), 1)[0]))

    found = xr.apply_ufunc(
        rate, data.final_bias, data.expected_power, input_core_dims=[["horizon"], []], vectorize=True
    )
    return found / data.expected_ratio


def departure(data: xr.Dataset) -> xr.DataArray:
    """Between the largest rate, in units of `η_c`, up to which nothing departs, and the next: "problem rule".

    0 where the smallest rate departs; beyond the largest one where none does.
    """
    ratios = data["ratio"].values
    edges = np.concatenate([[0.0], (ratios[1:] + ratios[:-1]) / 2, [2 * ratios[-1]]])

    def first(growth: np.ndarray) -> float:
        return edges[np.append(growth > _DEPARTED, True).argmax()]

    return xr.apply_ufunc(first, data.growth, input_core_dims=[["ratio"]], vectorize=True)


def curve_slopes(data: xr.Dataset) -> xr.DataArray:
    """Slopes of the sampled curves' spread against `η/N`, over all rates and batch sizes: "problem rule"."""
    spread = data.curve_spread.stack(both=("batch_size", "sampled_rate"))
    return slopes(spread, "both", spread.sampled_rate / spread.batch_size)


def learned_rates(data: xr.Dataset) -> xr.DataArray:
    """Factor a step by which what is learned approaches its infinite horizon, from the first to the last horizon."""
    T, bias = data.curve_horizon.values, data.learned_bias
    return (bias.isel(curve_horizon=-1) / bias.isel(curve_horizon=0)) ** (1 / (T[-1] - T[0]))
