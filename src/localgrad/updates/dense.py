r"""The dense algorithms for every student that is a linear network in weights of its own (`models/leaky.py`).

Student `θ` is a network `(A, J, B)(θ)` with an internal part `J₀`. A rule acts on that network, with `J₀` as it is
known there, and the update comes back to `θ`. A `LinearRNN` is its own network.

Source: docs/theory.md, section 10.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array

from localgrad.models.leaky import LeakyRNN, LinearForm, linear_form
from localgrad.models.linear import LinearRNN, spectral_radius
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import as_task
from localgrad.updates.exact import exact_loss, exact_update
from localgrad.updates.existence import check_update, estimated_reach
from localgrad.updates.horizon import Horizon
from localgrad.updates.problem import check_problem, is_traced
from localgrad.updates.sampled import METHODS, Noise, Sampled, check_online
from localgrad.updates.stein import margin


def dense_update(rule: Rule, student: Any, task: Any, horizon: Horizon, method: Any = "auto") -> Any:
    """As `expected_update`."""
    own, form = on_network(rule, student)
    try:
        return form.pull_back(exact_update(own, form.network, task, horizon, method))
    except ValueError:
        _explain_leaky(student, form.network, horizon)
        raise


def dense_loss(student: Any, task: Any, horizon: Horizon) -> Array:
    """As `expected_loss`."""
    network = linear_form(student).network
    try:
        return exact_loss(network, task, horizon)
    except ValueError:
        _explain_leaky(student, network, horizon)
        raise


def check_dense_update(rule: Rule, student: Any, task: Any, horizon: Horizon) -> None:
    """Raise the `ValueError` that `expected_update` would, without computing the update (short of an overflow)."""
    own, form = on_network(rule, student)
    try:
        check_update(own, form.network, task, horizon)
    except ValueError:
        _explain_leaky(student, form.network, horizon)
        raise


def dense_reach(rule: Rule, student: Any, task: Any, task_radius: Array) -> Array:
    """The reach, in compiled programs."""
    own, form = on_network(rule, student)
    return estimated_reach(own, form.network, as_task(task), task_radius)


def check_dense_problem(student: Any, task: Any) -> None:
    """`ValueError` where the two do not fit together."""
    check_problem(linear_form(student).network, as_task(task))


def sampled_dense_update(rule: Rule, student: Any, task: Any, noise: Noise, loss: str, method: str) -> Sampled:
    """The update of a batch, and its loss, by a method of `sampled.py`."""
    own, form = on_network(rule, student)
    update, value = METHODS[method](own, form.network, as_task(task), noise, loss)
    return form.pull_back(update), value


def check_sampled_dense(rule: Rule, task: Any, horizon: int, method: str) -> None:
    """`ValueError` where the method does not serve."""
    if method == "online":
        check_online(rule, as_task(task), horizon + rule.delay)


def on_network(rule: Any, student: Any) -> tuple[Any, LinearForm]:
    """The rule as it acts on the network that a student is, and that network."""
    form = linear_form(student)
    if form.internal is None or not isinstance(rule, Rule):
        return rule, form
    return rule.with_internal(form.internal), form


def _explain_leaky(student: Any, network: LinearRNN, horizon: Horizon) -> None:
    """Raise, for a leaky network whose state Jacobian is unstable, the `ValueError` that names it as what it is."""
    if not isinstance(student, LeakyRNN) or not horizon.is_infinite or network.W.ndim > 2 or is_traced(network):
        return
    radius = spectral_radius(network.W)
    if not radius < 1 - margin(network.W):
        raise ValueError(
            f"the student's state Jacobian (1 − α) I + αW has spectral radius {radius:.6g}, but an infinite horizon "
            "needs it below 1; scale W down or give a finite horizon"
        )
