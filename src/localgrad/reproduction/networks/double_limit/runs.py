r"""The exact runs of `experiment.py`: one problem under every rule, its exact flow, finite horizons and steps.

All steps are `θ ← θ − η Δθ`; all rules are in the form that shares one compiled program (`rules/compiled.py`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from localgrad.learning.flow import learn
from localgrad.learning.methods import Flow
from localgrad.models.linear import LinearRNN, random_network, spectral_radius
from localgrad.reproduction.axes import rule_axis
from localgrad.reproduction.networks.double_limit.figures import OVERFLOW
from localgrad.rules.compiled import in_general_form
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule
from localgrad.updates.expected import expected_loss, expected_update
from localgrad.updates.horizon import Horizon, Loss
from localgrad.updates.lags import Lags, lags_of, update_by_lags

_LARGEST = OVERFLOW
"""Growth that is written down for runs that overflow."""


@dataclass(frozen=True)
class Parameters:
    """Sizes and scales, dimensionless; times in learning time, horizons in steps.

    The flow runs for `duration`, and on to `end` where its stability is examined. `learning_rates` must divide
    `duration`; `ratios` are learning rates in units of the critical one.
    """

    hidden: int = 10
    teacher_hidden: int = 2
    teacher_radius: float = 0.7
    scale: float = 0.5
    decay: float = 0.5
    seed: int = 4
    duration: float = 8.0
    end: float = 200.0
    num_snapshots: int = 17
    horizons: tuple[int, ...] = (2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64)
    curve_horizons: tuple[int, ...] = (4, 8, 16, 24)
    learning_rates: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025, 0.0125)
    ratios: tuple[float, ...] = (0.9, 0.95, 0.98, 0.99, 1.01, 1.02, 1.05, 1.1)
    stability_steps: int = 512
    batch_sizes: tuple[int, ...] = (4, 16, 64)
    sampled_rates: tuple[float, ...] = (0.05, 0.025)
    sampled_horizon: int = 16
    num_seeds: int = 128
    num_repeats: int = 4


class Problem(NamedTuple):
    """Rules (`"rule"` axis, in the form that shares a program), the student and the teacher."""

    axis: dict[str, Any]  # its coordinates (`rule_axis`); BPTT comes first
    rules: Rule
    student: LinearRNN
    teacher: LinearRNN

    @property
    def num_rules(self) -> int:
        """How many rules."""
        return len(self.axis["rule"])


def make_problem(p: Parameters) -> Problem:
    """Random and unaligned, one input and one output; the seed is one on which every rule learns."""
    keys = jax.random.split(jax.random.key(p.seed), 3)
    teacher = random_network(1, p.teacher_hidden, 1, key=keys[0], spectral_radius=p.teacher_radius)
    student = random_network(1, p.hidden, 1, key=keys[1], scale=p.scale)
    R = jax.random.normal(keys[2], (1, p.hidden)) / np.sqrt(p.hidden)
    rules = [BPTT(), TruncatedBPTT(1), RFLO(R, p.decay), EProp(R), EProp()]
    general = stack([in_general_form(rule, 1, p.hidden) for rule in rules])
    return Problem(rule_axis(rules), general, *jax.tree.map(np.asarray, (student, teacher)))


def exact_flow(problem: Problem, p: Parameters) -> LinearRNN:
    """The networks on the way up to `duration` and at `end`, axes `"rule time"`, to about 1e-6 in weights."""
    curves = [
        learn(rule, problem.student, problem.teacher, duration=p.end, tolerance=0,
              method=Flow(rtol=1e-6, atol=1e-8),
              save_at=(*np.linspace(0, p.duration, p.num_snapshots), p.end))
        for rule in unstack(problem.rules)
    ]  # fmt: skip
    return stack([curve.snapshots for curve in curves])


# --- pieces ----------------------------------------------------------------------------------------------------------


def stack(trees: list[Any]) -> Any:
    """Trees as one, with a leading axis more; in NumPy, which compiles nothing."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def unstack(tree: Any) -> list[Any]:
    """The trees along the leading axis."""
    count = len(jax.tree.leaves(tree)[0])
    return [jax.tree.map(lambda x: x[i], tree) for i in range(count)]  # noqa: B023


