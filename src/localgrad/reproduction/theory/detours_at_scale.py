"""Detours of RFLO over many teachers and starts: how often, how far, how long, and how they depend on its numbers.

Teachers have `c = 1` and `w*` uniform in ±0.9. Starts are random: `a, b` normal with standard deviation `scale`, `w`
uniform in `±min(scale, 0.9)`. BPTT, tBPTT(1) and every RFLO start from the same points, to compare start by start.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import PALETTE, label_panels, new_figure
from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.ensemble.result import Ensemble
from localgrad.outcomes import Outcome
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.presets import BPTT, RFLO, TruncatedBPTT

ENDS = ("same branch", "far branch", "stalled", "diverged", "unfinished")


@dataclass(frozen=True)
class Parameters:
    """Numbers of RFLO and scales of the starts; `num_starts` for each combination."""

    scales: tuple[float, ...] = (0.1, 0.3, 1.0, 2.0)
    feedbacks: tuple[float, ...] = (0.3, 1.0, 3.0)
    decays: tuple[float, ...] = (0.0, 0.5, 0.9)
    num_starts: int = 20_000
    duration: float = 2000.0
    seed: int = 0


def _starts(p: Parameters) -> tuple[Mode, Mode]:
    """Starts and teachers; starts of shape `"scale start"`."""
    rng = np.random.default_rng(p.seed)
    scale = np.array(p.scales)[:, None]
    a, b = rng.standard_normal((2, p.num_starts))
    w = rng.uniform(-1, 1, p.num_starts) * np.minimum(scale, 0.9)
    return Mode(scale * a, scale * b, w), Mode(1.0, 1.0, rng.uniform(-0.9, 0.9, p.num_starts))


def _ends(run: Ensemble, reference: Ensemble) -> np.ndarray:
    """Index into `ENDS`; branches are compared with BPTT's from the same start."""
    converged = run.outcome == Outcome.CONVERGED
    far = run.branch != reference.branch
    return np.where(converged, np.where(far, 1, 0), run.outcome + 1)


def compute(p: Parameters) -> xr.Dataset:
    """Shares of ends and quantiles of path length and learning time over BPTT's, over rules and scales."""
    start, teacher = _starts(p)
    feedback, decay = np.meshgrid(p.feedbacks, p.decays, indexing="ij")
    rflo = RFLO(feedback[..., None, None], decay[..., None, None])
    bptt, tbptt, local = (
        integrate_modes(rule, start, teacher, duration=p.duration, rtol=1e-5)
        for rule in (BPTT(), TruncatedBPTT(1), rflo)
    )
    ends = _ends(local, bptt)
    both = (local.outcome == Outcome.CONVERGED) & (bptt.outcome == Outcome.CONVERGED)
    with np.errstate(divide="ignore", invalid="ignore"):
        path = np.where(both, local.path_length / bptt.path_length, np.nan)
        time = np.where(both, local.time / bptt.time, np.nan)
    quantiles = (0.1, 0.5, 0.9)
    dims = ("feedback", "decay", "scale")
    inward = np.broadcast_to(feedback[..., None, None] * start.a > 0, ends.shape)
    bins = np.linspace(-0.9, 0.9, 10)
    place = np.digitize(teacher.w, bins[1:-1])
    by_w = np.stack([(ends[..., place == i] == 3).mean(axis=-1) for i in range(len(bins) - 1)], axis=-1)
    return xr.Dataset(
        {
            "share": ((*dims, "end"), _shares(ends)),
            "tbptt_share": (("scale", "end"), _shares(_ends(tbptt, bptt))),
            "path_ratio": (("quantile", *dims), np.nanquantile(path, quantiles, axis=-1)),
            "time_ratio": (("quantile", *dims), np.nanquantile(time, quantiles, axis=-1)),
            "same_sign": (dims, _mean_where(local.branch * feedback[..., None, None] > 0, local.branch != 0)),
            "diverged_inward": (dims, _mean_where(ends == 3, inward)),
            "diverged_outward": (dims, _mean_where(ends == 3, ~inward)),
            "diverged_by_w": ((*dims, "w_star"), by_w),
            "bptt_positive": ("scale", _mean_where(bptt.branch > 0, bptt.branch != 0)),
            "bptt_converged": ("scale", (bptt.outcome == Outcome.CONVERGED).mean(axis=-1)),
        },
        {
            "feedback": list(p.feedbacks),
            "decay": list(p.decays),
            "scale": list(p.scales),
            "end": list(ENDS),
            "quantile": list(quantiles),
            "w_star": (bins[:-1] + bins[1:]) / 2,
        },
    )


def _shares(ends: np.ndarray) -> np.ndarray:
    return np.stack([(ends == i).mean(axis=-1) for i in range(len(ENDS))], axis=-1)


