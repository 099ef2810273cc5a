"""What others found of learning in linear recurrent networks, and what becomes of it under local rules: the frame."""

from dataclasses import dataclass, field

import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import label_panels, new_figure
from localgrad.reproduction.axes import name_of
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.literature import (
    closed_loop,
    closed_loop_found,
    delays,
    delays_found,
    feedforward,
    outliers,
    outliers_found,
)
from localgrad.reproduction.networks.literature.topics import BPTT_KEY, RFLO_KEY, TBPTT_KEY, Published

_TOPICS = (feedforward, delays_found, outliers_found, closed_loop_found)


@dataclass(frozen=True)
class Parameters:
    """Those of each topic."""

    modes: feedforward.Parameters = field(default_factory=feedforward.Parameters)
    inputs: delays.Parameters = field(default_factory=delays.Parameters)
    poles: outliers.Parameters = field(default_factory=outliers.Parameters)
    loop: closed_loop.Parameters = field(default_factory=closed_loop.Parameters)


def compute(p: Parameters) -> xr.Dataset:
    """The datasets of all topics in one."""
    parts = [
        feedforward.compute(p.modes), delays.compute(p.inputs), outliers.compute(p.poles),
        closed_loop.compute(p.loop),
    ]  # fmt: skip
    return xr.merge(parts, combine_attrs="no_conflicts", join="exact", compat="equals")


def claims(data: xr.Dataset) -> list[Claim]:
    """Those of all topics."""
    return [claim for topic in _TOPICS for claim in topic.claims(data)]


def table(data: xr.Dataset) -> list[list[str]]:
    """Published statements and their verdicts."""
    rows: list[Published] = [row for topic in _TOPICS for row in topic.published(data)]
    return [["published statement", "of", "here, under BPTT", "measured"], *(list(row) for row in rows)]


def draw_delays(data: xr.Dataset) -> Figure:
    """Learned recurrent weights over the ratio under BPTT, tBPTT(1) and RFLO."""
    figure, axes = new_figure(1, 3, height=2.9, sharey=True)
    for axis, key in zip(axes, (BPTT_KEY, TBPTT_KEY, RFLO_KEY), strict=True):
        delays_found.draw(data, axis, key)
        axis.set_title(name_of(data, key))
    axes[0].set_ylabel("learned w")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    label_panels(axes)
    return figure


def draw_outliers(data: xr.Dataset) -> Figure:
    """Ways of the outliers in the plane."""
    figure, axes = new_figure(1, 2, height=3.3)
    outliers_found.draw(data, axes)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    label_panels(axes)
    return figure


def draw_loop(data: xr.Dataset) -> Figure:
    """Loss and eigenvalues in the loop, over the length of the way."""
    figure, axes = new_figure(1, 3, height=3.0)
    closed_loop_found.draw(data, axes)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    axes[2].legend()
    label_panels(axes)
    return figure


def draw_feedforward(data: xr.Dataset) -> Figure:
    """Sigmoids, and the curves of RFLO."""
    figure, [axis] = new_figure(height=2.8)
    feedforward.draw(data, axis)
    axis.legend()
    return figure


def _quick() -> Parameters:
    return Parameters(
        inputs=delays.Parameters(delays=(2, 3), ratios=(0.3, 3.2), strengths=(0.05, 0.1, 0.2, 0.25, 0.3, 0.6)),
        poles=outliers.Parameters(seeds=1, num_times=60),
        loop=closed_loop.Parameters(num_times=60),
        modes=feedforward.Parameters(num_times=601),
    )


