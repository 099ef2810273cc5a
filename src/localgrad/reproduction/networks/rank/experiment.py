r"""How high is the rank of what a rule learns, with one output? And RFLO's bound, rank ≤ outputs, wherever it applies.

Students with 10 hidden units and small Gaussian weights learn one teacher with 6 (one input and output) in exact flows.
What they learned is compared by normalised singular values. Proposition 3.1 is tried apart (`bound.py`).

Limits: figures show one teacher, the order of ranks and the table count several; one input, so that the change of `B`
is one column, of rank 1; the infinite horizon, where a run diverges as `ρ(W)` reaches 1. Medians are over the runs that
did not diverge.

Source: docs/theory.md, section 9; the paper's proposition 3.1.
"""

import numpy as np
import xarray as xr

from localgrad.outcomes import Outcome
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.rank.counts import table
from localgrad.reproduction.networks.rank.data import DESCRIBE, Parameters, compute
from localgrad.reproduction.networks.rank.figures import draw_loss, draw_spectra
from localgrad.rules.presets import TruncatedBPTT


def claims(data: xr.Dataset) -> list[Claim]:
    """Proposition 3.1 wherever it applies, and the paper's order of ranks."""
    second = data.second_by_teacher.where(data.outcome_by_teacher != Outcome.DIVERGED).median("seed")
    ranks = xr.concat([data.rank_unaligned, data.rank_aligned], "aligned")
    return [
        Claim.equal(
            "rank.bound",
            "paper, proposition 3.1",
            "RFLO with o = 1, 2, 3 outputs: rank of W_K − W_0 and B_K − B_0 minus o, aligned or not, infinite horizon, "
            "five steps with either loss, expected or sampled (largest difference)",
            0,
            abs(ranks - data.outputs).max(),
            tolerance=0,
        ),
        Claim.at_most(
            "rank.span",
            "paper, proposition 3.1",
            "All columns of what RFLO learns there lie in the span of Rᵀ (largest share of energy outside; rounding)",
            1e-20,
            data.outside_feedback.max(),
        ),
        Claim.at_least(
            "rank.bptt-unbound",
            "theory, section 9",
            "BPTT on the same unaligned networks goes beyond o in W (least excess of rank)",
            1,
            (data.rank_full.sel(change="W") - data.outputs).min(),
        ),
        Claim.equal(
            "rank.rflo-flow",
            "paper, proposition 3.1",
            "RFLO with one output, after whole learning flows: rank of W_K − W_0 (largest of all seeds)",
            1,
            data["rank"].isel(rule=-1).sel(change="W").max(),
            tolerance=0,
        ),
        *_order(
            ("rank.order-bptt", "rank.order-eprop", "rank.order-tbptt"),
            "in exact learning, least of all teachers",
            second,
        ),
        *_order(
            ("rank.sampled-bptt", "rank.sampled-eprop", "rank.sampled-tbptt"),
            "in sampled training",
            data.sampled_singular_values.isel(index=1).median("sampled"),
        ),
        Claim.at_least(
            "rank.tbptt-slow",
            "new: measured",
            "tBPTT(1) is slow rather than stuck: with ten times the learning time more of its runs with the first "
            "teacher get below 5 % of a silent student's loss (gain in their share)",
            0.1,
            _truncated_share(data, longer=True) - _truncated_share(data, longer=False),
        ),
        Claim.at_least(
            "rank.diverges",
            "new: measured",
            "Large weights and R make RFLO and e-prop diverge more often (least gain in their share of diverged runs)",
            0.1,
            _gain_in_divergence(data),
        ),
        Claim.at_least(
            "rank.loss",
            "new: measured",
            "Across rules, more dimensions learned go with lower losses (rank correlation, participation and −loss)",
            0.5,
            _rank_correlation(data.participation, -data.loss),
        ),
    ]


def _order(ids: tuple[str, str, str], how: str, second: xr.DataArray) -> list[Claim]:
    """BPTT, e-prop with either feedback, tBPTT(1), RFLO: each above the next by the median of σ₂/σ₁."""
    bptt, *eprops, tbptt, rflo = second.transpose("rule", ...).values
    return [
        Claim.at_least(
            ids[0],
            "paper, rank",
            f"BPTT learns more dimensions than e-prop with either feedback, {how} (ratio of median σ₂/σ₁)",
            1,
            np.min(bptt / np.max(eprops, axis=0)),
        ),
        Claim.at_least(
            ids[1],
            "paper, rank",
            f"e-prop learns more dimensions than tBPTT(1), {how} (the same ratio)",
            1,
            np.min(np.min(eprops, axis=0) / tbptt),
        ),
        Claim.at_least(
            ids[2],
            "paper, rank",
            f"tBPTT(1) learns more dimensions than RFLO, whose σ₂ is rounding, {how} (its median σ₂/σ₁ minus RFLO's)",
            1e-6,
            np.min(tbptt - rflo),
        ),
    ]