def _mean_where(condition: np.ndarray, among: np.ndarray) -> np.ndarray:
    return (condition & among).sum(axis=-1) / np.maximum(among.sum(axis=-1), 1)


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
            "paper, stability",
            "From small starts RFLO ends where âs > 0 (share of those that converge, least over â and ŵ)",
            0.99,
            small.same_sign.min(),
        ),
        Claim.equal(
            "detours-at-scale.half-far",
            "follows from the two before",
            "… so half of them end on the branch that BPTT does not reach (share, â = 1, ŵ = 0.5)",
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
            f"From large ones it often does (share at scale {float(large.scale):g}, â = 1, ŵ = 0.5)",
            0.1,
            large.share.sel(**example, end="diverged"),
        ),
        Claim.at_least(
            "detours-at-scale.outward",
            "new: measured",
            "… mostly, but not only, from starts with âa < 0 (their share of divergence over that of âa > 0)",
            2.0,
            large.diverged_outward.sel(**example) / large.diverged_inward.sel(**example),
        ),
        Claim.at_most(
            "detours-at-scale.stalls",
            "paper, stationary solutions",
            "RFLO does not stall: it has no saddle to wait at (largest share over all settings)",
            0.001,
            data.share.sel(end="stalled").max(),
        ),
        Claim.at_least(
            "detours-at-scale.longer",
            "paper, detours",
            "RFLO's way is longer than BPTT's from most starts (median ratio of path lengths at scale 1, least over â "
            "and ŵ)",
            1.0,
            data.path_ratio.sel(quantile=0.5, scale=1.0).min(),
        ),
        Claim.at_least(
            "detours-at-scale.long-detours",
            "new: measured",
            "… but twice as long only from some (ratio at the ninth decile, scale 1, least over â and ŵ)",
            1.2,
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
            "With strong feedback (â = 3) it is the faster one (median ratio of times at scale 1, largest over ŵ)",
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


def draw(data: xr.Dataset) -> Figure:
    """Ends by scale; divergence by `w*`; path length and learning time over BPTT's."""
    figure, axes = new_figure(2, 2, height=5.6)
    example = data.sel(feedback=1.0, decay=0.5)
    bottom = np.zeros(data.sizes["scale"])
    names = [f"{s:g}" for s in data.scale.values]
    for end, color in zip(ENDS, ("#0072B2", "#E69F00", "#F0E442", "#8C8C8C", "#000000"), strict=True):
        share = example.share.sel(end=end).values
        if share.max() > 0:
            axes[0].bar(names, share, bottom=bottom, color=color, label=end, edgecolor="white")
        bottom = bottom + share
    axes[0].set(xlabel="scale of the start", ylabel="share of starts")
    for i, decay in enumerate(data.decay.values):
        look = {"color": PALETTE[i], "linestyle": ("-", "--", "-.")[i], "marker": "os^"[i]}
        one = data.sel(feedback=1.0, decay=decay)
        axes[1].plot(data.w_star, one.diverged_by_w.sel(scale=1.0), **look, label=f"ŵ = {decay:g}")
        for ax, ratio in ((axes[2], one.path_ratio), (axes[3], one.time_ratio)):
            middle = ratio.sel(quantile=0.5)
            spread = np.abs(ratio.sel(quantile=[0.1, 0.9]) - middle)
            x = data.scale * (1 + 0.06 * (i - 1))
            ax.errorbar(x, middle, spread, **look, capsize=2, label=f"ŵ = {decay:g}")
    for ax, label in ((axes[2], "path length over BPTT's"), (axes[3], "learning time over BPTT's")):
        ax.axhline(1, color="0.5", linewidth=0.8)
        ax.set(xscale="log", yscale="log", xlabel="scale of the start", ylabel=label)
        ax.set_xticks(data.scale.values, names)
        ax.xaxis.set_minor_formatter("")
    axes[1].set(xlabel="teacher's w*", ylabel="share that diverges (scale 1)")
    for ax in axes[:2]:
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, columnspacing=0.8, handlelength=1.2)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """Ends and medians for every setting at scale 1."""
    one = data.sel(scale=1.0)
    rows = []
    for feedback in data.feedback.values:
        for decay in data.decay.values:
            here = one.sel(feedback=feedback, decay=decay)
            shares = [f"{float(x):.1%}" for x in here.share]
            medians = [f"{float(x.sel(quantile=0.5)):.2f}" for x in (here.path_ratio, here.time_ratio)]
            rows.append([f"{feedback:g}", f"{decay:g}", *shares, *medians])
    return [["â", "ŵ", *ENDS, "path / BPTT's", "time / BPTT's"], *rows]


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
    describe={
        "feedback": "RFLO's feedback â",
        "decay": "RFLO's decay ŵ",
        "scale": "standard deviation of the starts' a and b",
        "end": "how RFLO ends, against BPTT from the same start",
        "quantile": "quantile over starts",
        "w_star": "teacher's w*, middle of a bin",
        "share": "share of starts under RFLO",
        "tbptt_share": "share of starts under tBPTT(1)",
        "path_ratio": "length of RFLO's way over BPTT's, where both converge",
        "time_ratio": "RFLO's learning time over BPTT's, where both converge",
        "same_sign": "share of RFLO's converged runs that end where âs > 0",
        "diverged_inward": "share that diverges among starts with âa > 0",
        "diverged_outward": "share that diverges among starts with âa < 0",
        "diverged_by_w": "share of starts that diverges",
        "bptt_positive": "share of BPTT's converged runs that end at s > 0",
        "bptt_converged": "share of starts from which BPTT converges",
    },
    figures=(
        FigureSpec(
            "detours-at-scale",
            draw,
            "RFLO with â = 1 from random starts, against BPTT from the same starts. A: where it ends (ŵ = 0.5), by "
            "the scale of the start. B: how often it diverges, by the teacher's w*. C, D: length of its way and "
            "learning time over BPTT's (median; bars: 10 % to 90 %).",
        ),
    ),
    table=table,
    table_caption="Ends of RFLO from starts of scale 1, and medians over BPTT's from the same starts.",
)
