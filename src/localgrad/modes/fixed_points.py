r"""Where learning can come to rest: all fixed points of a mode under any rule of the family.

With feedback `f = φ₀ + φ₁ a` and `c = a* b* ≠ 0`, the fixed points of the mode equations (`equations.py`) are

- *optimal* `(s, c/s, w*)`, `s ≠ 0`, loss 0, under every rule;
- where the feedback vanishes, at `a₀ = −φ₀/φ₁` (only if `φ₁ ≠ 0`): *silent* `(a₀, 0, w)`, and for `a₀ ≠ 0` also
  *blocked* `(a₀, c(1−w²)/(a₀(1−w w*)), w)`; both for every `|w| < 1`;

and no others, whatever the propagator and the number of lags, provided `|m w*| < 1`. Proof: let `f ≠ 0`. For `b = 0`,
`Δb = −f c σ(m w*) ≠ 0`. For `b ≠ 0`, `Δa = 0` gives `ab = c (1−w²)/(1−w w*)`; put into `Δb = Δw = 0` this leaves
`(1−w²) σ(mw) = (1−w w*) σ(mw*)` and `w σ(mw) = w* σ(mw*)`. If `σ(mw) = 0` both products `mw, mw*` are the one real zero
of `σ`, so `w = w*`; otherwise dividing gives `w* (1−w²) = w (1−w w*)`, so again `w = w*`, and `ab = c`. ∎

BPTT and tBPTT(τ), `φ₀ = 0`, have `a₀ = 0`: the silent line alone (the paper's non-optimal manifold, there for τ = 1 and
∞). RFLO, `φ₁ = 0`, has nothing but the optimum. Blends of feedback have all three. Where errors arrive late, RFLO also
rests on *late* points `(a, c/(a(1−ŵ w*)), 0)`, some of them attracting, and other rules at more points with `w = 0`
(docs/theory.md, section 10). Poles `w = g(ν)` change nothing but
the range of `w`, since `ρ > 0` inside it. `search_fixed_points` looks for roots from many starts without any of this.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from localgrad.checks import check_memory, check_seed, in_our_arithmetic
from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, Poles, find_poles
from localgrad.modes import oscillating
from localgrad.modes.arguments import (
    as_float,
    as_mode,
    as_rule,
    as_scalar,
    as_single_rule,
    check_count,
    check_positive,
)
from localgrad.modes.domain import check_modes
from localgrad.modes.equations import complex_step, field, loss
from localgrad.modes.stability import optimal_mode
from localgrad.rules.rule import Rule, in_steps


@dataclass(frozen=True)
class FixedPointManifold:
    """A curve of fixed points of the learning flow.

    `at(t)` gives the `Mode` (arrays) at values `t` of the `parameter`, which run over `domain`; `formula` says it in
    words. `zero` is the readout `a₀` at which the rule's feedback vanishes (`None` for the optimal manifold), `decay`
    the propagator of a rule whose errors are late.
    """

    name: Literal["optimal", "silent", "blocked", "late"]
    teacher: Mode
    zero: float | None = None
    poles: Poles = DIRECT
    decay: float = 0.0

    @property
    def parameter(self) -> str:
        """What runs along the curve: the readout, called `s` on the optimal manifold, or the recurrent weight `w`."""
        return {"optimal": "s", "late": "a"}.get(self.name, "w")

    @property
    def domain(self) -> tuple[float, float]:
        """Where the parameter runs; a readout of 0 is left out."""
        return (self.poles.low, self.poles.high) if self.parameter == "w" else (-np.inf, np.inf)

    @property
    def formula(self) -> str:
        """The points in words, with `c = a* b*`."""
        if self.name == "optimal":
            return "(s, c/s, w*)"
        if self.name == "late":
            return f"(a, c/(a(1−{self.decay:.4g} w*)), 0)"
        b = "0" if self.name == "silent" else f"c(1−w²)/({self.zero:.4g}(1−w w*))"
        return f"({self.zero:.4g}, {b}, w)"

    @in_our_arithmetic
    def at(self, t: Any) -> Mode:
        """The points at parameter values `t`; broadcasts."""
        if self.name == "optimal":
            return optimal_mode(self.teacher, t)
        if self.name == "late":
            return self._late(optimal_mode(self.teacher, t))
        t = as_float(t, self.parameter)
        a = self.zero + 0 * t
        if self.name == "silent":
            return Mode(a, 0.0 * t, t)
        return Mode(a, self.teacher.a * self.teacher.b * (1 - t * t) / (a * (1 - t * self.teacher.w)), t)

    def _late(self, optimum: Mode) -> Mode:
        return Mode(optimum.a, optimum.b / (1 - self.decay * self.teacher.w), 0.0 * optimum.w)

    def loss(self, t: Any) -> Any:
        """The loss at parameter values `t`; broadcasts."""
        if oscillating.is_oscillating(self.teacher):
            return oscillating.loss(*oscillating.checked_pair(self.at(t), self.teacher))
        return loss(self.at(t), self.teacher)

    @in_our_arithmetic
    def distance(self, student: Mode) -> Any:
        """How far a mode is from the curve's point with the same parameter, `a` or `w`; infinite at a readout of 0."""
        student = as_mode(student, "student")
        by_readout = self.parameter != "w"
        t = student.a if by_readout else student.w
        nonzero = np.where(t == 0, 1.0, t) if by_readout else t
        gaps = [np.abs(x - y) for x, y in zip(self.at(nonzero), student, strict=True)]
        return np.where(by_readout & (t == 0), np.inf, np.sum(gaps, axis=0))