def checks(data: xr.Dataset) -> list[Claim]:
    """The paper's counts of runs that converge, which it gives for one teacher, against ours for several."""
    paper, share = "paper, convergence counts", _converged(data)
    bptt, _, random, tbptt, rflo = (share.isel(rule=i) for i in range(5))
    within = "; tolerance: two standard errors of a count of 20"
    return [
        Claim.equal(
            "rank.bptt-converges",
            paper,
            "BPTT converges always: it gets below 5 % of a silent student's loss (least share of runs over teachers)",
            1,
            bptt.min(),
            tolerance=0,
        ),
        Claim.equal(
            "rank.tbptt-converges",
            paper,
            "tBPTT(1) converges always (the same share)",
            1,
            tbptt.min(),
            tolerance=0,
        ),
        Claim.equal(
            "rank.rflo-converges",
            paper,
            f"RFLO converges in 13 of 20 runs (share of the runs with all teachers{within})",
            0.65,
            rflo.mean(),
            tolerance=0.2,
        ),
        Claim.equal(
            "rank.eprop-converges",
            paper,
            f"e-prop, with random feedback, converges in 12 of 20 runs (share of the runs with all teachers{within})",
            0.6,
            random.mean(),
            tolerance=0.2,
        ),
    ]


def _truncated_share(data: xr.Dataset, *, longer: bool) -> float:
    """The share of tBPTT(1)'s runs with the first teacher that get below 5 %."""
    if not longer:
        return float(_converged(data).sel(rule=TruncatedBPTT(1).key).isel(teacher=0))
    return float(((data.longer_loss <= 0.05) & (data.longer_outcome != Outcome.DIVERGED)).mean())


def _converged(data: xr.Dataset) -> xr.DataArray:
    """The share of runs that reach 5 % of a silent student's loss without having diverged: "teacher rule"."""
    return ((data.loss_by_teacher <= 0.05) & (data.outcome_by_teacher != Outcome.DIVERGED)).mean("seed")


def numbers(data: xr.Dataset) -> dict[str, float]:
    """Least and largest counts over the teachers, and what becomes of tBPTT(1)."""
    counts = _converged(data) * data.sizes["seed"]
    (full, _, random, truncated, local), (_, _, random_most, truncated_most, local_most) = (
        counts.min("teacher").values,
        counts.max("teacher").values,
    )
    return {
        "full-least": full,
        "random-least": random,
        "random-most": random_most,
        "truncated-least": truncated,
        "truncated-most": truncated_most,
        "local-least": local,
        "local-most": local_most,
        "truncated-first": _truncated_share(data, longer=False) * data.sizes["seed"],
        "truncated-longer": _truncated_share(data, longer=True) * data.sizes["seed"],
        "truncated-diverged": (data.outcome_by_teacher.sel(rule=TruncatedBPTT(1).key) == Outcome.DIVERGED).mean(),
        "runs": data.sizes["seed"],
        "teachers": data.sizes["teacher"],
    }


def _gain_in_divergence(data: xr.Dataset) -> float:
    """Share of runs that diverge at scale ≥ 0.9 and threefold R, minus that of the same rule in the main setting."""
    numbers = data.variant_numbers
    large = (numbers.sel(number="scale") >= 0.9) & (numbers.sel(number="feedback_scale") >= 3)
    share = (data.variant_outcome[large.values] == Outcome.DIVERGED).mean("seed")
    main = (data.outcome == Outcome.DIVERGED).mean("seed").sel(rule=share.variant)
    return float((share.values - main.values).min()) if share.size else np.nan


def _rank_correlation(x: xr.DataArray, y: xr.DataArray) -> float:
    places = [np.argsort(np.argsort(values.values.ravel())) for values in (x, y)]
    return float(np.asarray(np.corrcoef(places))[0, 1])


EXPERIMENT = Experiment(
    name="rank",
    title="The rank of what is learned",
    question="What rank have the changes of W and B under each rule, and does the bound on RFLO's hold everywhere?",
    parameters=Parameters(),
    quick=Parameters(
        num_seeds=6,
        num_teachers=2,
        duration=100.0,
        variants=((0.9, 0.5, 3.0), (0.9, None, 3.0)),
        num_sampled=4,
        num_steps=3000,
    ),
    compute=compute,
    claims=claims,
    checks=checks,
    numbers=numbers,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "rank-spectra",
            draw_spectra,
            "One output, students with 10 hidden units. A: singular values of what was learned, relative to"
            " the largest, down to 1e-4 (thin: every seed; thick: median): under BPTT they fall slowest, "
            "then under e-prop, with symmetric or random feedback, then under tBPTT(1); RFLO's second is "
            "rounding, as proposition 3.1 demands. B: participation ratios, a marker a seed: the same "
            "order; colours and markers as in A.",
        ),
        FigureSpec(
            "rank-loss",
            draw_loss,
            "Final loss against the participation ratio of what was learned, a marker a run; dotted: the thresholds "
            "of the table. Across rules, more dimensions go with lower losses; within a rule there is little relation.",
        ),
    ),
    table=table,
    table_caption="How many runs end, without having diverged, at or below a loss relative to a silent student's, and "
    "how many diverge. The paper, with other parameters and sampled training, reports convergence of 13 of 20 runs for "
    "RFLO, 12 for e-prop and 20 for the others. Here hardly a run diverges from small weights with a small R, but "
    "tBPTT(1) and RFLO are slow; from large weights with a large R, RFLO and e-prop do diverge (lower rows). Last "
    "rows, in the full setting: the same students with several teachers, from the least count to the largest.",
)
