r"""What does feedback of more dimensions buy RFLO? Output copies and auxiliary readouts, in rank and in loss.

RFLO's change has rank at most the number of outputs, since `ΔW = Rᵀ(…)`: one for a task with one output. Here the task
is extended to `o'` outputs, either by *copies* of it (rows of `A*` repeated) or by *auxiliary readouts* (random rows
of `A*`), each with a readout and a row of `R` of its own. What counts is the number of *distinct* errors: copies that
share one readout have one error for ever, and with it rank 1: their feedback is in effect the sum of the rows of `R`.
Rows of `R` are divided by `√o'`, so that feedback does not grow with `o'`. Losses are of the task's output alone.

All networks have 4 outputs, hence one compiled program; those unused are rows of zeros in `A`, `A*` and `R`, whose
errors and updates are zero for ever. Limits: one teacher; the arrangements start from the same students.

Source: the paper's proposition 3.1 and its advice of feedback of higher rank; docs/theory.md, section 9.
"""

import numpy as np
import xarray as xr

from localgrad.outcomes import Outcome
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.feedback_dimension.data import DESCRIBE, Parameters, compute
from localgrad.reproduction.networks.feedback_dimension.figures import draw_gain


def claims(data: xr.Dataset) -> list[Claim]:
    """The bound; and what copies and auxiliary readouts buy, in the small setting, and cost, in the large one."""
    small, large = data.isel(setting=0), data.isel(setting=1)
    excess = data["rank"] - data.distinct
    loss, participation = small.loss.isel(time=-1).median("seed"), small.participation.median("seed")
    diverged = (large.outcome == Outcome.DIVERGED).mean("seed")
    against = (large.agreement < -1e-9).values
    failed = (large.outcome == Outcome.DIVERGED).values
    return [
        Claim.at_most(
            "feedback-dimension.bound",
            "theory, section 9",
            "Rank of RFLO's change of W minus the number of distinct feedback dimensions (largest of all runs)",
            0,
            excess.max(),
        ),
        Claim.at_least(
            "feedback-dimension.reached",
            "paper, advice",
            "The rank of RFLO's change of W reaches this bound (the same difference, least of all runs)",
            0,
            excess.min(),
        ),
        Claim.at_most(
            "feedback-dimension.copies",
            "new: measured",
            "Copies with readouts of their own add little more than numerical rank: their errors soon agree "
            "(median participation ratio, 4 copies, small weights)",
            1.2,
            participation.sel(arrangement="4 copies"),
        ),
        Claim.at_least(
            "feedback-dimension.auxiliary",
            "paper, advice",
            "Auxiliary readouts raise the participation ratio (median participation ratio with 3 auxiliary readouts; "
            "1 for the task alone)",
            1.2,
            participation.sel(arrangement="3 auxiliary"),
        ),
        Claim.at_least(
            "feedback-dimension.loss",
            "new: measured",
            "With auxiliary readouts the task itself is learned better (median task loss alone, over that with 3 "
            "auxiliary readouts)",
            1.0,
            loss.sel(arrangement="task alone") / loss.sel(arrangement="3 auxiliary"),
        ),
        Claim.at_least(
            "feedback-dimension.diverges",
            "new: measured",
            "From large weights with a large R more runs diverge with auxiliary readouts (share with 3 of them minus "
            "alone)",
            0.1,
            diverged.sel(arrangement="3 auxiliary") - diverged.sel(arrangement="task alone"),
        ),
        Claim.at_least(
            "feedback-dimension.against",
            "new: measured",
            "There those runs diverge more often in which some error is fed back against its readout, A₀Rᵀ having an "
            "eigenvalue with negative real part (their share that diverges, minus that of all others)",
            0.1,
            _share(failed[against]) - _share(failed[~against]),
        ),
    ]


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan


def _median_loss(loss: xr.DataArray) -> str:
    middle = float(loss.median())
    return f"{middle:.2g}" if np.isfinite(middle) else "none"


def table(data: xr.Dataset) -> list[list[str]]:
    """A row an arrangement and setting."""
    rows = []
    for setting in data.setting.values:
        for name in data.arrangement.values:
            runs = data.sel(setting=setting, arrangement=name)
            loss, diverged = runs.loss.isel(time=-1), runs.outcome == Outcome.DIVERGED
            counts = [f"{int(((loss <= t) & ~diverged).sum())} of {len(loss)}" for t in data.threshold.values]
            numbers = f"{int(runs['rank'].max())}", f"{float(runs.participation.median()):.2f}"
            ends = [f"{int(how.sum())} of {len(loss)}" for how in (diverged, runs.cut)]
            rows.append([str(setting), str(name), *numbers, *counts, *ends, _median_loss(loss)])
    reached = [f"loss ≤ {100 * t:g} %" for t in data.threshold.values]
    header = ["setting", "outputs", "rank", "participation ratio", *reached, "diverged", "out of steps", "median loss"]
    return [header, *rows]


EXPERIMENT = Experiment(
    name="feedback-dimension",
    title="Feedback of more dimensions",
    question="What do output copies and auxiliary readouts buy RFLO, in rank and in loss on the task itself?",
    parameters=Parameters(),
    quick=Parameters(num_seeds=12, duration=100.0),
    compute=compute,
    claims=claims,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "feedback-dimension-gain",
            draw_gain,
            "RFLO on a task with one output, alone and with copies of it or auxiliary readouts of the teacher's hidden "
            "state; medians over students. A: loss of the task's output, small weights and feedback: auxiliary "
            "readouts lower it, copies hardly. B: singular values of what was learned, same runs, down to 1e-4 of σ₁: "
            "copies that share a "
            "readout have rank 1, copies with their own a rank that is small in effect, auxiliary readouts one that is "
            "not. C: the cost: from large weights with a large R, more outputs make more runs diverge (share); in the "
            "runs of A and B none does.",
        ),
    ),
    table=table,
    table_caption="How many runs end, without having diverged, at or below a loss of the task's output relative to a "
    "silent student's; rank: the largest; participation ratio and loss: the medians, diverged runs included (a loss "
    "of none: half of the runs or more end unstable, without one). Silent start: auxiliary readouts of the student "
    "that begin at zero.",
)
