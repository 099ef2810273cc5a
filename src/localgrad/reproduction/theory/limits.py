"""The two limits behind the mode equations: long sequences and small learning rates, with their observed orders.

The infinite horizon drops terms of order `r^T`, `r` the largest of `w²`, `|w w*|`, `|m w|`, `|m w*|` that a rule's sums
run over. Where the propagator is the Jacobian, `m = w`, two of these ratios are one, and a double sum over lags
`i + j < T` leaves `T r^T`; tBPTT(1) and RFLO leave `r^T` alone. The sequence loss averages over all horizons up to `T`,
which leaves terms of order `1/T`; a learning rate `η` makes the learning curve an Euler polygon of the flow, off by
order `η`.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import label_panels, new_figure, rule_style
from localgrad.models.aligned import Mode
from localgrad.models.linear import LinearRNN
from localgrad.modes.equations import field
from localgrad.modes.trajectory import learn_mode
from localgrad.reproduction.axes import name_of, rule_axis
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.compiled import in_general_form
from localgrad.rules.presets import EProp, paper_rules
from localgrad.rules.rule import Rule
from localgrad.updates.expected import expected_update


@dataclass(frozen=True)
class Parameters:
    """A mode away from its optimum; `horizons` in steps, `duration` in learning time."""

    student: tuple[float, float, float] = (0.7, 1.2, 0.6)
    teacher: tuple[float, float, float] = (1.0, 1.0, 0.8)
    feedback: float = 1.0
    decay: float = 0.9
    horizons: tuple[int, ...] = (4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
    learning_rates: tuple[float, ...] = (0.02, 0.01, 0.005, 0.0025, 0.00125)
    duration: float = 2.0


def _rules(p: Parameters) -> list[Rule]:
    return [*paper_rules(p.feedback, p.decay), EProp(p.feedback)]


def _as_network(mode: Mode) -> LinearRNN:
    return LinearRNN(*(np.array([[x]]) for x in (mode.a, mode.w, mode.b)))


def _horizon_error(p: Parameters, rule: Rule, horizon: int, loss: str) -> float:
    """Distance of the finite-horizon update of a one-unit network from the mode equations', relative to the latter."""
    student, teacher = Mode(*p.student), Mode(*p.teacher)
    networks = (_as_network(student), _as_network(teacher))
    network_rule = in_general_form(rule, 1, 1)  # one compiled program for all
    update = expected_update(network_rule, *networks, horizon=horizon, loss=loss)  # type: ignore[arg-type]
    limit = np.array(field(rule, student, teacher))
    found = np.array([update.A[0, 0], update.B[0, 0], update.W[0, 0]])
    return float(np.linalg.norm(found - limit) / np.linalg.norm(limit))


def _step_error(p: Parameters, rule: Rule, learning_rate: float, end: Mode) -> float:
    """Distance, at learning time `duration`, of steps of finite size from the end of the learning flow."""
    mode, teacher = Mode(*p.student), Mode(*p.teacher)
    for _ in range(round(p.duration / learning_rate)):
        update = field(rule, mode, teacher)
        mode = Mode(*(x - learning_rate * dx for x, dx in zip(mode, update, strict=True)))
    return float(np.linalg.norm(np.subtract(mode, end)))


def _expected_ratio(p: Parameters, rule: Rule) -> float:
    """The largest product whose powers a rule's sums run over."""
    w, w_star, m = p.student[2], p.teacher[2], float(rule.propagator.on_mode(p.student[2]))
    carried = [m * w, m * w_star] if rule.lags is None else []
    return max(abs(x) for x in (w * w, w * w_star, *carried))


def _carries_w(rule: Rule) -> bool:
    """Whether the propagator of a mode is `w` itself, and all lags are kept."""
    return rule.lags is None and rule.affine is not None and tuple(rule.affine[2:]) == (0, 1)


def compute(p: Parameters) -> xr.Dataset:
    """Errors over rules and horizons (both losses), and over rules and learning rates."""
    rules, teacher = _rules(p), Mode(*p.teacher)
    ends = [learn_mode(r, Mode(*p.student), teacher, duration=p.duration, rtol=1e-9, atol=1e-11).final for r in rules]
    final, sequence = (
        np.array([[_horizon_error(p, rule, T, loss) for T in p.horizons] for rule in rules])
        for loss in ("final", "sequence")
    )
    steps = np.array(
        [[_step_error(p, r, eta, end) for eta in p.learning_rates] for r, end in zip(rules, ends, strict=True)]
    )
    return xr.Dataset(
        {
            "final_error": (("rule", "horizon"), final),
            "sequence_error": (("rule", "horizon"), sequence),
            "step_error": (("rule", "learning_rate"), steps),
            "expected_ratio": ("rule", [_expected_ratio(p, rule) for rule in rules]),
            "propagator_is_jacobian": ("rule", [_carries_w(rule) for rule in rules]),
        },
        {**rule_axis(rules), "horizon": list(p.horizons), "learning_rate": list(p.learning_rates)},
    )