@in_our_arithmetic
def fixed_points(rule: Rule, teacher: Mode, *, poles: str | Poles = "direct") -> tuple[FixedPointManifold, ...]:
    """All fixed points of a mode: the optimal manifold first, then those where feedback vanishes.

    The optimal manifold is `(s, c/s, w*)`, `s ≠ 0`, with `c = a* b*`. Where the feedback is 0, at the readout `a₀`, lie
    the *silent* line `(a₀, 0, w)` and, for `a₀ ≠ 0`, the *blocked* curve, both at a loss. Of rules with late errors
    only those with a fixed feedback and decay that keep all lags are served: they rest on the *late* curve as well,
    where `w = 0`, also at a loss.

    **Arguments:** `rule` with scalar feedback, of the form `φ₀ + φ₁ a`; `teacher`: `Mode` of scalars, `a* b* ≠ 0`,
    `|w*| < 1`; `poles` as in `mode_update`: fixed points are the same, as far as `w` has their values.

    **Returns:** a tuple of `FixedPointManifold`, each with `name`, `formula`, `at(t)` and `loss(t)` along the curve.

    Of a teacher that oscillates (complex entries) those are given that are known in closed form: the optimal manifold,
    with complex `s`, that of the conjugate pole, and the silent line; others, where fewer poles fit best, are not.

    **Raises:** `ValueError` for a silent teacher mode, for a rule whose feedback is zero (then nothing learns) or not
    finite, for a rule with a term of another form, for late errors under other rules, and for a `w*` that no such pole
    has.

    Source: the paper for BPTT, tBPTT(1) and RFLO; docs/theory.md, section 6, for the whole family.

    >>> from localgrad import BPTT, RFLO
    >>> [m.name for m in fixed_points(BPTT(), Mode(1.0, 1.0, 0.5))]
    ['optimal', 'silent']
    >>> [m.name for m in fixed_points(RFLO(1.0, 0.5), Mode(1.0, 1.0, 0.5))]
    ['optimal']
    """
    if oscillating.is_oscillating(teacher):
        return _of_oscillating(rule, teacher, find_poles(poles))
    rule, teacher, poles = as_rule(rule), _scalar_teacher(teacher), find_poles(poles)
    parts = zip(
        ("fixed feedback", "symmetric feedback"), rule.require_affine("the theory of fixed points"), strict=False
    )
    fixed, symmetric = (as_scalar(value, name) for name, value in parts)
    check_modes(rule, teacher, teacher, poles)
    if rule.delay:
        return _of_late_errors(rule, teacher, poles)
    if fixed == 0 and symmetric == 0:
        raise ValueError("the rule's feedback is zero, so every mode with b = 0 is at rest; give a non-zero feedback")
    found = [FixedPointManifold("optimal", teacher, poles=poles)]
    if symmetric == 0:
        return tuple(found)
    zero = 0.0 - fixed / symmetric  # 0.0, not −0.0, for purely symmetric feedback
    if not np.isfinite(zero):
        raise ValueError(f"the feedback {fixed:g} + {symmetric:g} a vanishes beyond double precision; rescale it")
    found.append(FixedPointManifold("silent", teacher, zero, poles))
    if zero != 0:
        found.append(FixedPointManifold("blocked", teacher, zero, poles))
    return tuple(found)


