"""How a learning trajectory ends. All are results; none is an error."""

import enum

DIVERGED_GAP = 1e-4
"""Distance of `|w|` or `ρ(W)` from 1, relative to the teacher's, below which learning has diverged."""

DIVERGED_LOSS = 1e6
"""Loss, relative to that of a silent student, above which learning has diverged where no stability is needed."""

STALLED_SPEED = 1e-6
"""Speed of learning `‖Δθ‖` below which it rests, in units of `|c|` for a mode, `√(2 × silent loss)` for a network."""


class Outcome(enum.IntEnum):
    """Where a learning trajectory ended (docs/theory.md, section 8).

    - `CONVERGED`: on the optimal manifold, on the branch `sign(s)` given beside the outcome.
    - `STALLED`: at, or creeping along, fixed points with a loss above zero.
    - `DIVERGED`: `|w| → 1`, which happens in finite learning time.
    - `UNFINISHED`: none of these when the learning time ran out.
    """

    CONVERGED = 0
    STALLED = 1
    DIVERGED = 2
    UNFINISHED = 3