def _geometric_fit(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Factor `r` a step and power `p` of `T` in an error `T^p r^T`, one a rule, fitted above rounding.

    Only horizons count whose terms of smaller ratio have died away: the upper half of those above rounding.
    """
    factors, powers = [], []
    for i in range(data.sizes["rule"]):
        error, T = data.final_error[i].values, data.horizon.values.astype(float)
        usable = np.flatnonzero(error > 1e-11)
        last = usable[len(usable) // 2 :]
        columns = np.stack([np.ones(len(last)), np.log(T[last]), T[last]], axis=1)
        (_, power, log_factor), *_ = np.linalg.lstsq(columns, np.log(error[last]), rcond=None)
        factors.append(np.exp(log_factor))
        powers.append(power)
    return np.array(factors), np.array(powers)


def _order(x: np.ndarray, error: xr.DataArray, points: slice) -> np.ndarray:
    """Slopes of `log error` against `log x`, one a rule."""
    return np.array([np.polyfit(np.log(x[points]), np.log(row[points]), 1)[0] for row in error.values])


def _furthest(values: np.ndarray, expected: float) -> float:
    return float(values[np.argmax(np.abs(values - expected))])


def claims(data: xr.Dataset) -> list[Claim]:
    """The observed orders are the expected ones, for the rule that is furthest from them."""
    sequence = _order(data.horizon.values, data.sequence_error, slice(-4, None))
    steps = _order(data.learning_rate.values, data.step_error, slice(-3, None))
    factors, powers = _geometric_fit(data)
    source = "theory, sections 1 and 5"
    jacobian = data.propagator_is_jacobian.values.astype(bool)
    return [
        Claim.equal(
            "limits.horizon-geometric",
            source,
            "The update's error falls by a factor r a step, r the largest ratio of the rule's sums (measured r / "
            "expected r, furthest rule)",
            1.0,
            _furthest(factors / data.expected_ratio.values, 1.0),
            tolerance=0.01,
        ),
        Claim.equal(
            "limits.horizon-power",
            source,
            "Where M = J the error is T^p r^T with p = 1 (fitted p, furthest rule)",
            1.0,
            _furthest(powers[jacobian], 1.0),
            tolerance=0.1,
        ),
        Claim.equal(
            "limits.horizon-no-power",
            source,
            "Under tBPTT(1) and RFLO it is r^T, with p = 0 (fitted p, furthest rule)",
            0.0,
            _furthest(powers[~jacobian], 0.0),
            tolerance=0.1,
        ),
        Claim.at_most(
            "limits.horizon-reached",
            source,
            f"At horizon {int(data.horizon[-1])} the update is the mode equations' (relative error, all rules)",
            1e-12,
            data.final_error[:, -1].max(),
        ),
        Claim.equal(
            "limits.sequence-order",
            "paper, appendix H",
            "The sequence loss's update approaches the final-step loss's with order −1 in T (slope)",
            -1.0,
            _furthest(sequence, -1.0),
            tolerance=0.05,
        ),
        Claim.equal(
            "limits.step-order",
            "theory, section 1",
            "Learning by steps approaches the learning flow with order 1 in the learning rate (slope)",
            1.0,
            _furthest(steps, 1.0),
            tolerance=0.05,
        ),
    ]


def draw(data: xr.Dataset) -> Figure:
    """The three errors on logarithmic axes."""
    figure, axes = new_figure(1, 3, height=3.1)
    for i, rule in enumerate(data.rule.values):
        look = rule_style(rule)
        above = data.final_error[i] > 0
        axes[0].semilogy(data.horizon[above], data.final_error[i][above], **look, label=name_of(data, rule))
        axes[1].loglog(data.horizon, data.sequence_error[i], **look)
        axes[2].loglog(data.learning_rate, data.step_error[i], **look)
    axes[0].set(xlim=(0, 140), ylim=(1e-16, 10), xlabel="horizon T (steps)", ylabel="relative error of the update")
    axes[1].set(xlabel="horizon T (steps)", title="sequence loss")
    axes[2].set(xlabel="learning rate η", ylabel="distance from the flow")
    axes[0].set_title("final-step loss")
    axes[2].set_title("finite steps")
    axes[2].set_xticks([0.001, 0.01], minor=False)
    axes[2].xaxis.set_minor_formatter("")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(data.rule))
    label_panels(axes)
    return figure


EXPERIMENT = Experiment(
    name="limits",
    title="Long sequences and small steps",
    question="How fast do finite horizons and finite learning rates approach the mode equations?",
    parameters=Parameters(),
    quick=Parameters(horizons=Parameters.horizons[:-2], learning_rates=(0.01, 0.005, 0.0025)),
    compute=compute,
    claims=claims,
    describe={
        "rule": "rule",
        "rule_name": "name of the rule",
        "horizon": "steps of a sequence [steps]",
        "learning_rate": "learning rate",
        "final_error": "error of the finite horizon's update under the final-step loss, relative",
        "sequence_error": "error of the finite horizon's update under the sequence loss, relative",
        "step_error": "distance of learning by steps from the flow, in weights",
        "expected_ratio": "largest ratio of the rule's sums",
        "propagator_is_jacobian": "whether a mode's propagator is its weight w",
    },
    figures=(
        FigureSpec(
            "limits",
            draw,
            "A: with the final-step loss the error of the update falls by a constant factor a step, down to rounding. "
            "The factor is w w* under BPTT, e-prop and tBPTT(1), but BPTT and e-prop have a factor T besides; it is ŵ "
            "w* under RFLO, here larger. B: with the sequence loss it falls like 1/T (slope −1). C: the distance of "
            "learning by steps from the learning flow is proportional to the learning rate (slope 1).",
        ),
    ),
)