EXPERIMENT = Experiment(
    name="literature",
    title="What others found, under any rule",
    question="Does what is known of gradient descent in linear recurrent networks hold here, and also for local rules?",
    parameters=Parameters(),
    quick=_quick(),
    compute=compute,
    claims=claims,
    table=table,
    table_caption="Statements of others on gradient descent. Where settings differ from theirs, the heads of the "
    "modules in `reproduction/networks/literature` say how.",
    figures=(
        FigureSpec(
            "literature-feedforward",
            draw_feedforward,
            "Modes of strength 4, 2, 1, 0.5 (from left to right) without memory, from weights of 0.001: wide and grey "
            "the sigmoids of Saxe et al. 2014. Under RFLO (â = 1) there is no plateau.",
        ),
        FigureSpec(
            "literature-delays",
            draw_delays,
            "The recurrent weight that one unit learns where the target is the last input and r times that of D = 3 "
            "steps earlier, from three starts. Grey lines: where solutions with a recurrent weight begin to exist, and "
            "(dashed) where they become the best. A: BPTT. B: tBPTT(1). C: RFLO (ŵ = 0.5) has no threshold.",
        ),
        FigureSpec(
            "literature-outliers",
            draw_outliers,
            "The eigenvalue that leaves the others while students of small recurrent weights learn. Wide and grey: "
            "what three units that begin at W = 0 do instead. A: its modulus in learning to integrate; thin and grey "
            "the target's. B: its way in learning to oscillate, of a pair that with the positive angle; the cross is "
            "the target. From W = 0 RFLO makes a real eigenvalue only; a pair under RFLO is made of what the first "
            "weights have.",
        ),
        FigureSpec(
            "literature-loop",
            draw_loop,
            "A student that learns to stop a mass of which it sees the position, over the length of the way that its "
            "weights go. A: loss in the loop. B: spectral radius of network and plant together; below 1 the loop is "
            "stable. C: BPTT through the plant at the beginning; upright lines: the first stage is over, the loop is "
            "stable. The third real eigenvalue ends where it becomes one of a pair.",
        ),
    ),
    describe={
        "ratio": "how much the earlier input counts against the last one, r",
        "weight": "learned recurrent weight of one unit",
        "gain": "learned gain ab of one unit",
        "end_loss": "loss at the end of learning",
        "short_weight": "recurrent weight learned by BPTT over few steps from rest",
        "short_loss": "loss at the end there",
        "line_weight": "recurrent weight learned by BPTT where all earlier inputs count alike",
        "line_optimum": "recurrent weight of the least loss there",
        "rule": "rule",
        "rule_name": "name of the rule",
        "delay": "steps between the two inputs that count, D [steps]",
        "first_weight": "recurrent weight at the beginning",
        "steps": "horizon, as published [steps]",
        "short_ratio": "ratio r there",
        "line": "number of inputs that count",
        "strength": "how much each earlier input counts against the last one",
        "path": "the two largest eigenvalues of W but for conjugates, from small random weights",
        "tiny_path": "the same from a quarter of these weights",
        "empty_path": "the same from W = 0",
        "low_path": "the same of three units from W = 0",
        "outlier_loss": "loss at the end over a silent student's, from small random weights",
        "outlier_length": "learning time to the end [learning time]",
        "empty_loss": "loss at the end over a silent student's, from W = 0",
        "change": "norm of the change of W under BPTT, from small weights",
        "lazy_change": "the same from large weights",
        "floor": "least loss, over a silent student's, of an answer with one real pole",
        "pole": "the target's pole",
        "low_rule": "rule of students that begin at W = 0",
        "low_rule_name": "its name",
        "task": "task",
        "part": "part of a complex number",
        "outlier_time": "learning time [learning time]",
        "loop_loss": "loss in the closed loop",
        "loop_radius": "spectral radius of network and plant together",
        "third": "largest real eigenvalue of network and plant but the two largest",
        "loop_gain": "readout times input weights",
        "way": "length of the way of all weights",
        "rebound": "largest loss in the loop over a loss before it",
        "imitation": "loss left of the students that imitate, over a silent student's",
        "loop_rule": "rule in the closed loop",
        "loop_rule_name": "its name",
        "moment": "learning time in the closed loop [learning time]",
        "answer": "gain ab of a mode without memory",
        "recurrent": "largest recurrent weight that comes about",
        "sigmoid": "the sigmoid in closed form",
        "half": "learning time to half of the strength [learning time]",
        "fixed_half": "the same under a fixed feedback, by an integral [learning time]",
        "small_half": "the same from vanishing weights, in closed form [learning time]",
        "flow_rule": "rule of modes without memory",
        "flow_rule_name": "its name",
        "mode": "strength of the mode",
        "layer_time": "learning time of modes without memory [learning time]",
    },
)
