"""Detours of RFLO over many teachers and starts: how often, how far, how long, and how they depend on its numbers.

BPTT, tBPTT(1) and every RFLO start from the same points, to compare start by start.
"""

import xarray as xr

from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.detours_at_scale.data import DESCRIBE, Parameters, compute
from localgrad.reproduction.theory.detours_at_scale.figures import draw, table


def claims(data: xr.Dataset) -> list[Claim]:
    """Answers to the questions of the field, as numbers."""
    smallest, example = data.scale.values[0], {"feedback": 1.0, "decay": 0.5}
    small, large = data.isel(scale=0), data.isel(scale=-1)
    median_time = data.time_ratio.sel(quantile=0.5, scale=1.0)
    return [
        Claim.equal(
            "detours-at-scale.bptt",
            "theory, section 8",
            "BPTT converges from every start (share, smallest over scales)",
            1,
            data.bptt_converged.min(),
            tolerance=1e-3,
        ),
        Claim.equal(
            "detours-at-scale.bptt-branches",
            "theory, section 6",
            f"From small starts (scale {smallest:g}) BPTT reaches either branch equally often (share s > 0)",
            0.5,
            small.bptt_positive,
            tolerance=0.02,
        ),
        Claim.at_least(
            "detours-at-scale.rflo-branch",
            "theory, section 7",
            "From small starts RFLO ends where âs > 0 (share of those that converge, least over â and ŵ)",
            0.99,
            small.same_sign.min(),
        ),
        Claim.equal(
            "detours-at-scale.half-far",
            "follows from the two before",
            "From small starts half of RFLO's runs end on the branch that BPTT does not reach (share, â = 1, ŵ = 0.5)",
            0.5,
            small.share.sel(**example, end="far branch") / small.share.sel(**example)[:2].sum(),
            tolerance=0.02,
        ),
        Claim.at_most(
            "detours-at-scale.small-safe",
            "new: measured",
            "RFLO hardly diverges from small starts (share, â = 1, ŵ = 0.5)",
            0.01,
            small.share.sel(**example, end="diverged"),
        ),
        Claim.at_least(
            "detours-at-scale.large-diverges",
            "new: measured",
            f"From large starts RFLO often diverges (share at scale {float(large.scale):g}, â = 1, ŵ = 0.5)",
            0.1,
            large.share.sel(**example, end="diverged"),
        ),
        Claim.at_least(
            "detours-at-scale.outward",
            "new: measured",
            "From large starts RFLO diverges mostly where âa < 0 (share that diverges there, over that where âa > 0)",
            2.0,
            large.diverged_outward.sel(**example) / large.diverged_inward.sel(**example),
        ),
        Claim.at_most(
            "detours-at-scale.stalls",
            "theory, section 6",
            "RFLO does not stall: it has no saddle to wait at (largest share over all settings)",
            0.001,
            data.share.sel(end="stalled").max(),
        ),
        Claim.at_least(
            "detours-at-scale.longer",
            "new: measured",
            "RFLO's way is longer than BPTT's from most starts (median ratio of path lengths at scale 1, least over â "
            "and ŵ)",
            1.0,
            data.path_ratio.sel(quantile=0.5, scale=1.0).min(),
        ),
        Claim.at_least(
            "detours-at-scale.long-detours",
            "new: measured",
            "From one start in ten RFLO's way is at least twice as long (ratio at the ninth decile, scale 1, least "
            "over â and ŵ)",
            2.0,
            data.path_ratio.sel(quantile=0.9, scale=1.0).min(),
        ),
        Claim.at_least(
            "detours-at-scale.time-weak-feedback",
            "new: measured",
            "With weak feedback (â = 0.3) RFLO takes longer than BPTT (median ratio of times at scale 1, least over ŵ)",
            1.5,
            median_time.isel(feedback=0).min(),
        ),
        Claim.at_most(
            "detours-at-scale.time-strong-feedback",
            "new: measured",
            "With strong feedback (â = 3) RFLO is the faster rule (median ratio of times at scale 1, largest over ŵ)",
            1.0,
            median_time.isel(feedback=-1).max(),
        ),
    ]


def checks(data: xr.Dataset) -> list[Claim]:
    """What the paper says of the time that detours cost, for each feedback looked at."""
    median_time = data.time_ratio.sel(quantile=0.5, scale=1.0).median("decay")
    ids = (
        "detours-at-scale.costs-time-weak",
        "detours-at-scale.costs-time-one",
        "detours-at-scale.costs-time-strong",
    )
    return [
        Claim.at_least(
            id,
            "paper, detours",
            f"Detours cost time: RFLO learns more slowly than BPTT (median ratio of times, â = {feedback:g})",
            1.0,
            median_time.sel(feedback=feedback),
        )
        for id, feedback in zip(ids, data.feedback.values, strict=True)
    ]


def numbers(data: xr.Dataset) -> dict[str, float]:
    """For verdicts to quote."""
    median_time = data.time_ratio.sel(quantile=0.5, scale=1.0).median("decay")
    example = {"feedback": 1.0, "decay": 0.5}
    return {
        "time-ratio-weak": float(median_time[0]),
        "time-ratio-one": float(median_time.sel(feedback=1.0)),
        "time-ratio-strong": float(median_time[-1]),
        "path-ratio": float(data.path_ratio.sel(**example, quantile=0.5, scale=1.0)),
        "path-ratio-decile": float(data.path_ratio.sel(**example, quantile=0.9, scale=1.0)),
        "diverged-large": float(data.isel(scale=-1).share.sel(**example, end="diverged")),
    }


EXPERIMENT = Experiment(
    name="detours-at-scale",
    title="Detours at scale",
    question="Over many teachers and starts: how often does RFLO go elsewhere than BPTT, how far around, or nowhere?",
    parameters=Parameters(),
    quick=Parameters(num_starts=3000),
    compute=compute,
    claims=claims,
    checks=checks,
    numbers=numbers,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "detours-at-scale",
            draw,
            "RFLO with â = 1 from random starts, against BPTT from the same starts. A: where it ends (ŵ = 0.5), by "
            "the scale of the start. B: how often it diverges, by the teacher's w*. C, D: length of its way and "
            "learning time over BPTT's (median; bars: 10 % to 90 %; colours as in B). From small starts one half ends "
            "on the branch that BPTT does not reach, and learning takes less time than BPTT's; from large ones many "
            "diverge, and the others take about as long. Most ways are a little longer than BPTT's, few much longer.",
        ),
    ),
    table=table,
    table_caption="Ends of RFLO from starts of scale 1, and medians over BPTT's from the same starts.",
)