def _of_late_errors(rule: Rule, teacher: Mode, poles: Poles) -> tuple[FixedPointManifold, ...]:
    fixed, symmetric, decay, slope = (float(x) for x in rule.require_affine("the theory of fixed points"))
    if symmetric != 0 or slope != 0 or 0 in (fixed, decay) or rule.lags is not None or poles is not DIRECT:
        raise ValueError(
            f"with errors {in_steps(rule.delay)} late the optimal manifold stays, but other points with w = 0 are at "
            "rest as well (docs/theory.md, section 10), and are told only of a fixed feedback and decay that keep all "
            "lags, with direct poles; look for them with search_fixed_points"
        )
    return FixedPointManifold("optimal", teacher), FixedPointManifold("late", teacher, decay=decay)


def _of_oscillating(rule: Rule, teacher: Mode, poles: Poles) -> tuple[FixedPointManifold, ...]:
    linear, _, _ = oscillating.checked(rule, teacher, teacher, poles)
    optimal_mode(teacher, 1.0)  # refuses a silent teacher
    conjugate = Mode(*(np.conj(x) for x in teacher))
    found = [FixedPointManifold("optimal", teacher), FixedPointManifold("optimal", conjugate)]
    fixed, symmetric = (float(x) for x in linear.feedback)
    if fixed == 0 and symmetric == 0:
        raise ValueError("the rule's feedback is zero, so every mode with b = 0 is at rest; give a non-zero feedback")
    return (*found, FixedPointManifold("silent", teacher, 0.0)) if fixed == 0 else tuple(found)


def _scalar_teacher(teacher: Mode) -> Mode:
    """The teacher as three Python floats; `ValueError` for arrays and for a silent mode."""
    letters = zip("abw", as_mode(teacher, "teacher"), strict=True)
    teacher = Mode(*(as_scalar(x, f"teacher {letter}") for letter, x in letters))
    optimal_mode(teacher, 1.0)  # refuses a silent teacher
    return teacher


@dataclass(frozen=True)
class RootSearch:
    """What a numerical root search found: `roots` (`Mode` of arrays) and, for each, the manifold it lies on.

    `labels` holds a manifold's name or `"unknown"`; `num_escaped` starts led to no root of moderate size.
    """

    roots: Mode
    labels: np.ndarray
    num_escaped: int

    def __repr__(self) -> str:
        names, counts = np.unique(self.labels, return_counts=True)
        found = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
        return f"RootSearch({found or 'no roots'}; {self.num_escaped} starts led to none)"

    def count(self, label: str) -> int:
        """How many roots carry `label`."""
        return int(np.sum(self.labels == label))


