"""Which imperfections matter: what they cost in rate, rank and loss, and what theory says of it."""

import numpy as np
import xarray as xr

from localgrad.reproduction.axes import name_of
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.imperfections.data import LEARNED, Parameters, compute
from localgrad.reproduction.theory.imperfections.figures import draw, relative_rate, relative_time
from localgrad.rules.presets import BPTT, RFLO, TruncatedBPTT

_LATE = ("1 step late", "2 steps late")


def _kept(data: xr.Dataset, prefixes: tuple[str, ...], *, other: bool = False) -> list[str]:
    """The imperfections whose names begin so, or do not."""
    names = [str(name) for name in data.imperfection.values if name != "none"]
    return [name for name in names if name.startswith(prefixes) != other]


def claims(data: xr.Dataset) -> list[Claim]:
    """What theory fixes: rank, stability, silence, noise; and what was measured."""
    theory, measured = "theory, section", "new: measured"
    rflo, one_lag = RFLO(1.0, 0.5).key, TruncatedBPTT(1).key
    rank, decays = data["rank"].sel(rule=rflo), _kept(data, ("decays",))
    others, late = _kept(data, ("decays",), other=True), _kept(data, _LATE)
    timely = _kept(data, _LATE, other=True)
    share = data.learned.where(np.isfinite(data.loss_left)).mean(("teacher", "seed"))
    slow = data.slow_share.sel(start="slow")
    return [
        Claim.at_most(
            "imperfections.rank",
            f"{theory} 9",
            "What RFLO learns in W has rank at most the outputs, 2, whether its feedback is coarse, cut or late "
            "(largest, at 1e-6)",
            data.attrs["outputs"],
            rank.sel(imperfection=others).max(),
        ),
        Claim.at_least(
            "imperfections.rank-mismatch",
            measured,
            "Where each unit's trace has a decay of its own the bound is gone, and RFLO learns more (least rank, at "
            "1e-6)",
            data.attrs["outputs"] + 1,
            rank.sel(imperfection=decays).min(),
        ),
        Claim.equal(
            "imperfections.signs",
            f"{theory} 7",
            "Feedback of the right signs alone keeps optima of modes stable under RFLO (share that is unstable)",
            0.0,
            (data.rate.sel(rule=rflo, imperfection="signs") <= 0).mean(),
            tolerance=0,
        ),
        Claim.at_most(
            "imperfections.cut",
            f"{theory} 7",
            "A mode whose feedback is cut, or rounded to 0, does not come to its optimum (its largest rate)",
            1e-12,
            np.abs(data.cut_rate).max(),
        ),
        Claim.at_most(
            "imperfections.one-lag",
            f"{theory} 10",
            "A rule that keeps one lag learns nothing of what came before a late error, so that its modes do not come "
            "to their optima (largest rate of convergence)",
            1e-12,
            data.rate.sel(rule=one_lag, imperfection=late).max(),
        ),
        Claim.at_most(
            "imperfections.late-noise",
            f"{theory} 14",
            "At an optimum a delay changes nothing of the covariance that noise in the error gives to an update "
            "(largest relative difference)",
            1e-9,
            data.late_covariance.max(),
        ),
        Claim.at_most(
            "imperfections.bptt-noise",
            f"{theory} 14",
            "Under BPTT noise of variance σ² in the error costs the loss (σ²/2N) Σ ηλ/(2 − ηλ) (largest relative "
            "deviation)",
            1e-8,
            np.abs(data.excess.sel(rule=BPTT().key) / data.predicted_excess - 1).max(),
        ),
        Claim.at_least(
            "imperfections.borne",
            measured,
            "Networks learn under rules whose feedback is coarse or cut, or whose traces are mismatched (share of runs "
            f"that end below {LEARNED:.0%} of a silent student's loss)",
            0.9,
            share.sel(imperfection=timely).mean(),
        ),
        Claim.at_most(
            "imperfections.not-borne",
            measured,
            "From Gaussian weights no network learns from errors that are one or two steps late (largest share)",
            0.1,
            share.sel(imperfection=late).max(),
        ),
        Claim.at_least(
            "imperfections.slow-units",
            measured,
            "Networks whose units keep most of their state learn under BPTT from errors one step late (share)",
            0.9,
            slow.sel(delay=1),
        ),
    ]


