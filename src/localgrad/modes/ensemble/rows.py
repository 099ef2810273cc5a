"""The rows of a batch: what is known of each trajectory in work.

A batch is a flat array; the entry of row `ROW` in lane `i` of `n` is `batch[ROW * n + i]`. With `n` known when it
is compiled all distances are, and a loop over lanes is vectorised without run-time checks for overlap.
"""

# mypy: ignore-errors

from localgrad.modes.ensemble.arithmetic import inlined

# Kept when a trajectory is finished. A row's number says how wide the one before it is.
STATE, TIME, STEPS, STATUS = 0, 3, 4, 5
FIRST_LOSS, PEAK_LOSS, LAST_LOSS, LAST_TIME = 6, 7, 8, 9
CROSSING = 10  # the step in which the loss became negligible: time before and after, loss before and after
PATH, CHORD, TANGENT = 14, 15, 16
RULE, C, W_STAR, THEIRS, SCALE, SMALL = 19, 23, 24, 25, 26, 27  # φ₀ φ₁ μ₀ μ₁; c; w*; 1/(1 − w*²); √|c|; small loss
NUM_KEPT = 28
# Needed while it runs.
LEFT, STEP, ATOL, VERDICT = 28, 29, 30, 31
# Within one step.
LOSS, VELOCITY, JACOBIAN, INVERSE, STAGE, ROOM, INCREMENTS = 32, 33, 36, 45, 54, 57, 63
# For dense output: the state before the step, and the coefficients of its interpolant.
BEFORE, BEND = 81, 84
NUM_ROWS = 90

# Values of STATUS.
RUNNING, ENDED, SETTLED, DIVERGING, STUCK, OUT_OF_STEPS = 0.0, 1.0, 2.0, 3.0, 4.0, 5.0


@inlined
def get3(batch, row, n, i):
    """Three rows from `row` on."""
    return batch[row * n + i], batch[(row + 1) * n + i], batch[(row + 2) * n + i]


@inlined
def get4(batch, row, n, i):
    """Four rows from `row` on."""
    return batch[row * n + i], batch[(row + 1) * n + i], batch[(row + 2) * n + i], batch[(row + 3) * n + i]


@inlined
def put3(batch, row, n, i, x, y, z):
    """Write three rows from `row` on."""
    batch[row * n + i], batch[(row + 1) * n + i], batch[(row + 2) * n + i] = x, y, z
