r"""How a mode's trajectory ended, judged from its last point: one definition for single modes and for ensembles.

The fixed points of a mode are known (`fixed_points.py`): the optimal manifold, and, where the feedback `f` vanishes,
points with `b = 0` or `Δa = 0`. So "at rest" need not be guessed from a speed, which is small also where learning is
merely slow: it is the distance from the nearest of these points.

Limit: plain arithmetic of single numbers, without calls of other functions, since Numba compiles this text as well.
"""

from math import sqrt
from typing import Any

from localgrad.outcomes import CONVERGED_LOSS, REST_DISTANCE, Outcome

_CONVERGED, _STALLED, _UNFINISHED = int(Outcome.CONVERGED), int(Outcome.STALLED), int(Outcome.UNFINISHED)
_AT_OPTIMUM = REST_DISTANCE**2
# An eigenvalue this small next to the other one counts as zero, which is not unstable.
_NEUTRAL = 1e-9


def outcome_at(point: Any, task: Any, feedback: Any, relative_loss: Any, speed: Any, transverse: Any) -> int:
    """`CONVERGED`, `STALLED` or `UNFINISHED`, as a number.

    **Arguments:** `point`: `a, b, w`; `task`: `c = a* b*` and `w*`; `feedback`: `f` and `df/da`; `relative_loss`: in
    units of the silent loss; `speed`: `‖Δθ‖` in any norm; `transverse`: trace and sum of the principal minors of the
    Jacobian in any unit of time: on a line of fixed points one eigenvalue is 0, and these are the sum and the product
    of the others.
    """
    a, b, w = point
    c, w_star = task
    f, slope = feedback
    trace, minors = transverse
    if relative_loss <= CONVERGED_LOSS:
        if trace < 0 and minors > -_NEUTRAL * trace * trace:
            return _CONVERGED
        return _STALLED if relative_loss <= _AT_OPTIMUM or speed == 0 else _UNFINISHED
    scale = sqrt(abs(c))
    without_feedback = abs(f) <= REST_DISTANCE * abs(slope) * max(scale, abs(a))
    silent = abs(b) <= REST_DISTANCE * scale
    optimal_gain = c * (1 - w * w) / (1 - w * w_star)
    blocked = abs(a * b - optimal_gain) <= REST_DISTANCE * abs(optimal_gain)
    return _STALLED if speed == 0 or (without_feedback and (silent or blocked)) else _UNFINISHED
