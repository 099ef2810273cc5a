r"""Where the outcome of learning switches along a line between two starts.

Starts `(1 − t) start + t end` are followed for many `t` at once (`integrate_modes`); between neighbours that end
differently, in outcome or branch, the place of the switch is halved until it is known well enough.

Limits: switches closer to each other than the spacing of the first starts may go unseen, in pairs. Near a boundary
learning is slow, since the boundary itself leads to a saddle; with a short duration a strip of `UNFINISHED` appears.

Source: docs/theory.md, section 8.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from localgrad.checks import check_memory, in_our_arithmetic
from localgrad.models.aligned import Mode
from localgrad.models.poles import Poles, find_poles
from localgrad.modes.arguments import as_mode, as_scalar, as_single_rule, check_count, check_positive
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Boundary:
    """Where the outcome switches; every array has shape `"switches"`, in order from `start` to `end`.

    - `fraction`: the place `t` of each switch on the line, `points`: the `Mode`s there; off by at most `precision`.
    - `before`, `after`: codes of `Outcome` on either side; `branch_before`, `branch_after`: the branches (0 if none).
    - `rule`, `start`, `end`, `teacher`, `settings`: the problem.
    """

    fraction: np.ndarray
    points: Mode
    before: np.ndarray
    after: np.ndarray
    branch_before: np.ndarray
    branch_after: np.ndarray
    rule: Rule
    start: Mode
    end: Mode
    teacher: Mode
    settings: dict[str, Any]

    def __len__(self) -> int:
        return len(self.fraction)

    def __repr__(self) -> str:
        lines = [f"Boundary of {self.rule.describe()}: {len(self)} switch{'es' * (len(self) != 1)}"]
        for i, t in enumerate(self.fraction[:6]):
            a, b, w = (float(x[i]) for x in self.points)
            sides = [
                f"{Outcome.words(outcome[i])}{ {1: ' (s > 0)', -1: ' (s < 0)', 0: ''}[int(branch[i])] }"
                for outcome, branch in ((self.before, self.branch_before), (self.after, self.branch_after))
            ]
            lines.append(f"  at t = {t:.9g}, ({a:.6g}, {b:.6g}, {w:.6g}): {sides[0]} -> {sides[1]}")
        return "\n".join([*lines, *(["  ..."] if len(self) > 6 else [])])


@in_our_arithmetic
def boundary(
    rule: Rule,
    start: Mode,
    end: Mode,
    teacher: Mode,
    *,
    duration: float = 1000.0,
    samples: int = 257,
    precision: float = 1e-9,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    poles: str | Poles = "direct",
) -> Boundary:
    """Where the outcome of mode learning, or its branch, switches along the line from `start` to `end`.

    **Arguments:** `rule`, `teacher` of scalars, as in `integrate_modes`; `start`, `end`: `Mode`s of scalars, `|w| < 1`;
    `duration`: learning time after which a start counts as unfinished; `samples`: starts at which switches are looked
    for, evenly spaced, at least 2; `precision`: how exactly a switch is placed, as a fraction of the line; `rtol`,
    `atol`: tolerances of the integrator; `poles` as in `integrate_modes`.

    **Returns:** a `Boundary`.

    **Raises:** `ValueError` as `integrate_modes`, and for ends that are not single modes inside the domain.

    Source: docs/theory.md, section 8.

    >>> from localgrad import BPTT
    >>> found = boundary(BPTT(), Mode(-1.0, 0.5, 0.0), Mode(1.0, 0.5, 0.0), Mode(1.0, 1.0, 0.0))
    >>> found.points.a.round(6), found.branch_before, found.branch_after  # for w = w* = 0 the line a = −b leads to 0
    (array([-0.5]), array([-1], dtype=int32), array([1], dtype=int32))
    """
    rule, start, end = as_single_rule(rule), _single(start, "start"), _single(end, "end")
    check_positive(precision=precision)
    if check_count(samples, "samples") < 2:
        raise ValueError("samples must be at least 2, the ends of the line")
    check_memory(f"{int(samples):,} samples", int(samples) * 400, "give fewer")
    settings: dict[str, Any] = {"duration": duration, "rtol": rtol, "atol": atol, "poles": find_poles(poles).key}

    def ends(t: np.ndarray) -> np.ndarray:
        run = integrate_modes(rule, _on_line(start, end, t), teacher, **settings)
        return np.stack([run.outcome, run.branch])

    t = np.linspace(0, 1, int(samples))
    found = ends(t)
    switches = np.flatnonzero(np.any(found[:, 1:] != found[:, :-1], axis=0))
    low, high, before, after = t[switches], t[switches + 1], found[:, switches], found[:, switches + 1]
    while low.size and np.max(high - low) > max(2 * precision, 4 * np.finfo(float).eps):
        middle = (low + high) / 2
        there = ends(middle)
        same = np.all(there == before, axis=0)
        low, high, after = np.where(same, middle, low), np.where(same, high, middle), np.where(same, after, there)
    place = (low + high) / 2
    points = _on_line(start, end, place)
    return Boundary(
        place, points, before[0], after[0], before[1], after[1], rule, start, end, teacher,
        settings | {"samples": int(samples), "precision": float(precision)},
    )  # fmt: skip


def _on_line(start: Mode, end: Mode, t: np.ndarray) -> Mode:
    return Mode(*((1 - t) * x + t * y for x, y in zip(start, end, strict=True)))


def _single(value: Any, owner: str) -> Mode:
    mode = Mode(*(as_scalar(x, f"{owner} {letter}") for letter, x in zip("abw", as_mode(value, owner), strict=True)))
    if not (all(map(np.isfinite, mode)) and abs(mode.w) < 1):
        raise ValueError(f"the {owner} {tuple(mode)} must be finite, with w strictly between −1 and 1")
    return mode
