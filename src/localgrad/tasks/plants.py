r"""Linear tasks in a closed loop: a plant hears the student's output, and the student the plant's state.

    p_{t+1} = W p_t + B y_t + noise,   input x_t = A p_t + noise

A plant is a `LinearRNN` `(A, W, B)`: what is sensed, its dynamics, what a command does. What it should be made to do is
said as a target of the output, so that the error has the size of the output, as every rule needs it.

Limits: linear, and what should be regulated must answer to a command within a step.

Source: docs/theory.md, section 10.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from localgrad.checks import check_kind, in_our_arithmetic
from localgrad.models.linear import LinearRNN
from localgrad.tasks.linear_task import LinearTask
from localgrad.tasks.task_arguments import cast, check_within, make_task, numbers


@in_our_arithmetic
def closed_loop(
    plant: LinearRNN,
    *,
    imitate: Any = None,
    regulate: Any = None,
    plant_noise: Any = 1.0,
    sensor_noise: Any = 0.0,
) -> LinearTask:
    r"""A plant that hears the student's output, and whose state is the student's input: `p' = W p + B y + noise`.

    The student hears `x = A p + noise`. Exactly one target is given:

    - `imitate`: `L`, shape `"output state"`: the output should be `L p`, that of a known controller.
    - `regulate`: `Q`, shape `"output state"`: the state should be brought to `Q p' = 0` by the next step, but for the
        noise of that step. The error `Q p'` is told in units of the command, `ε = (QB)⁻¹ Q (W p + B y)`, so the target
        of the output is `−(QB)⁻¹ Q W p`.

    **Arguments:**

    - `plant`: a `LinearRNN` `(A, W, B)`: what is sensed, the dynamics, and what a command does. For an infinite horizon
        the loop of plant and student must be stable at the start; neither needs to be so alone.
    - `plant_noise`, `sensor_noise`: standard deviations of white noise, a number or one a state variable or sensor; or
        a matrix, of shape `"state noises"` or `"sensor noises"`.

    **Raises:** `ValueError` for no target or two, shapes that do not fit, and a `QB` that cannot be inverted.

    Source: Ger & Barak 2025 for such tasks; docs/theory.md, section 10.

    >>> task = closed_loop(point_mass(damping=1.0, stiffness=1.0), regulate=[[1.0, 0.0]])
    >>> task.is_closed_loop, task.sizes
    (True, (1, 2, 2))
    """
    check_kind("plant", plant, LinearRNN)
    A, W, B = map(np.asarray, plant.matrices)
    target = _target(imitate, regulate, W, B)
    of_state = _deviations(plant_noise, len(W), "plant_noise")
    of_sensors = _deviations(sensor_noise, len(A), "sensor_noise")
    return make_task(
        W.dtype,
        dynamics=W,
        noise=np.concatenate([of_state, np.zeros((len(W), of_sensors.shape[1]))], axis=1),
        to_input=A,
        noise_to_input=np.concatenate([np.zeros((len(A), of_state.shape[1])), of_sensors], axis=1),
        to_target=target,
        from_output=B,
    )


@in_our_arithmetic
def point_mass(step: float = 0.1, *, damping: float = 0.0, stiffness: float = 0.0) -> LinearRNN:
    r"""A point mass on a spring, pushed by a force: `v' = v + step (u − damping v − stiffness p)`, `p' = p + step v'`.

    The state is `(p, v)`, position and velocity, and both are sensed. Without damping it is at the border of stability,
    and only a student that already controls it has an infinite horizon.

    **Arguments:** `step`: time a step, positive; `damping`, `stiffness`: per unit of mass, not negative.

    **Returns:** a plant for `closed_loop`, a `LinearRNN`. **Raises:** `ValueError` for values outside these domains.

    Source: the semi-implicit Euler method; Ger & Barak 2025 for this plant.

    >>> point_mass(0.5, damping=1.0, stiffness=1.0).W.tolist()
    [[0.75, 0.25], [-0.5, 0.5]]
    """
    check_within("step", step, 0, np.inf, "time runs forward")
    for name, value in (("damping", damping), ("stiffness", stiffness)):
        check_within(name, value, 0, np.inf, "a mass that drives itself runs away", or_first=True)
    velocity = np.array([-step * stiffness, 1 - step * damping])
    moved = np.stack([np.array([1.0, 0.0]) + step * velocity, velocity])
    return LinearRNN(*(cast(x, jnp.result_type(float)) for x in (np.eye(2), moved, [[step**2], [step]])))


def _target(imitate: Any, regulate: Any, W: np.ndarray, B: np.ndarray) -> np.ndarray:
    if (imitate is None) == (regulate is None):
        raise ValueError("give exactly one target: imitate (a controller) or regulate (what of the state should be 0)")
    name, given = ("imitate", imitate) if regulate is None else ("regulate", regulate)
    target, wanted = np.atleast_2d(numbers(given, name)), (B.shape[1], len(W))
    if target.shape != wanted:
        raise ValueError(f"{name} has shape {target.shape}, but must be {wanted} (commands × state variables)")
    if regulate is None:
        return target
    effect = target @ B
    if np.linalg.matrix_rank(effect) < len(effect):
        raise ValueError(
            f"a command does not change what regulate asks for within a step (QB = {effect.tolist()}); ask for another "
            "part of the state"
        )
    return -np.linalg.solve(effect, target @ W)


def _deviations(value: Any, size: int, name: str) -> np.ndarray:
    """A matrix "size noises" of standard deviations."""
    given = np.asarray(numbers(value, name))
    if given.ndim == 2 and len(given) == size:
        return given
    if given.ndim > 1 or given.size not in (1, size):
        raise ValueError(f"{name} has shape {given.shape}; give one number, {size} of them, or a matrix of {size} rows")
    return np.diag(np.broadcast_to(given, size))
