"""Errors that arrive late: the law of odd delays, critical delays of networks, and what is learned."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import GREY, label_panels, new_figure, rule_style
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.delay.data import GROWS, Parameters, compute


def _unstable(data: xr.Dataset, rule: int, delay: int) -> np.ndarray:
    return np.asarray(data.growth.isel(rule=rule).sel(delay=delay).values > GROWS)


def _disagreement(data: xr.Dataset, rule: int, decay: float, delays: list[int]) -> float:
    """The largest share of optima whose stability is not that of the law: unstable where w* or the decay < 0, d odd."""
    expected = (data.pole.values < 0) | (decay < 0)
    wrong = [np.mean(_unstable(data, rule, d) != (expected & (d % 2 == 1))) for d in delays]
    return float(max(wrong))


def claims(data: xr.Dataset) -> list[Claim]:
    """The product of the rates, the law of odd delays, the quarter of a period, and RFLO's rank."""
    delays = [int(d) for d in data.delay.values]
    ratio = data.critical * 2 * data.angle / np.pi
    deviation = data["product"] / (data.propagator * data.pole) ** data.delay - 1
    fixed = {i: float(data.propagator[i, 0]) for i in range(1, data.sizes["rule"])}
    [negative] = [i for i, m in fixed.items() if m < 0]
    return [
        Claim.at_most(
            "delay.product",
            "theory, section 10",
            "A delay of d steps multiplies the product of a mode's two rates by (m w*)^d, under BPTT (m = w*) and RFLO "
            "(m = ŵ) (largest relative deviation over random optima)",
            1e-6,
            float(np.abs(deviation).max()),
        ),
        Claim.at_most(
            "delay.bptt-odd",
            "theory, section 10",
            "Under BPTT an optimum is unstable exactly for odd delays and w* < 0 (share of random optima that are not "
            "so, largest over delays)",
            0.0,
            _disagreement(data, 0, 1.0, delays),
        ),
        Claim.at_most(
            "delay.rflo-odd",
            "theory, section 10",
            "Under RFLO with âs > 0 an optimum is unstable exactly for odd delays and a negative w* or decay "
            "(share of random optima that are not so, largest over delays and decays)",
            0.0,
            max(_disagreement(data, i, m, delays) for i, m in fixed.items()),
        ),
        Claim.at_least(
            "delay.negative-decay",
            "theory, section 10",
            "With a negative decay the same odd delays make saddles of the optima with w* > 0 (share of them that is "
            "unstable, least over odd delays)",
            1.0,
            min(float(_unstable(data, negative, d)[data.pole.values > 0].mean()) for d in delays if d % 2),
        ),
        Claim.at_least(
            "delay.quarter-least",
            "new: measured",
            "A network that oscillates bears delays up to a quarter of its period, under BPTT and RFLO (critical delay "
            "over a quarter of the period, least)",
            0.9,
            float(ratio.min()),
        ),
        Claim.at_most(
            "delay.quarter-most",
            "new: measured",
            "and not many more (the same ratio, largest)",
            1.7,
            float(ratio.max()),
        ),
        Claim.at_most(
            "delay.rank",
            "theory, section 10",
            "What RFLO learns of W from late errors has rank at most the number of outputs, 1 (largest over delays)",
            1,
            int(data.run_rank.max()),
        ),
    ]


def numbers(data: xr.Dataset) -> dict[str, float]:
    """The range of the critical delays over a quarter of the period, and the losses that runs end with."""
    ratio = data.critical * 2 * data.angle / np.pi
    return {
        "least": float(ratio.min()),
        "most": float(ratio.max()),
        "loss-on-time": float(data.run_loss[0]),
        "loss-latest": float(data.run_loss[-1]),
    }


def draw(data: xr.Dataset) -> Figure:
    """Which optima are unstable over the delay, and the critical delay over the angle."""
    figure, axes = new_figure(1, 3, height=3.0)
    for panel, (side, title) in enumerate((("negative", "w* < 0"), ("positive", "w* > 0"))):
        there = data.pole < 0 if side == "negative" else data.pole > 0
        for rule, (key, name) in enumerate(zip(data.rule.values, data.rule_name.values, strict=True)):
            share = (data.growth.isel(rule=rule) > GROWS).where(there).mean("optimum")
            label = str(name) if rule == 0 else f"RFLO, ŵ = {float(data.propagator[rule, 0]):g}"
            look = rule_style(str(key).partition("#")[0]) | {"linestyle": ("-", "--", ":", "-.")[rule]}
            axes[panel].plot(data.delay, share + 0.012 * (rule - 1.5), **look, label=label)
        axes[panel].set(xlabel="delay [steps]", title=title, ylim=(-0.08, 1.08))
    axes[0].set_ylabel("share of unstable optima")
    for key in data.network_rule.values:
        critical = data.critical.sel(network_rule=key).median("network").mean("radius")
        axes[2].plot(data.angle, critical, **(rule_style(str(key)) | {"linestyle": ""}))
    axes[2].plot(data.angle, np.pi / 2 / data.angle, color=GREY, linewidth=1)
    axes[2].set(xscale="log", yscale="log", xlabel="angle a step [rad]", ylabel="critical delay [steps]")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    label_panels(axes)
    return figure


EXPERIMENT = Experiment(
    name="delay",
    title="Errors that arrive late",
    question="Which optima are still stable if errors reach the synapses some steps late?",
    parameters=Parameters(),
    quick=Parameters(num_optima=100, angles=(0.5, 0.8, 1.2), num_networks=2, longest=6, run_delays=(0, 2)),
    compute=compute,
    claims=claims,
    numbers=numbers,
    figures=(
        FigureSpec(
            "delay",
            draw,
            "A, B: share of random optima of modes that are unstable, over the delay, for negative and positive poles "
            "w* of the teacher (lines are moved apart by 0.012). Odd delays undo learning on one side. C: networks of "
            "two units that turn by an angle a step: the smallest delay at which their optimum is unstable under BPTT "
            "and RFLO (ŵ = 0.5); grey, a quarter of the period.",
        ),
    ),
    describe={
        "growth": "largest real part of a mode's two rates over the larger modulus",
        "product": "product of the two rates over that without delay",
        "pole": "the teacher's w*",
        "propagator": "the rule's propagator m at the optimum: w* under BPTT, ŵ under RFLO",
        "critical": "smallest delay at which a network's optimum is unstable [steps]; NaN if none was found",
        "run_rank": "rank of the change of W at the end of a run under RFLO",
        "run_loss": "loss at the end of a run over that of a silent student",
        "rule": "key of the rule",
        "rule_name": "name of the rule",
        "delay": "delay of the errors [steps]",
        "network_rule": "key of the rule of the networks of two units",
        "angle": "angle by which such a network turns its state [rad/step]",
        "radius": "modulus of its eigenvalues",
        "run_delay": "delay of the errors in learning runs [steps]",
    },
)
