r"""The problems of `experiment.py`, their exact flows, and networks in batches.

All rules are in the form that shares one compiled program (`rules/compiled.py`).

Which problems: those of the seeds 1, 2, 3, … in this order. Passed over is a problem on which the flow of some rule
diverges, since there is no learning curve then from which a finite horizon, step or batch could depart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import jax
import numpy as np

from localgrad.learning.flow import LearningCurve, learn
from localgrad.learning.methods import Flow
from localgrad.models.linear import LinearRNN, random_network
from localgrad.outcomes import Outcome
from localgrad.reproduction.axes import rule_axis
from localgrad.rules.compiled import in_general_form
from localgrad.rules.presets import EProp, paper_rules
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Parameters:
    """Sizes and scales, dimensionless; times in learning time, horizons in steps.

    The flow runs for `duration`, and on to `end` where its stability is examined. `learning_rates` must divide
    `duration`; `ratios` are learning rates in units of the critical one.
    """

    num_problems: int = 5
    hidden: int = 10
    teacher_hidden: int = 2
    teacher_radius: float = 0.7
    scale: float = 0.5
    decay: float = 0.5
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
    num_seeds: int = 64
    num_repeats: int = 4


class Problem(NamedTuple):
    """Rules (`"rule"` axis, in the form that shares a program), the student and the teacher."""

    seed: int
    axis: dict[str, Any]  # coordinates of the rules (`rule_axis`); BPTT comes first
    rules: Rule
    student: LinearRNN
    teacher: LinearRNN

    @property
    def num_rules(self) -> int:
        """How many rules."""
        return len(self.axis["rule"])


def problems_and_flows(p: Parameters) -> Iterator[tuple[Problem, LinearRNN]]:
    """The first problems on which no rule diverges, with the networks on every rule's flow (`exact_flow`)."""
    found = 0
    for seed in count(1):
        problem = make_problem(p, seed)
        curves = exact_flow(problem, p)
        if Outcome.DIVERGED not in [curve.outcome for curve in curves]:
            yield problem, stack([curve.snapshots for curve in curves])
            found += 1
        if found == p.num_problems:
            return


def make_problem(p: Parameters, seed: int) -> Problem:
    """Random and unaligned, one input and one output."""
    keys = jax.random.split(jax.random.key(seed), 3)
    teacher = random_network(1, p.teacher_hidden, 1, key=keys[0], spectral_radius=p.teacher_radius)
    student = random_network(1, p.hidden, 1, key=keys[1], scale=p.scale)
    R = jax.random.normal(keys[2], (1, p.hidden)) / np.sqrt(p.hidden)
    rules = [*paper_rules(R, p.decay), EProp(R), EProp()]
    general = stack([in_general_form(rule, 1, p.hidden) for rule in rules])
    return Problem(seed, rule_axis(rules), general, *jax.tree.map(np.asarray, (student, teacher)))


def exact_flow(problem: Problem, p: Parameters) -> list[LearningCurve]:
    """Each rule's learning curve up to `duration` and on to `end`, to about 1e-6 in weights."""
    times = (*np.linspace(0, p.duration, p.num_snapshots), p.end)
    how: dict[str, Any] = {"duration": p.end, "tolerance": 0, "method": Flow(rtol=1e-6, atol=1e-8), "save_at": times}
    return [learn(rule, problem.student, problem.teacher, **how) for rule in unstack(problem.rules)]


# --- batches of networks ---------------------------------------------------------------------------------------------


def stack(trees: list[Any]) -> Any:
    """Trees as one, with a leading axis more; in NumPy, which compiles nothing."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def unstack(tree: Any) -> list[Any]:
    """The trees along the leading axis."""
    size = len(jax.tree.leaves(tree)[0])
    return [jax.tree.map(lambda x: x[i], tree) for i in range(size)]  # noqa: B023


def flat(networks: LinearRNN) -> np.ndarray:
    """All weights of a network in the last axis; the axes before stay."""
    return np.concatenate([np.reshape(x, (*x.shape[:-2], -1)) for x in networks.matrices], axis=-1)


def distance(networks: LinearRNN, others: LinearRNN) -> np.ndarray:
    """Distance of networks in weights; leading axes broadcast."""
    return np.linalg.norm(flat(networks) - flat(others), axis=-1)
