r"""How high is the rank of what a rule learns, with one output? And RFLO's bound, rank ≤ outputs, wherever it applies.

Students with 10 hidden units and small Gaussian weights learn one teacher with 6 (one input and output) in exact flows.
What they learned is compared by normalised singular values. Proposition 3.1 is tried apart (`rank_bound.py`).

Limits: one teacher, others only for the counts of the table; one input, so that the change of `B` is one column, of
rank 1; the infinite horizon, where a run diverges as `ρ(W)` reaches 1. Medians are over the runs that did not diverge.

Source: docs/theory.md, section 9; the paper's proposition 3.1.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.diagnostics.rank import singular_spectrum
from localgrad.figures.plotting import BLACK, label_panels, new_figure, rule_style
from localgrad.learning.flow import learn
from localgrad.models.linear import LinearRNN
from localgrad.outcomes import Outcome
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.gaussian_networks import gaussian_weights, out_of_steps, random_teacher, scaled
from localgrad.reproduction.networks.rank.bound import UPDATES, BoundParameters, bound_of_rank
from localgrad.reproduction.networks.rank.counts import table
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule
from localgrad.updates.exact import silent_loss

Variant = tuple[str, float, float, float]
FLOOR = 1e-4  # of the axis of singular values


@dataclass(frozen=True)
class Parameters:
    """Sizes, scales and learning time; losses are relative to a silent student's.

    `scale`: of the students' weights, entries having standard deviation `scale / √hidden` (`scale` in `B`);
    `feedback_scale`: of `R`, standard deviation `feedback_scale / √hidden`. `largest_radius`: `W` is
    scaled down where its spectral radius is above. `variants`: rule, scale, ŵ (RFLO only) and feedback_scale of
    further runs. `num_teachers`: how many teachers the counts are taken with. `bound`: see `rank_bound.py`.
    """

    hidden: int = 10
    teacher_hidden: int = 6
    teacher_radius: float = 0.9
    scale: float = 0.3
    decay: float = 0.5
    feedback_scale: float = 1.0
    variants: tuple[Variant, ...] = (
        ("RFLO", 0.1, 0.5, 1.0), ("RFLO", 0.9, 0.5, 1.0), ("RFLO", 0.3, 0.0, 1.0), ("RFLO", 0.3, 0.9, 1.0),
        ("RFLO", 0.3, 0.5, 3.0), ("RFLO", 0.9, 0.5, 3.0), ("e-prop (random)", 0.3, 0.0, 3.0),
        ("e-prop (random)", 0.9, 0.0, 3.0),
    )  # fmt: skip
    num_teachers: int = 6
    largest_radius: float = 0.9
    num_seeds: int = 20
    duration: float = 1000.0
    max_steps: int = 2000
    thresholds: tuple[float, ...] = (0.1, 0.05, 0.01)
    seed: int = 0
    bound: BoundParameters = field(default_factory=BoundParameters)


def compute(p: Parameters) -> xr.Dataset:
    """Every rule on every student; RFLO with other numbers; the bound."""
    rng = np.random.default_rng(p.seed)
    teacher = random_teacher(rng, p.teacher_hidden, p.teacher_radius)
    silent = float(silent_loss(teacher))
    unit = gaussian_weights(rng, (p.num_seeds,), 1, p.hidden)
    R = rng.standard_normal((p.num_seeds, 1, p.hidden)) / np.sqrt(p.hidden)
    F, students = p.feedback_scale * R, scaled(unit, p.scale, p.largest_radius)
    rules = [BPTT(), EProp(), EProp(F), TruncatedBPTT(1), RFLO(F, p.decay)]
    main = [_outcome(rule, students, teacher, silent, p) for rule in rules]
    variants = []
    for name, scale, decay, size in p.variants:
        rule = RFLO(size * R, decay) if name == "RFLO" else EProp(size * R)
        variants.append(_outcome(rule, scaled(unit, scale, p.largest_radius), teacher, silent, p))
    by_teacher = [main]
    for _ in range(p.num_teachers - 1):
        other = random_teacher(rng, p.teacher_hidden, p.teacher_radius)
        by_teacher.append([_outcome(rule, students, other, float(silent_loss(other)), p) for rule in rules])
    counted = {
        f"{key}_by_teacher": (("teacher", "rule", "seed"), np.array([[run[key] for run in row] for row in by_teacher]))
        for key in ("outcome", "cut", "loss")
    }
    return xr.Dataset(
        _stacked(main, "rule", ("outcome", "cut", "loss", "participation", "rank", "singular_values"))
        | {f"variant_{k}": v for k, v in _stacked(variants, "variant", ("outcome", "cut", "loss")).items()}
        | {"variant_numbers": (("variant", "number"), np.array([numbers for _, *numbers in p.variants]))}
        | counted
        | bound_of_rank(p.bound),
        coords={
            "rule": [rule.name for rule in rules],
            "change": ["W", "B"],
            "variant": [name for name, *_ in p.variants],
            "threshold": list(p.thresholds),
            "number": ["scale", "decay", "feedback_scale"],
            "outputs": list(p.bound.outputs),
            "update": [name for name, *_ in UPDATES],
        },
        attrs={"scale": p.scale, "decay": p.decay, "feedback_scale": p.feedback_scale},
    )


def _outcome(rule: Rule, students: LinearRNN, teacher: LinearRNN, silent: float, p: Parameters) -> dict[str, Any]:
    """How the runs of one rule ended, and the spectra of what they learned; axes "seeds", "change seeds"."""
    curve = learn(rule, students, teacher, duration=p.duration, rtol=1e-3, atol=1e-5, max_steps=p.max_steps)
    spectrum = singular_spectrum(curve.initial, curve.final)
    values = spectrum.W.singular_values
    return {
        "outcome": np.asarray(curve.outcome, dtype=int),
        "cut": out_of_steps(curve, p.duration),
        "loss": curve.loss[:, -1] / silent,
        "participation": spectrum.W.participation_ratio,
        "rank": np.stack([spectrum.W.rank, spectrum.B.rank]),
        "singular_values": values / values[:, :1],
    }


def _stacked(runs: list[dict[str, Any]], axis: str, keys: tuple[str, ...]) -> dict[str, Any]:
    dims = {"rank": ("change", "seed"), "singular_values": ("seed", "index")}
    return {key: ((axis, *dims.get(key, ("seed",))), np.stack([run[key] for run in runs])) for key in keys}


def claims(data: xr.Dataset) -> list[Claim]:
    """Proposition 3.1 wherever it applies, and the paper's order of ranks."""
    kept = data.outcome != Outcome.DIVERGED
    second = data.singular_values.isel(index=1).where(kept).median("seed")
    eprops = second.sel(rule=[name for name in data.rule.values if "e-prop" in name])
    ranks = xr.concat([data.rank_unaligned, data.rank_aligned], "aligned")
    return [
        Claim.equal(
            "rank.bound",
            "paper, proposition 3.1",
            "RFLO with o = 1, 2, 3 outputs: rank of W_K − W_0 and B_K − B_0 minus o, aligned or not, infinite horizon, "
            "five steps with either loss, expected or sampled (largest excess)",
            0,
            abs(ranks - data.outputs).max(),
            tolerance=0,
        ),
        Claim.at_most(
            "rank.span",
            "paper, proposition 3.1",
            "… and all columns lie in the span of Rᵀ (largest share of energy outside; rounding)",
            1e-20,
            data.outside_feedback.max(),
        ),
        Claim.at_least(
            "rank.bptt-unbound",
            "theory, section 9",
            "BPTT on the same unaligned networks goes beyond o in W (least excess of rank)",
            1,
            (data.rank_bptt.sel(change="W") - data.outputs).min(),
        ),
        Claim.equal(
            "rank.rflo-flow",
            "paper, proposition 3.1",
            "RFLO with one output, after whole learning flows: rank of W_K − W_0 (largest of all seeds)",
            1,
            data["rank"].sel(rule="RFLO", change="W").max(),
            tolerance=0,
        ),
        Claim.at_least(
            "rank.order-bptt",
            "paper, rank",
            "Order of ranks: BPTT above e-prop, random or symmetric (ratio of median σ₂/σ₁ of W_K − W_0)",
            1,
            second.sel(rule="BPTT") / eprops.max(),
        ),
        Claim.at_least(
            "rank.order-eprop",
            "paper, rank",
            "… e-prop above tBPTT(1) (the same ratio)",
            1,
            eprops.min() / second.sel(rule="tBPTT(1)"),
        ),
        Claim.at_least(
            "rank.order-tbptt",
            "paper, rank",
            "… tBPTT(1) above RFLO, whose σ₂ is rounding (tBPTT(1)'s median σ₂/σ₁ minus RFLO's)",
            1e-6,
            second.sel(rule="tBPTT(1)") - second.sel(rule="RFLO"),
        ),
        Claim.equal(
            "rank.bptt-converges",
            "paper, rank",
            "BPTT gets below 5 % of a silent student's loss (share of seeds)",
            1,
            (data.loss.sel(rule="BPTT") <= 0.05).mean(),
            tolerance=0,
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


def _gain_in_divergence(data: xr.Dataset) -> float:
    """Share of runs that diverge at scale ≥ 0.9 and threefold R, minus that of the same rule in the main setting."""
    numbers = data.variant_numbers
    large = (numbers.sel(number="scale") >= 0.9) & (numbers.sel(number="feedback_scale") >= 3)
    share = (data.variant_outcome[large.values] == Outcome.DIVERGED).mean("seed")
    main = (data.outcome == Outcome.DIVERGED).mean("seed").sel(rule=share.variant.values)
    return float((share.values - main.values).min()) if share.size else np.nan


def _rank_correlation(x: xr.DataArray, y: xr.DataArray) -> float:
    places = [np.argsort(np.argsort(values.values.ravel())) for values in (x, y)]
    return float(np.asarray(np.corrcoef(places))[0, 1])


def draw_spectra(data: xr.Dataset) -> Figure:
    """Normalised singular values by rule, every seed faint and the median bold; participation ratios."""
    figure, axes = new_figure(1, 2, width_ratios=(1, 1.1), height=3.2)
    index = np.arange(1, data.sizes["index"] + 1)
    for place, name in enumerate(data.rule.values):
        runs = data.sel(rule=name)
        look = rule_style(str(name))
        values = np.maximum(runs.singular_values, FLOOR)
        axes[0].plot(index, values.T, color=look["color"], linewidth=0.4, alpha=0.25)
        axes[0].plot(index, values.median("seed"), **look)
        spread = np.linspace(-0.2, 0.2, data.sizes["seed"])
        axes[1].plot(place + spread, runs.participation, **look | {"linestyle": ""}, markersize=3)
    axes[0].set(xlabel="index of the singular value", ylabel="σ / σ₁ of $W_K - W_0$", yscale="log", ylim=(FLOOR, 2))
    names = [str(name).replace(" (", "\n(") for name in data.rule.values]
    axes[1].set_xticks(range(data.sizes["rule"]), names, fontsize=7)
    axes[1].set(ylabel="participation ratio")
    label_panels(axes)
    return figure


def draw_loss(data: xr.Dataset) -> Figure:
    """Final loss against the participation ratio, one marker a run."""
    figure, axes = new_figure()
    for name in data.rule.values:
        runs, look = data.sel(rule=name), rule_style(str(name)) | {"linestyle": ""}
        axes[0].plot(runs.participation, runs.loss, **look, label=str(name), alpha=0.8)
    for threshold in data.threshold.values:
        axes[0].axhline(threshold, color=BLACK, linewidth=0.5, linestyle=":")
    axes[0].set(xlabel="participation ratio of $W_K - W_0$", ylabel="final loss / silent loss", yscale="log")
    axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


EXPERIMENT = Experiment(
    name="rank",
    title="The rank of what is learned",
    question="What rank have the changes of W and B under each rule, and does the bound on RFLO's hold everywhere?",
    parameters=Parameters(),
    quick=Parameters(
        num_seeds=6,
        num_teachers=1,
        duration=100.0,
        variants=(("RFLO", 0.9, 0.5, 3.0), ("e-prop (random)", 0.9, 0.0, 3.0)),
    ),
    compute=compute,
    claims=claims,
    figures=(
        FigureSpec(
            "rank-spectra",
            draw_spectra,
            "One output, students with 10 hidden units. a: singular values of what was learned, relative to the "
            "largest (thin: every seed; thick: median): under BPTT they fall slowest, then under e-prop, with "
            "symmetric or random feedback, then under tBPTT(1); RFLO's second is rounding, as proposition 3.1 demands. "
            "b: participation ratios, a marker a seed: the same order; colours and markers as in a.",
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
