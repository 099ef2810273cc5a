"""Brain networks as teachers of full networks: how do rules learn teachers that were not made up, one of them directed?

Two networks of the package tvb-data: 68 regions (symmetric, so data-aligned) and 76 regions (directed, so not). Each
is read out and driven through its leading singular vectors, `A* = U₃ᵀ`, `B* = V₃`, and learned by an unaligned Gaussian
student. Both students have 76 units; the smaller teacher gets 8 silent units.

Limits: a student sees of a teacher only the Markov parameters `A* W*^j B*`. Those of the symmetric network are
`Λ₃^j` up to signs, with its three leading eigenvalues, so any network with the same three is the same teacher; a claim
holds this. Nothing here is a property of brains alone, and one student and one R on each network are no statistics.
"""

import xarray as xr

from localgrad.outcomes import Outcome
from localgrad.reproduction.axes import name_of
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.real_teachers.data import DESCRIBE, Parameters, compute, rules_of
from localgrad.reproduction.networks.real_teachers.figures import draw_learning, draw_ranks


def claims(data: xr.Dataset) -> list[Claim]:
    """Ranks, speed, alignment, and whether rules descend at all on teachers that were not made up."""
    o, rank = data.attrs["outputs"], data["rank"]
    end = data.time.isel(point=-1)
    bptt, tbptt, rflo, random, symmetric = (rule.key for rule in rules_of(1.0, 0.5))
    rise = data.alignment.isel(snapshot=-1) - data.alignment.isel(snapshot=0)
    return [
        Claim.at_most(
            "real-teachers.three-eigenvalues",
            "theory, section 3",
            f"Of the symmetric network a student sees {o} leading eigenvalues and no more: a teacher of {o} units with "
            "them gives the same update (largest relative difference over rules)",
            1e-10,
            data.mismatch.max(),
        ),
        Claim.at_most(
            "real-teachers.rflo-rank",
            "paper, proposition 3.1",
            f"RFLO's change of W has rank at most the number of outputs, {o}, aligned or not (larger of two teachers)",
            o,
            rank.sel(rule=rflo).max(),
        ),
        Claim.at_least(
            "real-teachers.other-ranks",
            "paper, rank",
            "BPTT, tBPTT(1) and e-prop go beyond the number of outputs (least rank at 1e-6 of the largest singular "
            "value)",
            o + 1,
            rank.sel(rule=[bptt, tbptt, random, symmetric]).min(),
        ),
        Claim.equal(
            "real-teachers.converged",
            "new: measured",
            f"All rules reach {data.attrs['tolerance']:.0e} of a silent student's loss on both teachers (share)",
            1.0,
            (data.outcome == Outcome.CONVERGED).mean(),
            tolerance=0,
        ),
        Claim.at_least(
            "real-teachers.bptt-fastest",
            "new: measured",
            "BPTT is the first to reach that loss (least learning time of another rule, over BPTT's)",
            1.0,
            (end.drop_sel(rule=bptt) / end.sel(rule=bptt)).min(),
        ),
        Claim.at_least(
            "real-teachers.aligned",
            "new: measured",
            "On the symmetric teacher students align under every rule: the mean input–output cosine rises by at "
            "least half of its range (least rise; random directions in 76 dimensions have a mean |cosine| of 0.09)",
            0.5,
            rise.min(),
        ),
        Claim.at_least(
            "real-teachers.symmetric-descends",
            "new: measured",
            "On BPTT's path ΔW of tBPTT(1) and symmetric e-prop never turns against the gradient (least cosine)",
            0.0,
            data.cosine.sel(rule=[tbptt, symmetric]).min(),
        ),
    ]


def table(data: xr.Dataset) -> list[list[str]]:
    """Each rule on each teacher: learning time, rank, participation ratio."""
    rows = [["regions", "rule", "outcome", "learning time", "rank of the change of W", "participation ratio"]]
    for regions in data.regions.values:
        for name in data.rule.values:
            run = data.sel(regions=regions, rule=name)
            outcome, time = str(Outcome(int(run.outcome))), f"{float(run.time[-1]):.1f}"
            rows.append(
                [
                    str(regions),
                    name_of(data, name),
                    outcome,
                    time,
                    str(int(run["rank"])),
                    f"{float(run.participation):.2f}",
                ]
            )
    return rows


EXPERIMENT = Experiment(
    name="real-teachers",
    title="Full networks taught by brains",
    question="How do full networks learn measured networks under each rule: how fast, how aligned, at what rank?",
    parameters=Parameters(),
    quick=Parameters(tolerance=1e-3),
    compute=compute,
    claims=claims,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "real-teachers-learning",
            draw_learning,
            "Exact learning curves of an unaligned student with 76 units, three inputs and three outputs. A: the "
            "symmetric network of 68 regions; B: the directed network of 76 regions, which has no modes. C: "
            "alignment of the student's input and output directions on the symmetric one, mean of three modes, "
            "up to the end of learning: it rises from near 0 under all rules and stops short of 1. Of the symmetric "
            "network only its three leading eigenvalues count here.",
        ),
        FigureSpec(
            "real-teachers-ranks",
            draw_ranks,
            "A, B: singular values of what was learned, down to 1e-8 of the largest. The line marks the three "
            "outputs: RFLO (open triangles) stops there, the others go on at a few per cent. C: cosine of each rule's "
            "ΔW to the gradient, all at the networks that BPTT passes through (BPTT's own is 1). ΔW under random "
            "feedback is nearly orthogonal to the gradient there, if anything against it. On their own path such "
            "rules learn all the same, since there the readout turns towards the feedback.",
        ),
    ),
    table=table,
    table_caption="Each rule on each teacher; rank at 1e-6 of the largest singular value.",
)
