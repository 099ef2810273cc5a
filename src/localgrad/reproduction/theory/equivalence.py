"""An aligned network is its modes: one expected update, and learning for ever after, says the same in both.

The network side solves Stein equations for full matrices, the mode side evaluates the scalar field; they share the
rule and nothing else.
"""

import json
from dataclasses import dataclass
from functools import cache, partial

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import PALETTE, label_panels, new_figure
from localgrad.models.aligned import Frames, Mode, aligned_network, project_modes, random_frames
from localgrad.models.linear import LinearRNN
from localgrad.modes.equations import field, mode_update
from localgrad.modes.networks import align_rule
from localgrad.reproduction.axes import name_of, rule_axis
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.compiled import in_general_form
from localgrad.rules.presets import BPTT, RFLO, EProp, FeedbackAlignment, TruncatedBPTT
from localgrad.rules.rule import Rule
from localgrad.updates.expected import expected_update


@dataclass(frozen=True)
class Parameters:
    """Sizes and learning of the aligned networks; weights and rates are dimensionless."""

    output: int = 5
    hidden: int = 6
    input: int = 7
    teacher_a: tuple[float, ...] = (1.6, 1.2, 0.9, 0.6)
    teacher_b: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    teacher_w: tuple[float, ...] = (0.8, 0.5, 0.2, -0.4)
    feedback: float = 1.0
    decay: float = 0.5
    num_networks: int = 20
    learning_rate: float = 0.01
    num_steps: int = 2000


def _rules(p: Parameters) -> list[Rule]:
    return [
        BPTT(),
        TruncatedBPTT(1),
        TruncatedBPTT(3),
        RFLO(p.feedback, p.decay),
        EProp(),
        EProp(p.feedback),
        FeedbackAlignment(p.feedback),
    ]


def _frames(p: Parameters, rule: Rule, seed: int) -> Frames:
    """Random frames; for rules with `diag J` the hidden units are the modes (docs/theory.md, section 4)."""
    frames = _random_frames(p.output, p.hidden, p.input, seed)
    return frames if rule.propagator.diagonal is None else frames._replace(P=np.eye(p.hidden))


@cache
def _random_frames(output: int, hidden: int, input: int, seed: int) -> Frames:
    return jax.tree.map(np.asarray, random_frames(output, hidden, input, key=jax.random.key(seed)))


def _off_diagonal(network: LinearRNN, frames: Frames, count: int) -> float:
    """The largest entry, in the frames, that is not on a mode's diagonal."""
    U, P, V = frames
    A, W, B = (np.asarray(x) for x in network.matrices)
    rotated = (U.T @ A @ P, P.T @ W @ P, P.T @ B @ V)
    for M in rotated:
        np.fill_diagonal(M[:count, :count], 0)
    return max(float(np.abs(M).max()) for M in rotated)


def _one_update(p: Parameters, rule: Rule, teacher: Mode, seed: int) -> tuple[float, float]:
    """Relative disagreement of the two updates of a random aligned student, and what is off its diagonals."""
    rng = np.random.default_rng(seed)
    count = len(teacher.w)
    student = Mode(rng.uniform(0.3, 1.5, count), rng.uniform(0.3, 1.5, count), rng.uniform(-0.9, 0.9, count))
    frames = _frames(p, rule, seed)
    networks = (aligned_network(student, frames), aligned_network(teacher, frames))
    update = expected_update(align_rule(rule, frames), *networks)
    expected, found = mode_update(rule, student, teacher), project_modes(update, frames)
    size = max(float(np.abs(x).max()) for x in expected)
    mismatch = max(float(np.abs(x - np.asarray(y)[:count]).max()) for x, y in zip(expected, found, strict=True))
    return mismatch / size, _off_diagonal(update, frames, count) / size


def _learn(p: Parameters, rule: Rule, teacher: Mode) -> tuple[np.ndarray, np.ndarray, float]:
    """Learn by small steps as a network and as modes; returns both paths `"abw step mode"` and the lost alignment."""
    count = len(teacher.w)
    start = Mode(np.full(count, 0.5), np.full(count, 0.5), np.zeros(count))
    frames = _frames(p, rule, 0)
    networks = [aligned_network(modes, frames) for modes in (start, teacher)]
    network_rule = in_general_form(align_rule(rule, frames), p.output, p.hidden)  # rules share a program
    final, path = _descend(network_rule, *networks, frames, p.learning_rate, p.num_steps)
    mode, mode_path = start, []
    for _ in range(p.num_steps):
        update = field(rule, mode, teacher)
        mode = Mode(*(x - p.learning_rate * dx for x, dx in zip(mode, update, strict=True)))
        mode_path.append(np.stack(mode))
    return np.stack(path)[..., :count], np.stack(mode_path, axis=1), _off_diagonal(final, frames, count)


@partial(jax.jit, static_argnames="num_steps")
def _descend(
    rule: Rule, start: LinearRNN, teacher: LinearRNN, frames: Frames, learning_rate: float, num_steps: int
) -> tuple[LinearRNN, Mode]:
    """The network after so many steps, and its modes after each, with a leading axis `"step"`."""

    def step(network: LinearRNN, _: None) -> tuple[LinearRNN, Mode]:
        update = expected_update(rule, network, teacher)
        network = jax.tree.map(lambda x, dx: x - learning_rate * dx, network, update)
        return network, project_modes(network, frames)

    return jax.lax.scan(step, start, None, length=num_steps)


