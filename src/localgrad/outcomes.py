"""How a learning trajectory ends. All are results; none is an error."""

import enum


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
