r"""Where on the optimal manifold learning converges most slowly.

The rate at `s` is `−Re λ₊(s)` (`stability.py`). Under BPTT it is smallest at `s = ±√|c|`, `c = a* b*`; but for `w* = 0`
and `|c| ≤ 2` it is the same, `c²`, for every `s`: there is no slowest point then, but a flat stretch. Under RFLO with
`â s > 0` it falls towards 0 as `|s|` grows, so that the smallest rate is that of the end of the range looked at.

Source: the paper's convergence rates; docs/theory.md, section 7.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from localgrad.checks import in_our_arithmetic, in_words, is_real
from localgrad.models.aligned import Mode
from localgrad.models.poles import Poles
from localgrad.modes.arguments import as_mode, as_scalar, as_single_rule
from localgrad.modes.stability import convergence_rate, optimal_mode
from localgrad.rules.rule import Rule

_SAMPLES = 2001
_FLAT = 1e-12  # relative difference of rates that count as the same


@dataclass(frozen=True)
class SlowestPoint:
    """Where convergence is slowest: at `s`, with `rate` per unit of learning time, negative where learning leaves.

    - `interval`: where the slowest point is not unique, the stretch of `s` (ascending) over which the rate is the same
        to twelve digits; `None` where it is unique.
    - `at_end`: whether `s` is an end of the range looked at, beyond which the rate may fall further.
    """

    s: float
    rate: float
    interval: tuple[float, float] | None
    at_end: bool

    @property
    def is_unique(self) -> bool:
        """Whether there is one slowest point."""
        return self.interval is None

    def __repr__(self) -> str:
        if self.interval is not None:
            low, high = self.interval
            return f"SlowestPoint(not unique: rate {self.rate:.6g} for every s from {low:.4g} to {high:.4g})"
        end = ", the end of the range" if self.at_end else ""
        return f"SlowestPoint(s = {self.s:.8g}{end}; rate {self.rate:.6g})"


@in_our_arithmetic
def slowest_point(
    rule: Rule,
    teacher: Mode,
    *,
    branch: int = 1,
    s_min: float | None = None,
    s_max: float | None = None,
    poles: str | Poles = "direct",
) -> SlowestPoint:
    """The `s` of one sign at which learning converges most slowly to the optimal manifold.

    **Arguments:** `rule`, `teacher` of scalars, as in `convergence_rate`; `branch`: 1 for `s > 0`, −1 for `s < 0`;
    `s_min`, `s_max`: the range of `|s|` looked at, positive, by default `√|a* b*|` times 1e-3 and 1e3;
    `poles` as in `mode_update`.

    **Returns:** a `SlowestPoint`; its `s` is accurate to about 1e-8 where the rate has a clear minimum. Of several
    minima it is the deepest, if they are further apart than 0.7 %.

    **Raises:** `ValueError` as `convergence_rate`, and for a branch or range outside its domain.

    Source: the paper's convergence rates; docs/theory.md, section 7.

    >>> from localgrad import BPTT
    >>> slowest_point(BPTT(), Mode(2.0, 2.0, 0.5))
    SlowestPoint(s = 2; rate 8.09411)
    >>> slowest_point(BPTT(), Mode(1.0, 1.0, 0.0))
    SlowestPoint(not unique: rate 1 for every s from 0.001 to 1000)
    """
    rule, teacher = (
        as_single_rule(rule),
        Mode(*(as_scalar(x, "the teacher's number") for x in as_mode(teacher, "teacher"))),
    )
    if not is_real(branch) or branch not in (1, -1):
        raise ValueError(f"branch must be 1 (s > 0) or -1 (s < 0), got {in_words(branch)}")
    optimal_mode(teacher, 1.0)  # refuses a silent teacher
    root = float(np.sqrt(abs(teacher.a * teacher.b)))
    low = root * 1e-3 if s_min is None else as_scalar(s_min, "s_min")
    high = root * 1e3 if s_max is None else as_scalar(s_max, "s_max")
    if not 0 < low < high < np.inf:
        raise ValueError(f"the range of |s| from {low:g} to {high:g} must be positive, finite and rising")

    def rate(log_size: Any) -> Any:
        return convergence_rate(rule, teacher, branch * np.exp(log_size), poles=poles)

    grid = np.linspace(np.log(low), np.log(high), _SAMPLES)
    rates = rate(grid)
    k = int(np.argmin(rates))
    same = np.abs(rates - rates[k]) <= _FLAT * abs(rates[k])
    first, last = _stretch(same, k)
    if last - first >= 2:
        ends = sorted(branch * np.exp(_edge(rate, grid, rates[k], *pair)) for pair in ((first, -1), (last, 1)))
        return SlowestPoint(branch * float(np.exp(grid[k])), float(rates[k]), (float(ends[0]), float(ends[1])), False)
    if k in (0, len(grid) - 1):
        return SlowestPoint(branch * float(np.exp(grid[k])), float(rates[k]), None, True)
    found = minimize_scalar(rate, bounds=(grid[k - 1], grid[k + 1]), method="bounded", options={"xatol": 1e-12})
    return SlowestPoint(branch * float(np.exp(found.x)), float(found.fun), None, False)


def _stretch(same: np.ndarray, k: int) -> tuple[int, int]:
    """First and last index of the run of true entries around `k`."""
    different = np.flatnonzero(~same)
    before, after = different[different < k], different[different > k]
    return int(before[-1]) + 1 if before.size else 0, int(after[0]) - 1 if after.size else len(same) - 1


def _edge(rate: Any, grid: np.ndarray, lowest: float, k: int, step: int) -> float:
    """Where, next to `grid[k]`, the flat stretch ends; the end of the range if it does not."""
    if not 0 <= k + step < len(grid):
        return float(grid[k])
    limit = lowest + _FLAT * abs(lowest)
    return float(brentq(lambda x: float(rate(x)) - limit, *sorted((grid[k], grid[k + step]))))
