r"""The exact runs of `experiment.py` on one problem under every rule: finite horizons and finite steps.

All steps are `θ ← θ − η Δθ`.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from localgrad.models.linear import LinearRNN, random_network, spectral_radius
from localgrad.reproduction.networks.double_limit.problem import Parameters, Problem, distance, flat, stack, unstack
from localgrad.rules.rule import Rule
from localgrad.updates.expected import expected_update
from localgrad.updates.horizon import Loss

_LOSSES: tuple[Loss, ...] = ("final", "sequence")
_OVERFLOW = 1e12
"""What grows beyond this has overflowed, or is about to: it is kept as infinite."""


@partial(jax.jit, static_argnums=5)
def _descend(
    rules: Rule, students: LinearRNN, teacher: LinearRNN, rates: Any, num_steps: Any, horizon: int | None
) -> LinearRNN:
    """Each student after so many steps of its size under its rule; axes "case rule"."""

    def run(rule: Rule, student: LinearRNN, rate: Any, count: Any) -> LinearRNN:
        def step(_: Any, network: LinearRNN) -> LinearRNN:
            update = expected_update(rule, network, teacher, horizon=horizon)
            return jax.tree.map(lambda x, change: x - rate * change, network, update)

        return jax.lax.fori_loop(0, count, step, student)

    return jax.vmap(jax.vmap(run), (None, 0, 0, 0))(rules, students, rates, num_steps)


def _descend_all(
    problem: Problem, students: list[LinearRNN], rates: Any, counts: Any, horizon: int | None = None
) -> LinearRNN:
    """For every case a student a rule, after steps; `rates` and `counts` broadcast to "case rule"."""
    shape = (len(students), problem.num_rules)
    rates, counts = np.broadcast_to(np.asarray(rates, float), shape), np.broadcast_to(np.asarray(counts, int), shape)
    return _descend(problem.rules, stack(students), problem.teacher, rates, counts, horizon)


# --- finite horizons -------------------------------------------------------------------------------------------------


def finite_horizons(problem: Problem, flow: LinearRNN, p: Parameters) -> xr.Dataset:
    """Bias of the update on the way, relative to the update, for both losses; and of what is learned in the end."""
    rules = unstack(problem.rules)
    networks = [unstack(of_rule) for of_rule in unstack(flow)]
    biases = np.array([[_biases(problem, r, x, p) for x in row] for r, row in zip(rules, networks, strict=True)])
    ratio = [[_expected_ratio(r, x, problem.teacher) for x in row] for r, row in zip(rules, networks, strict=True)]
    return xr.Dataset(
        {
            "final_bias": (("rule", "at", "horizon"), biases[:, :, 0]),
            "sequence_bias": (("rule", "at", "horizon"), biases[:, :, 1]),
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


def _biases(problem: Problem, rule: Rule, student: LinearRNN, p: Parameters) -> np.ndarray:
    """Distance of finite horizons' updates from the limit, relative to it; axes "loss horizon"."""
    limit = expected_update(rule, student, problem.teacher)
    updates = [
        stack([expected_update(rule, student, problem.teacher, horizon=T, loss=loss) for T in p.horizons])
        for loss in _LOSSES
    ]
    return distance(stack(updates), limit) / np.linalg.norm(flat(limit))


def _expected_ratio(rule: Rule, student: LinearRNN, teacher: LinearRNN) -> float:
    """`max(ρ(W), ρ(W*)) · max(ρ(W), ρ(M))`; errors at lag `i + j` meet states at lag `i` and credit at lag `j`."""
    own, theirs, carried = (spectral_radius(x) for x in (student.W, teacher.W, rule.propagator(student.W)))
    return max(own, theirs) * max(own, carried)


def _learned_bias(problem: Problem, p: Parameters) -> np.ndarray:
    """How far what is learned by time `duration` under a finite horizon lies from what it should be, relatively."""
    rate = p.learning_rates[-1]
    students, count = _repeat(problem.student, problem.num_rules), round(p.duration / rate)

    def learned(horizon: int | None) -> LinearRNN:
        return _descend_all(problem, [students], rate, count, horizon)

    limit = learned(None)
    size = distance(limit, students)
    return np.concatenate([distance(learned(T), limit) / size for T in p.curve_horizons]).T


def reach_on_the_way(problem: Problem, path: LinearRNN) -> xr.Dataset:
    """The largest of the expected ratios on the way to `duration`, for each rule."""
    largest = [
        max(_expected_ratio(rule, network, problem.teacher) for network in unstack(row)[:-1])
        for rule, row in zip(unstack(problem.rules), unstack(path), strict=True)
    ]
    return xr.Dataset({"largest_ratio": ("rule", largest)}, problem.axis)


def _repeat(network: LinearRNN, count: int) -> LinearRNN:
    return jax.tree.map(lambda x: np.broadcast_to(x, (count, *x.shape)), network)


# --- finite steps ----------------------------------------------------------------------------------------------------


def finite_steps(problem: Problem, flow: LinearRNN, p: Parameters) -> xr.Dataset:
    """Deviation from the flow at time `duration`, and growth of a perturbation of its end about the critical rate."""
    start, flown, end = (jax.tree.map(lambda x: x[:, k], flow) for k in range(3))  # noqa: B023
    rates = np.array(p.learning_rates)[:, None]
    stepped = _descend_all(problem, [start] * len(rates), rates, np.rint(p.duration / rates))
    deviation = distance(stepped, flown) / distance(flown, start)
    leading = np.array([_leading_eigenvalue(r, x, problem.teacher) for r, x in zip(
        unstack(problem.rules), unstack(end), strict=True)])  # fmt: skip
    critical = 2 * leading.real / np.abs(leading) ** 2
    return xr.Dataset(
        {
            "deviation": (("rule", "learning_rate"), _or_infinite(deviation.T)),
            "critical_rate": ("rule", critical),
            "growth": (("rule", "ratio"), _growth(problem, end, critical, p)),
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


def _growth(problem: Problem, end: LinearRNN, critical: np.ndarray, p: Parameters) -> np.ndarray:
    """Distance of a perturbed run from an unperturbed one after so many steps, relative to that at their start.

    Axes "rule ratio"; infinite where a run has overflowed.
    """
    noise = random_network(1, p.hidden, 1, key=jax.random.key(problem.seed + 1), scale=1e-8)
    moved = jax.tree.map(lambda x, dx: x + dx, end, noise)
    rates = np.tile(np.outer(p.ratios, critical), (2, 1))
    ends = _descend_all(problem, [end] * len(p.ratios) + [moved] * len(p.ratios), rates, p.stability_steps)
    unmoved, perturbed = (jax.tree.map(lambda x: x[part], ends) for part in np.split(np.arange(len(rates)), 2))  # noqa: B023
    return _or_infinite((distance(unmoved, perturbed) / distance(end, moved)).T)


def _or_infinite(values: np.ndarray) -> np.ndarray:
    """The values; infinite where a run has overflowed."""
    return np.where(np.isfinite(values) & (values < _OVERFLOW), values, np.inf)
