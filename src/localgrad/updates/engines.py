r"""Which algorithms serve a model: each kind of student has its own, and the model alone decides.

| student | algorithms |
|---|---|
| `LinearRNN`, and what has a linear form (`LeakyRNN`) | dense: Stein equations or sums lag by lag (`exact.py`) |
| `DiagonalSSM` | a pole at a time: Cauchy matrices or one sweep over lags (`diagonal.py`) |

Whatever asks for an update, a loss or their existence asks here, so that a new model is one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.leaky import linear_form
from localgrad.rules.rule import Rule
from localgrad.updates import diagonal, exact
from localgrad.updates.horizon import Horizon


@dataclass(frozen=True)
class Engine:
    """The algorithms of one kind of student.

    `update(rule, student, task, horizon, method)`, `loss(student, task, horizon)`.
    """

    update: Callable[..., Any]
    loss: Callable[..., Any]


def _dense_update(rule: Rule, student: Any, task: Any, horizon: Horizon, method: Any = "auto") -> Any:
    network, internal, pull_back = linear_form(student)
    own = rule if internal is None or not isinstance(rule, Rule) else rule.with_internal(internal)
    return pull_back(exact.exact_update(own, network, task, horizon, method))


def _dense_loss(student: Any, task: Any, horizon: Horizon) -> Any:
    return exact.exact_loss(linear_form(student).network, task, horizon)


_DENSE = Engine(_dense_update, _dense_loss)
_ENGINES = {DiagonalSSM: Engine(diagonal.diagonal_update, diagonal.diagonal_loss)}


def engine_of(student: Any) -> Engine:
    """The algorithms for a student; what is no model is refused by the dense ones."""
    return _ENGINES.get(type(student), _DENSE)
