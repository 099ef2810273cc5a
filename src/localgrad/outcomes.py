r"""How a learning trajectory ends, and the one table of thresholds by which every engine decides it.

The engines are `learn_mode` (one mode), `integrate_modes` (many modes), `learn` (networks, exact) and `train`
(networks, sampled). All judge losses in units of the *silent loss*, that of a student whose output is 0, and all use
the numbers of this table. All outcomes are results; none is an error. Source: docs/theory.md, section 8.

Limit: whether an optimum is stable is known for modes only. For networks that would take the spectrum of a Jacobian
with as many rows as there are weights, so there `CONVERGED` says that the loss is negligible.
"""

import enum
from typing import Any

import numpy as np

CONVERGED_LOSS = 1e-6
"""Loss, in units of the silent loss, at or below which it is negligible: a student within about 1e-3 of the optimum."""

REST_DISTANCE = 1e-6
"""Relative distance from a fixed point below which a mode is at rest there; on the optimum, a loss of its square."""

ROUNDING_LOSS = 1e-30
"""Loss, in units of the silent loss, at which a mode is on the optimum but for rounding errors, and does not move."""

STALLED_SPEED = 1e-6
"""Speed of learning `‖Δθ‖` below which a network is at rest, in units of `√(2 × silent loss)`."""

DIVERGED_GAP = 1e-4
"""Distance of `|w|` or `ρ(W)` from 1, relative to the teacher's, below which learning has diverged."""

ROUNDING_GAP = 1e-12
"""Distance of `|w|` from 1 below which double precision follows it no longer. Poles that stay inside take for ever to
reach 1, so there a trajectory is given up as unfinished, not diverged."""

DIVERGED_LOSS = 1e6
"""Loss, in units of the silent loss, above which learning has diverged where no stability is needed."""


def divergence_gap(teacher_radius: Any, initial_radius: Any) -> Any:
    """The distance of `|w|` or `ρ(W)` from 1 at which learning counts as diverged.

    It is `DIVERGED_GAP` times the teacher's own distance from 1, or half the distance at which learning starts if
    that is smaller: a student that starts near 1 may still come back.

    **Arguments:** `teacher_radius`, `initial_radius`: `|w*|` and `|w|` of a mode, or spectral radii, each below 1;
    numbers, or broadcasting arrays of NumPy or JAX.

    >>> float(divergence_gap(0.5, 0.0)), round(float(divergence_gap(0.8, 0.99999)), 9)
    (5e-05, 5e-06)
    """
    own, half = DIVERGED_GAP * (1 - abs(teacher_radius)), (1 - abs(initial_radius)) / 2
    own_is_smaller = own < half  # products, since no one `minimum` serves NumPy, JAX and plain numbers alike
    return own * own_is_smaller + half * (1 - own_is_smaller)


class Outcome(enum.IntEnum):
    """Where a learning trajectory ended (docs/theory.md, section 8). Prints as a word.

    - `CONVERGED`: the loss is negligible and, for a mode, the optimum is stable: after a small push across the optimal
      manifold the mode comes back. The branch of the manifold, `sign(s)`, is given beside the outcome.
    - `STALLED`: at rest anywhere else: at a fixed point with a loss, or at an unstable optimum.
    - `DIVERGED`: `|w| → 1`, which happens in finite learning time.
    - `UNFINISHED`: none of these when the learning time, or the number of steps allowed, ran out; or, with poles that
        cannot leave the disc, when `|w|` came closer to 1 than double precision can tell (`ROUNDING_GAP`).

    >>> print(Outcome.CONVERGED)
    converged
    """

    CONVERGED = 0
    STALLED = 1
    DIVERGED = 2
    UNFINISHED = 3

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    @classmethod
    def words(cls, codes: Any) -> np.ndarray:
        """The outcomes of an array of codes as words, in an array of the same shape.

        >>> Outcome.words([0, 3]).tolist()
        ['converged', 'unfinished']
        """
        return np.array([str(outcome) for outcome in cls])[cls._checked(codes)]

    @classmethod
    def _checked(cls, codes: Any) -> np.ndarray:
        """Codes as an array of whole numbers; `ValueError` for what is no code."""
        try:
            found = np.asarray(codes)
        except ValueError:  # rows of unlike lengths
            found = np.array(None)
        if found.dtype.kind not in "biuf" or not np.all(np.isin(found, list(cls))):
            raise ValueError(f"outcomes are codes from 0 to {len(cls) - 1}; got a {type(codes).__name__} of others")
        return found.astype(int)

    @classmethod
    def counts(cls, codes: Any) -> "dict[str, int]":
        """How often each outcome occurs in an array of codes, those that do not occur left out.

        >>> Outcome.counts([0, 0, 3])
        {'converged': 2, 'unfinished': 1}
        """
        found = np.bincount(cls._checked(codes).ravel(), minlength=len(cls))
        return {str(outcome): int(found[outcome]) for outcome in cls if found[outcome]}
