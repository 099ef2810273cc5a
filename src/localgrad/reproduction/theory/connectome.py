"""A real brain network as teacher: which modes of the human connectome are learned how fast?

The 68-region connectome is symmetric, so with identity input and output it is exactly data-aligned: each eigenvector
is a pattern of regions, a brain-network mode, with `a* = b* = 1` and its eigenvalue as `w*`.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import DIVERGING, label_panels, new_figure
from localgrad.models.aligned import Mode, aligned_network, project_modes
from localgrad.modes.equations import mode_update
from localgrad.modes.networks import align_rule
from localgrad.reproduction.axes import name_of
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.teacher_modes import draw_mode_rates, mode_rates
from localgrad.rules.presets import paper_rules
from localgrad.rules.rule import Rule
from localgrad.tasks.teachers import connectome, is_symmetric, symmetric_modes
from localgrad.updates.expected import expected_update


@dataclass(frozen=True)
class Parameters:
    """The network's size and scaling, and RFLO's numbers; all dimensionless."""

    regions: int = 68
    spectral_radius: float = 0.95
    feedback: float = 1.0
    decay: float = 0.5
    scales: tuple[float, ...] = (0.5, 1.0, 2.0)
    seed: int = 0


def _rules(p: Parameters) -> list[Rule]:
    return paper_rules(p.feedback, p.decay)


def compute(p: Parameters) -> xr.Dataset:
    """The network, its modes with their patterns over regions, and their rates; and a check on the full network."""
    W, labels = connectome(p.regions, spectral_radius=p.spectral_radius)
    teacher, frames = symmetric_modes(W)
    rates = mode_rates(_rules(p), teacher, p.scales)
    rng = np.random.default_rng(p.seed)
    a, b = rng.uniform(0.5, 1.5, (2, p.regions))
    student = Mode(a, b, rng.uniform(-0.8, 0.8, p.regions))
    networks = (aligned_network(student, frames), aligned_network(teacher, frames))
    mismatch = []
    for rule in _rules(p):
        update = expected_update(align_rule(rule, frames._replace(P=jnp.asarray(frames.P))), *networks)
        found, expected = project_modes(update, frames), mode_update(rule, student, teacher)
        size = max(np.abs(x).max() for x in expected)
        mismatch.append(max(float(jnp.abs(x - y).max()) for x, y in zip(found, expected, strict=True)) / size)
    return rates.assign(
        W=(("to", "from"), W),
        pattern=(("region", "mode"), frames.P),
        symmetric=int(is_symmetric(W)),
        decay=p.decay,
        update_mismatch=("rule", mismatch),
    ).assign_coords(region=list(labels))


def claims(data: xr.Dataset) -> list[Claim]:
    """What the mode theory says of this network."""
    balanced = data.sel(scale=1.0)
    bptt, tbptt, rflo = (balanced.rate.sel(rule=rule.key) for rule in _rules(Parameters()))
    w = data.w_star
    between = (w > 0) & (w < data.decay)
    return [
        Claim.equal(
            "connectome.aligned",
            "new: a fact of this network",
            "The 68-region connectome is symmetric to rounding, so it is data-aligned (1 = yes)",
            1,
            data.symmetric,
            tolerance=0,
        ),
        Claim.at_most(
            "connectome.modes",
            "theory, section 4",
            "The full 68-unit network's expected update is its modes' (relative error, three rules)",
            1e-10,
            data.update_mismatch.max(),
        ),
        Claim.at_least(
            "connectome.spread",
            "new: measured, a fact of this network",
            "BPTT learns the first mode, w* = 0.95, several times faster than the median mode (ratio of rates)",
            3.0,
            float(bptt[0] / bptt.median()),
        ),
        Claim.at_most(
            "connectome.tbptt-spread",
            "new: measured, a fact of this network",
            "Under tBPTT(1) the first mode is learned less than twice as fast as the median mode (ratio of rates)",
            2.0,
            float(tbptt[0] / tbptt.median()),
        ),
        Claim.equal(
            "connectome.rflo-window",
            "new: measured",
            "RFLO (â = 1, ŵ = 0.5) is faster than BPTT exactly for the modes with 0 < w* < ŵ (share that agree)",
            1.0,
            ((rflo > bptt) == between).mean(),
            tolerance=0,
        ),
    ]


def draw_network(data: xr.Dataset) -> Figure:
    """The weights, and the patterns of four modes over the regions."""
    figure, axes = new_figure(1, 2, height=4.2, width_ratios=(1, 1.15))
    image = axes[0].imshow(np.log10(data.W.where(data.W > 0)), cmap="cividis", rasterized=True)
    axes[0].set(xlabel="from region", ylabel="to region")
    figure.colorbar(image, ax=axes[0], label="log₁₀ weight", location="bottom", shrink=0.8)
    shown = [0, 1, 2, 3, data.sizes["mode"] - 2, data.sizes["mode"] - 1]
    pattern = data.pattern.isel(mode=shown)
    limit = float(abs(pattern).max())
    image = axes[1].imshow(pattern.T, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto", rasterized=True)
    axes[1].set_yticks(range(len(shown)), [f"w* = {float(data.w_star[i]):.2f}".replace("-", "−") for i in shown])
    axes[1].axvline(data.sizes["region"] / 2 - 0.5, color="black", linewidth=0.8)
    axes[1].set(xlabel="region (right hemisphere | left hemisphere)")
    figure.colorbar(image, ax=axes[1], label="weight of the region", location="bottom", shrink=0.8)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """The five strongest and the two most negative modes."""
    rows = []
    for i in (0, 1, 2, 3, 4, data.sizes["mode"] - 2, data.sizes["mode"] - 1):
        strongest = abs(data.pattern[:, i]).argsort().values[::-1][:3]
        rates = [f"{float(x):.2f}" for x in data.rate.sel(scale=1.0).isel(mode=i)]
        names = ", ".join(str(data.region.values[j]) for j in strongest)
        rows.append([str(i + 1), f"{float(data.w_star[i]):.3f}", *rates, names])
    return [["mode", "w*", *(f"rate, {name_of(data, rule)}" for rule in data.rule.values), "strongest regions"], *rows]


EXPERIMENT = Experiment(
    name="connectome",
    title="A brain network as teacher",
    question="Which modes of the human connectome (68 regions) are learned how fast under BPTT, tBPTT(1) and RFLO?",
    parameters=Parameters(),
    quick=Parameters(),
    compute=compute,
    claims=claims,
    describe={
        "rule": "rule",
        "rule_name": "name of the rule",
        "scale": "s in units of √|c|",
        "mode": "number of the mode, by descending w*",
        "region": "region of the brain",
        "rate": "convergence rate at s [1/learning time]",
        "critical": "critical learning rate at s",
        "w_star": "the mode's w*, an eigenvalue of the network",
        "c": "the mode's a* b*",
        "W": "weight of the connection from one region to another",
        "pattern": "weight of a region in a mode",
        "symmetric": "whether the network is symmetric to rounding",
        "decay": "RFLO's decay ŵ",
        "update_mismatch": "difference of the network's update from the modes', relative",
    },
    figures=(
        FigureSpec(
            "connectome-network",
            draw_network,
            "A: the 68-region human connectome (package tvb-data, diagonal included), scaled to spectral radius 0.95; "
            "the two blocks are the hemispheres. B: six of its modes, the four with the longest memory and the two "
            "most negative: patterns of regions, the black line between the hemispheres.",
        ),
        FigureSpec(
            "connectome-rates",
            draw_mode_rates,
            "A: how fast each of the 68 modes is learned near its balanced solution. BPTT learns the mode with the "
            "longest memory (w* = 0.95) ten times as fast as the median mode, RFLO (â = 1, ŵ = 0.5) three times, "
            "tBPTT(1) not twice; modes with negative w* RFLO learns slowest of all. B: the rates of tBPTT(1) and RFLO "
            "over that of BPTT (grey line). RFLO is slightly faster for 0 < w* < ŵ and slower elsewhere.",
        ),
    ),
    table=table,
    table_caption="The strongest and the most negative modes: their rates at the balanced solution, and their regions.",
)