@in_our_arithmetic
def search_fixed_points(
    rule: Rule, teacher: Mode, *, num_starts: int = 1000, seed: int = 0, tolerance: float = 1e-6
) -> RootSearch:
    """Look for roots of the learning flow from random starts, knowing nothing of where they should be.

    Levenberg–Marquardt on all starts at once, with the exact Jacobian, in the coordinates `(a, b, artanh w)`; it also
    converges to curves of roots, where the Jacobian is singular. Starts: `a, b` normal with standard deviation 1.5,
    `w` uniform in ±0.95.

    **Arguments:** `rule`, `teacher` as in `fixed_points`, but the rule may have terms of any form, of which only the
    optimal manifold is known; `num_starts`; `seed`; `tolerance`: how close to a manifold of `fixed_points` a root
    counts as lying on it, positive.

    **Returns:** a `RootSearch`.

    **Raises:** `ValueError` as `fixed_points`, and for a number of starts that is none or too large for the memory.

    Source: Marquardt 1963.

    >>> from localgrad import RFLO
    >>> search_fixed_points(RFLO(1.0, 0.5), Mode(1.0, 1.0, 0.5), num_starts=50)
    RootSearch(50 optimal; 0 starts led to none)
    """
    rule, teacher, num_starts = as_single_rule(rule), _scalar_teacher(teacher), check_count(num_starts, "num_starts")
    check_positive(tolerance=tolerance)
    check_seed("seed", seed)
    check_memory(f"{num_starts:,} starts", num_starts * 2000, "give fewer")
    try:
        known = fixed_points(rule, teacher) if rule.affine is not None else ()
    except ValueError:
        if not rule.delay:
            raise
        known = ()
    known = known or (FixedPointManifold("optimal", teacher),)
    rng = np.random.default_rng(seed)
    starts = np.stack([*rng.normal(0, 1.5, (2, num_starts)), np.arctanh(rng.uniform(-0.95, 0.95, num_starts))], axis=1)
    found = _levenberg_marquardt(rule, teacher, starts)
    roots = Mode(*found.T)
    labels = np.full(len(found), "unknown", dtype="<U7")
    for manifold in reversed(known):
        labels[np.asarray(manifold.distance(roots) < tolerance * (1 + np.abs(found).sum(axis=1)))] = manifold.name
    return RootSearch(roots, labels, num_starts - len(found))


def _levenberg_marquardt(rule: Rule, teacher: Mode, x: np.ndarray, iterations: int = 200) -> np.ndarray:
    """The roots of moderate size, as rows `(a, b, w)`, that the rows of `x`, `(a, b, artanh w)`, lead to."""
    limit = 1 - 1e-9  # keeps |w| below 1 in floating point

    def mode(x: np.ndarray) -> Mode:
        return Mode(x[:, 0], x[:, 1], np.clip(np.tanh(x[:, 2]), -limit, limit))

    def residual(x: np.ndarray) -> np.ndarray:
        return -np.stack(np.broadcast_arrays(*field(rule, mode(x), teacher)), axis=1)

    ends, residuals = np.array(x, dtype=float), residual(x)
    searching, damping = np.arange(len(x)), np.full(len(x), 1e-2)
    for _ in range(iterations):
        # Done are those at a root to rounding, and those that no step improves.
        still = (np.linalg.norm(residuals[searching], axis=1) > 1e-15) & (damping < 1e12)
        searching, damping = searching[still], damping[still]
        if searching.size == 0:
            break
        x, r = ends[searching], residuals[searching]
        w = mode(x).w
        columns = [complex_step(rule, mode(x), teacher, axis) for axis in range(3)]
        J = -np.moveaxis(np.array([np.broadcast_arrays(*column, w)[:3] for column in columns]), -1, 0).mT
        J *= np.stack([np.ones_like(w), np.ones_like(w), 1 - w * w], 1)[:, None]
        normal = J.mT @ J
        # Damping by the trace as well as the diagonal: along a curve of roots a whole column of J vanishes.
        size = np.trace(normal, axis1=1, axis2=2)[:, None] + 1e-300
        scale = np.einsum("kii->ki", normal) + 1e-3 * size
        step = np.linalg.solve(normal + (damping[:, None] * scale)[..., None] * np.eye(3), -(J.mT @ r[..., None]))
        trial = x + np.clip(step[..., 0], -1, 1)
        r_trial = residual(trial)
        better = np.linalg.norm(r_trial, axis=1) < np.linalg.norm(r, axis=1)
        ends[searching], residuals[searching] = np.where(better[:, None], (trial, r_trial), (x, r))
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-12, 1e12)
    ends = np.stack(mode(ends), axis=1)
    moderate = (np.abs(ends[:, :2]).max(axis=1) < 1e2) & (np.abs(ends[:, 2]) < 1 - 1e-6)
    return ends[moderate & (np.linalg.norm(residuals, axis=1) < 1e-9)]