def flat(networks: LinearRNN) -> np.ndarray:
    """All weights of a network in the last axis; the axes before stay."""
    return np.concatenate([np.reshape(x, (*x.shape[:-2], -1)) for x in networks.matrices], axis=-1)


def distance(networks: LinearRNN, others: LinearRNN) -> np.ndarray:
    """Distance of networks in weights; leading axes stay."""
    return np.linalg.norm(flat(networks) - flat(others), axis=-1)


@jax.jit
def _descend(
    rules: Rule, students: LinearRNN, teacher: LinearRNN, rates: Any, num_steps: Any, lags: Lags
) -> tuple[LinearRNN, Any]:
    """Each student after so many steps of its size under its rule, and its loss for an infinite horizon."""

    def update(rule: Rule, network: LinearRNN) -> LinearRNN:
        if lags.num_blocks is None:
            return expected_update(rule, network, teacher)
        # As `expected_update` does; there the horizon is a number, and every number compiled anew.
        F, M = rule.feedback(network.A), rule.propagator(network.W)
        return update_by_lags(network, teacher, F, M, rule.lags, lags)[0]

    def run(rule: Rule, student: LinearRNN, rate: Any, count: Any) -> tuple[LinearRNN, Any]:
        def step(_: Any, network: LinearRNN) -> LinearRNN:
            return jax.tree.map(lambda x, change: x - rate * change, network, update(rule, network))

        network = jax.lax.fori_loop(0, count, step, student)
        return network, expected_loss(network, teacher)

    return jax.vmap(run)(rules, students, rates, num_steps)


# --- finite horizons -------------------------------------------------------------------------------------------------


def finite_horizons(problem: Problem, flow: LinearRNN, p: Parameters) -> xr.Dataset:
    """Bias of the update on the way, relative to the update, for both losses; and of what is learned in the end."""
    rules = unstack(problem.rules)
    networks = [[jax.tree.map(lambda x: x[i, k], flow) for k in range(3)] for i in range(len(rules))]  # noqa: B023
    final, sequence = (
        np.array([[[_bias(problem, r, x, T, loss) for T in p.horizons] for x in row]
                  for r, row in zip(rules, networks, strict=True)])
        for loss in ("final", "sequence")
    )  # fmt: skip
    ratio = [[_expected_ratio(r, x, problem.teacher) for x in row] for r, row in zip(rules, networks, strict=True)]
    return xr.Dataset(
        {
            "final_bias": (("rule", "at", "horizon"), final),
            "sequence_bias": (("rule", "at", "horizon"), sequence),
            "expected_ratio": (("rule", "at"), np.array(ratio)),
            "expected_power": ("rule", [int(i == 0) for i in range(problem.num_rules)]),
            "learned_bias": (("rule", "curve_horizon"), _learned_bias(problem, p)),
        },
        {
            **problem.axis,
            "at": [0.0, p.duration, p.end],
            "horizon": list(p.horizons),
            "curve_horizon": list(p.curve_horizons),
        },
    )


def _bias(problem: Problem, rule: Rule, student: LinearRNN, horizon: int, loss: Loss) -> float:
    limit = expected_update(rule, student, problem.teacher)
    update = expected_update(rule, student, problem.teacher, horizon=horizon, loss=loss)
    return float(distance(update, limit) / np.linalg.norm(flat(limit)))


def _expected_ratio(rule: Rule, student: LinearRNN, teacher: LinearRNN) -> float:
    """`max(ρ(W), ρ(W*)) · max(ρ(W), ρ(M))`; errors at lag `i + j` meet states at lag `i` and credit at lag `j`."""
    own, theirs, carried = (spectral_radius(x) for x in (student.W, teacher.W, rule.propagator(student.W)))
    return max(own, theirs) * max(own, carried)


def _learned_bias(problem: Problem, p: Parameters) -> np.ndarray:
    """How far what is learned by time `duration` under a finite horizon lies from what it should be, relatively."""
    rate = p.learning_rates[-1]
    students, count = _repeat(problem.student, problem.num_rules), round(p.duration / rate)

    def learned(horizon: int | None) -> LinearRNN:
        return _descend_all(problem, students, rate, count, horizon)[0]

    limit = learned(None)
    size = distance(limit, students)
    return np.stack([distance(learned(T), limit) / size for T in p.curve_horizons], axis=-1)


