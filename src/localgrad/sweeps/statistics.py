r"""What a sample of runs says of all runs: intervals of probabilities, paired differences, tests of many of them.

Runs that share a seed share what was drawn for it, so the seeds are the sample, not the runs. Therefore

- a probability pooled over other axes has Wilson's interval at the effective number of runs `p(1 − p)/var(p̂)`, with the
  variance from the means of the seeds (Dean & Pagano 2015), between the number of seeds and that of runs; at `p = 0`
  and `p = 1`, where it cannot be told, the number of seeds; and with Student's quantile, since it is an estimate;
- a difference is first averaged within each seed, and tested by flipping the signs of these averages: exactly up to 14
  seeds, else by 10,000 random flips with a fixed seed;
- tests of several differences are corrected by Holm's method.

Limit: seeds are taken to be independent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

_EXACT = 14
_FLIPS = 10_000


class Interval(NamedTuple):
    """An estimate with the ends of its interval; NaN for ends that cannot be told."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """A mean difference, its interval, the probability of one as large if signs were random, and how many seeds."""

    mean: float
    low: float
    high: float
    p_value: float
    seeds: int


def wilson(share: float, count: float, level: float = 0.95, freedom: float = np.inf) -> tuple[float, float]:
    """Wilson's interval of a probability of which `share` was seen in `count` runs.

    `freedom`: degrees of freedom, where the effective number of runs is itself an estimate.

    >>> tuple(round(x, 4) for x in wilson(0.5, 10))
    (0.2366, 0.7634)
    """
    z = norm.ppf(0.5 + level / 2) if np.isinf(freedom) else t.ppf(0.5 + level / 2, freedom)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def probability(happened: np.ndarray, level: float = 0.95) -> Interval:
    """The probability of what happened (1) or not (0) in runs of shape `"seeds others"`, NaN where there was none."""
    known = np.isfinite(happened)
    count = int(known.sum())
    if count == 0:
        return Interval(np.nan, np.nan, np.nan)
    share = float(np.nansum(happened) / count)
    weights = known.sum(axis=1)
    seeds = int(np.sum(weights > 0))
    if seeds < 2:
        return Interval(share, np.nan, np.nan)
    freedom = np.inf if count == seeds else seeds - 1.0
    return Interval(share, *wilson(share, _effective_count(happened, share, count, seeds), level, freedom))


def _effective_count(happened: np.ndarray, share: float, count: int, seeds: int) -> float:
    known = np.isfinite(happened)
    residuals = np.nansum(happened, axis=1) - share * known.sum(axis=1)  # of a ratio, linearised
    variance = seeds / (seeds - 1) * float(np.sum(residuals**2)) / count**2
    return float(np.clip(share * (1 - share) / variance, seeds, count)) if variance > 0 else float(seeds)


def paired_difference(one: np.ndarray, other: np.ndarray, level: float = 0.95) -> Difference:
    """The mean of `one − other` over pairs, in runs of shape `"seeds others"`, NaN where there was none.

    The interval is Student's, of the means of the seeds.
    """
    gap = np.asarray(one, float) - np.asarray(other, float)
    known = np.isfinite(gap)
    rows = known.any(axis=1)
    means = np.nansum(np.where(known, gap, 0.0)[rows], axis=1) / known[rows].sum(axis=1)
    seeds = len(means)
    if seeds == 0:
        return Difference(np.nan, np.nan, np.nan, np.nan, 0)
    mean = float(means.mean())
    if seeds == 1:
        return Difference(mean, np.nan, np.nan, np.nan, 1)
    half = float(t.ppf(0.5 + level / 2, seeds - 1) * means.std(ddof=1) / np.sqrt(seeds))
    return Difference(mean, mean - half, mean + half, sign_flip_test(means), seeds)


def sign_flip_test(differences: np.ndarray) -> float:
    """The probability that random signs make the mean of these differences as large as it is, or larger.

    >>> sign_flip_test(np.array([1.0, 2.0, 3.0]))  # two of the eight choices of signs
    0.25
    """
    x = np.asarray(differences, float)
    seen = abs(x.sum()) * (1 - 1e-12)
    if len(x) <= _EXACT:
        signs = 1 - 2.0 * ((np.arange(2 ** len(x))[:, None] >> np.arange(len(x))) & 1)
        return float(np.mean(np.abs(signs @ x) >= seen))
    rng, larger = np.random.default_rng(0), 1
    for _ in range(0, _FLIPS, 500):  # in parts, since there may be many seeds
        signs = 1 - 2.0 * rng.integers(0, 2, (500, len(x)), dtype=np.int8)
        larger += int(np.sum(np.abs(signs @ x) >= seen))
    return larger / (_FLIPS + 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """P values of several tests, corrected so that all of them together err with the level of one; NaN are left out.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    found = np.full(p.shape, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    corrected = np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order))))
    found[order] = np.minimum(corrected, 1.0)
    return found