def compute(p: Parameters) -> xr.Dataset:
    """Disagreements of single updates over rules and networks, and whole learning paths over rules."""
    teacher = Mode(*(np.array(x) for x in (p.teacher_a, p.teacher_b, p.teacher_w)))
    rules = _rules(p)
    single = np.array([[_one_update(p, rule, teacher, seed) for seed in range(p.num_networks)] for rule in rules])
    learned = [_learn(p, rule, teacher) for rule in rules]
    return xr.Dataset(
        {
            "update_mismatch": (("rule", "network"), single[..., 0]),
            "update_off_diagonal": (("rule", "network"), single[..., 1]),
            "network_path": (("rule", "parameter", "step", "mode"), np.stack([x[0] for x in learned])),
            "mode_path": (("rule", "parameter", "step", "mode"), np.stack([x[1] for x in learned])),
            "lost_alignment": ("rule", np.array([x[2] for x in learned])),
        },
        {
            **rule_axis(rules),
            "parameter": ["a", "b", "w"],
            "mode": np.arange(1, len(teacher.w) + 1),
            "time": ("step", p.learning_rate * np.arange(1, p.num_steps + 1)),
        },
    )


def claims(data: xr.Dataset) -> list[Claim]:
    """Both sides agree to rounding, at one update and after many."""
    paths = abs(data.network_path - data.mode_path).max()
    source = "paper, data alignment, equations 19–22"
    return [
        Claim.at_most(
            "equivalence.update",
            source,
            "The expected update of an aligned network is, in its frames, the mode equations' (relative, all rules)",
            1e-10,
            data.update_mismatch.max(),
        ),
        Claim.at_most(
            "equivalence.diagonal",
            source,
            "The expected update of an aligned network is diagonal in the same frames (relative size of the rest)",
            1e-10,
            data.update_off_diagonal.max(),
        ),
        Claim.at_most(
            "equivalence.persists",
            source,
            f"Alignment persists: the largest entry off the diagonals after {data.sizes['step']} steps (absolute)",
            1e-8,
            data.lost_alignment.max(),
        ),
        Claim.at_most(
            "equivalence.learning",
            source,
            "A learning network follows its mode equations all the way (largest difference of any mode at any step)",
            1e-8,
            paths,
        ),
    ]


def draw(data: xr.Dataset) -> Figure:
    """Modes of the learning network on the curves of the mode equations."""
    bptt, tbptt, _, rflo, *_ = _rules(Parameters())
    shown = [bptt.key, tbptt.key, rflo.key]
    figure, axes = new_figure(3, 3, height=6.5, sharex=True, sharey="row")
    dots = np.unique(np.geomspace(1, data.sizes["step"], 18).astype(int)) - 1
    for ax, (parameter, rule) in zip(axes, [(x, r) for x in "abw" for r in shown], strict=True):
        here = data.sel(rule=rule, parameter=parameter)
        for i, color in enumerate(PALETTE[: data.sizes["mode"]]):
            ax.plot(data.time, here.mode_path[:, i], color=color)
            ax.plot(data.time[dots], here.network_path[dots, i], color=color, marker="os^D"[i % 4], linestyle="")
        ax.set_xscale("log")
    for ax, rule in zip(axes[:3], shown, strict=True):
        ax.set_title(name_of(data, rule))
    for ax, parameter in zip(axes[::3], "abw", strict=True):
        ax.set_ylabel(f"mode's {parameter}")
    for ax in axes[6:]:
        ax.set_xlabel("learning time")
    teacher = json.loads(data.attrs["parameters"])["teacher_w"]
    names = [f"mode {i + 1}, w* = {w:g}".replace("-", "−") for i, w in enumerate(teacher)]
    figure.legend(axes[0].lines[1::2], names, loc="outside upper center", ncols=len(names))
    label_panels(axes)
    return figure


EXPERIMENT = Experiment(
    name="equivalence",
    title="An aligned network is its modes",
    question="Do the three-dimensional mode equations give exactly what an aligned network of full matrices does?",
    parameters=Parameters(),
    quick=Parameters(num_networks=3, num_steps=200),
    compute=compute,
    claims=claims,
    describe={
        "rule": "rule",
        "rule_name": "name of the rule",
        "parameter": "weight of a mode: a, b or w",
        "mode": "number of the mode",
        "time": "learning time",
        "update_mismatch": "difference of the network's update from the modes', relative",
        "update_off_diagonal": "largest entry of the update off the modes' diagonals, relative",
        "network_path": "weights of the learning network's modes",
        "mode_path": "weights of the modes that learn by their own equations",
        "lost_alignment": "largest entry of the network off the diagonals after learning",
    },
    figures=(
        FigureSpec(
            "modes-of-a-learning-network",
            draw,
            "Four modes of a 6-unit network learning from an aligned teacher. Symbols: the network's matrices, read in "
            "their frames; curves: the mode equations. The symbols lie on the curves for every mode, parameter and "
            "rule. Modes with a stronger teacher are learned first.",
        ),
    ),
)
