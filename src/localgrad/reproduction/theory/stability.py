"""Stability along the optimal manifold: BPTT everywhere, RFLO where its feedback has the sign of the readout.

The product of RFLO's two non-zero eigenvalues is `â c² (â s³ + c²)/(s³ (1−w*²)² (1−ŵ w*)²)` (`localgrad derive rflo`).
For `âs > 0` it is positive and the trace negative: always stable. For `âs < 0` it is negative, a saddle, up to a border
in `|s|`; beyond it the trace decides, and a stable window can open there (closed_forms.py; docs/theory.md, section 7).
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from localgrad.figures.plotting import ORANGE, label_panels, new_figure, rule_style, zero_line
from localgrad.models.aligned import Mode
from localgrad.modes.equations import field
from localgrad.modes.stability import convergence_rate, critical_learning_rate, optimal_mode, spectrum
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.closed_forms import bptt_eigenvalues, saddle_border, window_opens
from localgrad.rules.presets import BPTT, RFLO, TruncatedBPTT
from localgrad.rules.rule import Rule

KINDS = ("stable, monotone", "stable, oscillating", "unstable, oscillating", "unstable, monotone", "saddle")
_COLORS = ("#0072B2", "#56B4E9", "#F0E442", "#D55E00", "#5B5B5B")


@dataclass(frozen=True)
class Parameters:
    """Samples over random teachers, `s`, `â` and `ŵ`; the map's grid; the curves' teacher. All dimensionless."""

    num_samples: int = 200_000
    grid: int = 300
    map_gains: tuple[float, ...] = (1.0, 0.3, 0.1)
    map_w_star: float = 0.8
    curve_teacher: tuple[float, float, float] = (1.0, 1.0, 0.8)
    feedback: float = 1.0
    decay: float = 0.5
    other_decay: float = -0.5
    num_step_checks: int = 200
    seed: int = 0


def _samples(p: Parameters) -> dict[str, np.ndarray]:
    """Random teachers and points: `c`, `|s|` and `|â|` log-uniform over two decades with random signs."""
    rng = np.random.default_rng(p.seed)
    signs = rng.choice([-1, 1], (3, p.num_samples))
    c, s, feedback = signs * np.exp(rng.uniform(np.log(0.1), np.log(10), (3, p.num_samples)))
    return {
        "c": c,
        "s": s,
        "feedback": feedback,
        "w_star": rng.uniform(-0.95, 0.95, p.num_samples),
        "decay": rng.uniform(-0.95, 0.95, p.num_samples),
    }


def _kind(values: np.ndarray) -> np.ndarray:
    """Index into `KINDS` from the two non-zero eigenvalues."""
    plus, minus = values[..., 1], values[..., 2]
    turning = np.abs(plus.imag) > 0
    kind = np.where(plus.real < 0, np.where(turning, 1, 0), np.where(turning, 2, 3))
    return np.where((plus.real > 0) & (minus.real < 0), 4, kind)


def _step_growth(p: Parameters, rule: Rule) -> np.ndarray:
    """Growth of a small deviation, a step, at 0.98 and 1.02 times the critical learning rate; shape `"check side"`."""
    rng = np.random.default_rng(p.seed + 1)
    teacher = Mode(1.0, 1.0, rng.uniform(-0.8, 0.8, p.num_step_checks))
    s = np.exp(rng.uniform(-0.7, 0.7, p.num_step_checks))
    limit, rest = critical_learning_rate(rule, teacher, s), np.stack(optimal_mode(teacher, s))
    growth = []
    for factor in (0.98, 1.02):
        x, sizes = rest + 1e-7 * rng.standard_normal(rest.shape), []
        for _ in range(150):
            x = x - factor * limit * np.stack(field(rule, Mode(*x), teacher))
            sizes.append(np.hypot(x[0] * x[1] - 1, x[2] - teacher.w))  # what is left of the deviation off the manifold
        growth.append(sizes[-1] / sizes[49])
    return np.stack(growth, axis=-1)


def compute(p: Parameters) -> xr.Dataset:
    """Eigenvalues on random samples, the kinds of stability on a map, and curves along the manifold."""
    x = _samples(p)
    teacher = Mode(x["c"], np.ones(p.num_samples), x["w_star"])
    bptt, tbptt = spectrum(BPTT(), teacher, x["s"]), spectrum(TruncatedBPTT(1), teacher, x["s"])
    rflo = spectrum(RFLO(x["feedback"], x["decay"]), teacher, x["s"])
    closed = bptt_eigenvalues(x["c"], x["s"], x["w_star"])
    border = saddle_border(x["c"], x["feedback"])
    beyond = spectrum(RFLO(x["feedback"], x["decay"]), teacher, -np.sign(x["feedback"]) * border * (1 + 1e-6))
    s = np.concatenate([-np.geomspace(5, 0.1, p.grid), np.geomspace(0.1, 5, p.grid)])
    decay, scaled_s = np.linspace(-0.95, 0.95, p.grid), np.geomspace(0.3, 3, p.grid)
    mapped = RFLO(-p.feedback, decay[:, None])
    kinds = [
        _kind(spectrum(mapped, Mode(c, 1.0, p.map_w_star), scaled_s * saddle_border(c, p.feedback)))
        for c in p.map_gains
    ]
    curve_rules = [BPTT(), TruncatedBPTT(1), RFLO(p.feedback, p.decay), RFLO(p.feedback, p.other_decay)]
    curves = [spectrum(rule, Mode(*p.curve_teacher), s) for rule in curve_rules]
    slow = np.geomspace(0.1, 10, 20001)
    teachers = [Mode(c, 1.0, w) for c in (0.3, 1.0, 2.0) for w in (-0.7, 0.2, 0.9)]
    slowest = [slow[np.argmin(convergence_rate(BPTT(), t, slow))] / np.sqrt(t.a) for t in teachers]
    return xr.Dataset(
        {
            "bptt": (("sample", "eigenvalue"), bptt.real),
            "bptt_imaginary": ("sample", np.abs(bptt.imag).max(axis=-1)),
            "bptt_mismatch": ("sample", np.abs(bptt[..., 1:].real / closed - 1).max(axis=-1)),
            "tbptt": (("sample", "eigenvalue"), tbptt.real),
            "rflo": (("sample", "eigenvalue"), rflo.real),
            "rflo_imaginary": ("sample", np.abs(rflo.imag).max(axis=-1)),
            "same_sign": ("sample", x["feedback"] * x["s"] > 0),
            "slowest_s": ("teacher", slowest),
            "below_border": ("sample", np.abs(x["s"]) < border),
            "window_predicted": ("sample", window_opens(x["c"], x["feedback"], x["decay"], x["w_star"])),
            "window_found": ("sample", beyond[:, 1].real < 0),
            "kind": (("gain", "decay", "scaled_s"), np.stack(kinds).astype(np.int8)),
            "curve": (("curve_rule", "s", "eigenvalue"), np.stack(curves).real),
            "curve_imaginary": (("curve_rule", "s"), np.abs(np.stack(curves).imag).max(axis=-1)),
            "step_growth": (
                ("rule", "check", "side"),
                np.stack([_step_growth(p, r) for r in (BPTT(), TruncatedBPTT(1), RFLO(p.feedback, p.decay))]),
            ),
        },
        {
            "eigenvalue": ["0", "λ₊", "λ₋"],
            "gain": list(p.map_gains),
            "decay": decay,
            "scaled_s": scaled_s,
            "s": s,
            "curve_rule": ["BPTT", "tBPTT(1)", f"RFLO, ŵ = {p.decay:g}", f"RFLO, ŵ = {p.other_decay:g}"],
            "rule": ["BPTT", "tBPTT(1)", "RFLO"],
            "side": ["below", "above"],
        },
    )


def claims(data: xr.Dataset) -> list[Claim]:
    """Signs and reality of the eigenvalues."""
    plus, minus = data.rflo.sel(eigenvalue="λ₊"), data.rflo.sel(eigenvalue="λ₋")
    same, opposite = data.same_sign, ~data.same_sign
    paper = "paper, stability"

    def everywhere(id: str, source: str, statement: str, holds: xr.DataArray) -> Claim:
        return Claim.equal(f"stability.{id}", source, statement, 1.0, holds.mean(), tolerance=0)

    return [
        Claim.at_most(
            "stability.bptt-closed-form",
            "paper, stability; theory, section 7",
            "BPTT's eigenvalues on the optimal manifold are the closed form (largest relative error)",
            1e-6,
            data.bptt_mismatch.max(),
        ),
        everywhere(
            "bptt-real",
            paper,
            "BPTT's eigenvalues are real (share of samples without imaginary part)",
            data.bptt_imaginary == 0,
        ),
        everywhere(
            "bptt-stable",
            paper,
            "BPTT is stable on the whole optimal manifold (share of samples with λ₊ < 0)",
            data.bptt.sel(eigenvalue="λ₊") < 0,
        ),
        everywhere(
            "tbptt-stable",
            paper,
            "tBPTT(1) is stable on the whole optimal manifold (share of samples with Re λ₊ < 0)",
            data.tbptt.sel(eigenvalue="λ₊") < 0,
        ),
        Claim.equal(
            "stability.bptt-slowest",
            paper,
            "BPTT converges slowest at s = ±√|c| (furthest s/√|c| over nine teachers; the grid's step is 2e-4)",
            1.0,
            data.slowest_s[int(np.argmax(np.abs(data.slowest_s.values - 1)))],
            tolerance=5e-4,
        ),
        everywhere(
            "rflo-same-sign",
            paper,
            "RFLO is stable wherever âs > 0 (share of samples with Re λ₊ < 0)",
            (plus < 0).where(same),
        ),
        Claim.at_least(
            "stability.rflo-unstable",
            "paper, equations 28–29",
            "RFLO is unstable for some âs < 0 (share of samples)",
            0.01,
            (plus > 0).where(opposite).mean(),
        ),
        Claim.at_least(
            "stability.rflo-oscillates",
            "paper, equations 28–29",
            "RFLO oscillates for some âs < 0 (share of samples with complex eigenvalues)",
            0.01,
            (data.rflo_imaginary > 0).where(opposite).mean(),
        ),
        everywhere(
            "rflo-saddle",
            "new: derive rflo",
            "RFLO with âs < 0 has a saddle exactly where |s| < (c²/|â|)^{1/3} (share of samples that agree)",
            (((plus > 0) & (minus < 0)) == data.below_border).where(opposite),
        ),
        everywhere(
            "rflo-window",
            "new: theory, section 7",
            "Just beyond that border RFLO is stable exactly for |âc|^{2/3} < (1−w*²)(1−ŵw*)(w*²−ŵw*)/(1−ŵw*³) (share)",
            data.window_predicted == data.window_found,
        ),
        everywhere(
            "rflo-no-window",
            "new: theory, section 7",
            "Every stable solution with âs < 0 lies in such a window (share of the stable ones)",
            (data.window_predicted & ~data.below_border).where((plus < 0) & opposite),
        ),
        Claim.at_most(
            "stability.critical-rate-below",
            "theory, section 7",
            "Steps of 0.98 times the critical learning rate shrink a deviation (largest growth in 100 steps)",
            1.0,
            data.step_growth.sel(side="below").max(),
        ),
        Claim.at_least(
            "stability.critical-rate-above",
            "theory, section 7",
            "Steps of 1.02 times the critical learning rate enlarge it (smallest growth in 100 steps)",
            1.0,
            data.step_growth.sel(side="above").min(),
        ),
    ]


def draw_curves(data: xr.Dataset) -> Figure:
    """The two non-zero eigenvalues along the manifold."""
    figure, axes = new_figure(1, 3, height=3.1, sharex=True)
    for i, rule in enumerate(data.curve_rule.values):
        look = rule_style(str(rule).split(",")[0]) | {"marker": ""}
        if i == data.sizes["curve_rule"] - 1:
            look |= {"color": ORANGE, "linestyle": ":"}
        for side in (data.s < 0, data.s > 0):
            curve, s = data.curve[i, side.values], data.s[side]
            label = str(rule) if float(s[0]) > 0 else None
            axes[0].plot(s, curve.sel(eigenvalue="λ₊"), **look, label=label)
            axes[1].plot(s, curve.sel(eigenvalue="λ₋"), **look)
            axes[2].plot(s, data.curve_imaginary[i, side.values], **look)
    for ax, name in zip(axes, ("Re λ₊", "Re λ₋", "|Im λ|"), strict=True):
        zero_line(ax)
        ax.set(xlabel="s", title=name)
    axes[0].set_yscale("symlog", linthresh=1)
    axes[1].set_yscale("symlog", linthresh=10)
    axes[0].set_ylim(-100, 100)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    label_panels(axes)
    return figure


def draw_map(data: xr.Dataset) -> Figure:
    """Kinds of stability of RFLO for `âs < 0`, over `s` and `ŵ`."""
    figure, axes = new_figure(1, data.sizes["gain"], height=3.3, sharey=True)
    norm, colors = BoundaryNorm(np.arange(len(KINDS) + 1) - 0.5, len(KINDS)), ListedColormap(_COLORS)
    for ax, gain in zip(axes, data.gain.values, strict=True):
        kind = data.kind.sel(gain=gain)
        image = ax.pcolormesh(data.scaled_s, data.decay, kind, cmap=colors, norm=norm, rasterized=True)
        ax.set(xscale="log", xlabel="s / (c²/|â|)^⅓", title=f"c = {gain:g}")
        ax.set_xticks([0.3, 1, 3], ["0.3", "1", "3"])
        ax.xaxis.set_minor_formatter("")
    axes[0].set_ylabel("decay ŵ")
    bar = figure.colorbar(image, ax=axes, ticks=range(len(KINDS)), location="bottom", aspect=50)
    bar.ax.set_xticklabels([kind.replace(", ", ",\n") for kind in KINDS])
    label_panels(axes)
    return figure


EXPERIMENT = Experiment(
    name="stability",
    title="Stability along the optimal manifold",
    question="At which optimal solutions can each rule come to rest, and where does it leave or circle them?",
    parameters=Parameters(),
    quick=Parameters(num_samples=20_000, grid=120, num_step_checks=50),
    compute=compute,
    claims=claims,
    figures=(
        FigureSpec(
            "spectra",
            draw_curves,
            "Non-zero eigenvalues at the optimal solutions (s, c/s, w*), teacher (1, 1, 0.8), RFLO with â = 1. BPTT "
            "and tBPTT(1) lie below zero for every s and are even in s. RFLO is stable for s > 0, where its feedback "
            "has the readout's sign, and unstable for s < 0: a saddle down to s = −1, beyond it unstable in both "
            "directions, and with ŵ = −0.5 in part spiralling out (c).",
        ),
        FigureSpec(
            "rflo-stability-map",
            draw_map,
            "RFLO where feedback and readout have opposite signs (â = −1, s > 0, w* = 0.8). Left of 1 every solution "
            "is a saddle, whatever ŵ; right of it, learning runs or spirals away. For weak teachers (b, c) a window "
            "of stable solutions opens next to the border, towards negative ŵ.",
        ),
    ),
)