def reach_on_the_way(problem: Problem, path: LinearRNN) -> xr.Dataset:
    """The largest of the expected ratios on the way to `duration`, for each rule."""
    rules, networks = unstack(problem.rules), unstack(path)
    largest = [
        max(_expected_ratio(rule, network, problem.teacher) for network in unstack(row)[:-1])
        for rule, row in zip(rules, networks, strict=True)
    ]
    return xr.Dataset({"largest_ratio": ("rule", largest)}, problem.axis)


def _repeat(network: LinearRNN, count: int) -> LinearRNN:
    return jax.tree.map(lambda x: np.broadcast_to(x, (count, *x.shape)), network)


def _descend_all(
    problem: Problem, students: LinearRNN, rates: Any, counts: Any, horizon: int | None = None
) -> tuple[LinearRNN, np.ndarray]:
    shape = (problem.num_rules,)
    rates, counts = np.broadcast_to(np.asarray(rates, float), shape), np.broadcast_to(np.asarray(counts, int), shape)
    lags = lags_of(Horizon(horizon), float)
    networks, losses = _descend(problem.rules, students, problem.teacher, rates, counts, lags)
    return networks, np.asarray(losses)


# --- finite steps ----------------------------------------------------------------------------------------------------


def finite_steps(problem: Problem, flow: LinearRNN, p: Parameters) -> xr.Dataset:
    """Deviation from the flow at time `duration`, and growth of a perturbation of its end about the critical rate."""
    start, flown, end = (jax.tree.map(lambda x: x[:, k], flow) for k in range(3))  # noqa: B023
    size = distance(flown, start)
    deviation = [
        distance(_descend_all(problem, start, rate, round(p.duration / rate))[0], flown) / size
        for rate in p.learning_rates
    ]
    leading = np.array([_leading_eigenvalue(r, x, problem.teacher) for r, x in zip(
        unstack(problem.rules), unstack(end), strict=True)])  # fmt: skip
    critical = 2 * leading.real / np.abs(leading) ** 2
    growth = [_growth(problem, end, ratio * critical, p) for ratio in p.ratios]
    return xr.Dataset(
        {
            "deviation": (("rule", "learning_rate"), _finite(np.stack(deviation, axis=-1))),
            "critical_rate": ("rule", critical),
            "growth": (("rule", "ratio"), np.stack(growth, axis=-1)),
        },
        {"learning_rate": list(p.learning_rates), "ratio": list(p.ratios)},
    )


def _leading_eigenvalue(rule: Rule, network: LinearRNN, teacher: LinearRNN) -> complex:
    """Of the Jacobian of `Δθ`, by central differences: the eigenvalue of largest modulus."""
    weights, rebuild = ravel_pytree(network)
    step = 1e-5

    def update(direction: Any) -> np.ndarray:
        return flat(expected_update(rule, rebuild(weights + step * direction), teacher))

    columns = [(update(e) - update(-e)) / (2 * step) for e in np.eye(len(weights))]
    values = np.linalg.eigvals(np.stack(columns, axis=-1))
    return complex(values[np.argmax(np.abs(values))])


def _growth(problem: Problem, end: LinearRNN, rates: np.ndarray, p: Parameters) -> np.ndarray:
    """Distance of a perturbed run from an unperturbed one after so many steps, relative to that at their start."""
    noise = random_network(1, p.hidden, 1, key=jax.random.key(p.seed + 1), scale=1e-8)
    moved = jax.tree.map(lambda x, dx: x + dx, end, noise)
    ends = [_descend_all(problem, start, rates, p.stability_steps)[0] for start in (end, moved)]
    return _finite(distance(*ends) / distance(end, moved))


def _finite(values: np.ndarray) -> np.ndarray:
    """The values, or the largest that is written down where a run has overflowed."""
    return np.minimum(np.nan_to_num(values, nan=_LARGEST, posinf=_LARGEST), _LARGEST)
