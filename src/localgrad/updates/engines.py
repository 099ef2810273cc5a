r"""Which algorithms serve a model: each kind of student has its own, and the model alone decides.

| student | algorithms |
|---|---|
| `LinearRNN`, and what has a linear form (`LeakyRNN`) | dense: Stein equations or sums lag by lag (`exact.py`) |
| `DiagonalSSM` | a pole at a time: Cauchy matrices or one sweep over lags (`diagonal.py`) |

Whatever asks for an update, exact or sampled, for a loss, their existence or their reach asks here. So a new model is
one `Engine`, and nothing that learns has a path of its own for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.linear import spectral_radius
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.updates import dense, diagonal, diagonal_existence, diagonal_sampled
from localgrad.updates.exact import silent_loss
from localgrad.updates.horizon import Horizon


@dataclass(frozen=True)
class Engine:
    """The algorithms of one kind of student.

    - `update(rule, student, task, horizon, method="auto")`, `loss(student, task, horizon)`: exact.
    - `check(rule, student, task, horizon)`: the `ValueError` that `update` would raise, without computing it.
    - `reach(rule, student, task, task_radius)`: how far sums over lags reach (`existence.py`), in compiled programs.
    - `check_problem(student, task)`: `ValueError` where they do not fit together, from shapes alone.
    - `sampled(rule, student, task, noise, loss, method)`: the update and loss of a batch of sequences.
    - `check_sampled(rule, task, horizon, method)`: `ValueError` where that method does not serve.
    """

    update: Callable[..., Any]
    loss: Callable[..., Any]
    check: Callable[..., None]
    reach: Callable[..., Array]
    check_problem: Callable[..., None]
    sampled: Callable[..., Any]
    check_sampled: Callable[..., None]


_DENSE = Engine(
    dense.dense_update,
    dense.dense_loss,
    dense.check_dense_update,
    dense.dense_reach,
    dense.check_dense_problem,
    dense.sampled_dense_update,
    dense.check_sampled_dense,
)
_ENGINES = {
    DiagonalSSM: Engine(
        diagonal.diagonal_update,
        diagonal.diagonal_loss,
        diagonal_existence.check_layer_update,
        diagonal_existence.layer_reach,
        diagonal_existence.check_layer_problem,
        diagonal_sampled.sampled_layer_update,
        diagonal_sampled.check_sampled_layer,
    )
}


def engine_of(student: Any) -> Engine:
    """The algorithms for a student; what is no model is refused by the dense ones."""
    return _ENGINES.get(type(student), _DENSE)


# --- of a task alone -------------------------------------------------------------------------------------------------


def given_task(task: Any) -> LinearTask | DiagonalSSM:
    """The task of an argument; a layer stays one, since layers learn from it by closed forms."""
    return task if isinstance(task, DiagonalSSM) else as_task(task)


def silent_loss_of(task: Any, horizon: Horizon) -> Array:
    """The loss of a student without output, whatever the task; `ValueError` where it is 0."""
    if not isinstance(task, DiagonalSSM):
        return silent_loss(as_task(task), horizon)
    silent = DiagonalSSM(jnp.zeros_like(task.C), task.poles, task.B)
    value = diagonal.diagonal_loss(silent, task, horizon)
    if not value > 0:
        raise ValueError("the teacher's output is 0, so there is nothing to learn; check C and B")
    return value


def radius_of(task: LinearTask | DiagonalSSM) -> float:
    """The spectral radius of a task that stands alone; 0 in a closed loop, where it says nothing alone."""
    if isinstance(task, DiagonalSSM):
        return float(np.abs(np.asarray(task.poles)).max())
    return 0.0 if task.is_closed_loop else spectral_radius(task.dynamics)


def named_arrays(task: LinearTask | DiagonalSSM) -> dict[str, Any]:
    """What files hold of a task: `LinearTask.named_arrays`, of a layer `teacher.C`, `teacher.poles`, `teacher.B`."""
    if not isinstance(task, DiagonalSSM):
        return task.named_arrays()
    return {f"teacher.{name}": np.asarray(x) for name, x in zip(("C", "poles", "B"), task.arrays, strict=True)}