def numbers(data: xr.Dataset) -> dict[str, float]:
    """What noise costs RFLO, next to BPTT, at one learning rate and at one rate of convergence."""
    excess, rate = (x.sel(rule=RFLO(1.0, 0.5).key) / x.sel(rule=BPTT().key) for x in (data.excess, data.noisy_rate))
    return {"noise-at-one-step": float(excess.median()), "noise-at-one-rate": float((excess / rate).median())}


def table(data: xr.Dataset) -> list[list[str]]:
    """For each rule and imperfection: rate of modes, those that do not learn, time, rank and loss of networks."""
    rows = [["rule", "imperfection", "rate", "do not learn", "time", "rank", "loss left"]]
    modes, times = relative_rate(data).median("optimum"), relative_time(data).median(("teacher", "seed"))
    silent = (data.rate <= 1e-12).mean("optimum")
    networks = data[["rank_seen", "loss_left"]].median(("teacher", "seed"))
    for key in data.rule.values:
        for name in data.imperfection.values:
            at = {"rule": key, "imperfection": name}
            time, rank = float(times.sel(at)), float(networks.rank_seen.sel(at))
            cells = [f"{float(modes.sel(at)):.2f}", f"{float(silent.sel(at)):.0%}"]
            if np.isnan(rank):
                cells += ["–", "–", "–"]
            else:
                loss = float(networks.loss_left.sel(at))
                cells += [
                    f"{time:.2f}" if np.isfinite(time) else "never",
                    f"{rank:g}",
                    f"{loss:.2g}" if loss < 1 else "grows",
                ]
            rows.append([name_of(data, key), str(name), *cells])
    return rows


EXPERIMENT = Experiment(
    name="imperfections",
    title="Imperfect feedback, traces and errors",
    question="Which imperfections of hardware matter, and what do they cost in rate, rank and loss?",
    parameters=Parameters(),
    quick=Parameters(
        num_optima=200,
        imperfections=("none", "1 step late", "decays ± 0.2", "3 levels", "signs", "a quarter"),
        seeds=2,
        transported=False,
        slow_delays=(0, 1),
        noisy_poles=(0.3,),
        noisy_places=1,
    ),
    compute=compute,
    claims=claims,
    numbers=numbers,
    table=table,
    table_caption="Rate: median rate of convergence of modes over that of the same rule without the imperfection. Do "
    "not learn: share of modes whose rate is 0 or negative. Time: median learning time after which networks are at 1 % "
    "of a silent student's loss, over that without it. Rank: of the change of W, singular values above 1 % of the "
    "largest, median. Loss left: median, in units of a silent student's.",
    figures=(
        FigureSpec(
            "imperfections",
            draw,
            "What imperfections cost, next to the same rule without them (1, the grey line). A: median rate of "
            "convergence at random optima of modes with positive poles; 0 where half of the modes or more do not "
            "learn. B: median speed (1 over the learning time until 1 % of a silent student's loss) of networks of 12 "
            "units from Gaussian weights; 0 where they do not learn. Values above 2.4 are drawn there.",
        ),
    ),
    describe={
        "rate": "rate of convergence of a mode [1/learning time]",
        "cut_rate": "largest real part of the rates of a mode without feedback under RFLO [1/learning time]",
        "learned_after": "learning time until a network is below 1 % of a silent student's loss; infinite if it ends "
        "above [learning time]",
        "learned": "whether a network ends below 1 % of a silent student's loss",
        "rank": "rank of the change of W at 1e-6",
        "rank_seen": "rank of the change of W at 1e-2",
        "loss_left": "loss at the end over a silent student's, at most 1000",
        "slow_share": "share of networks that learn under BPTT with late errors",
        "excess": "excess loss that unit noise in the error leaves around an optimum of a mode",
        "noisy_rate": "rate of convergence at that optimum [1/learning time]",
        "predicted_excess": "the excess loss that theory gives BPTT",
        "late_covariance": "relative change of the covariance of an update by a delay of 3 steps",
        "rule": "key of the rule",
        "rule_name": "name of the rule",
        "imperfection": "what is imperfect",
        "start": "what networks begin with",
        "delay": "delay of the errors [steps]",
    },
)
