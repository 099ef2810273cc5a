r"""Linear tasks in an open loop, by their usual names; with `plants.py` the public module `localgrad.tasks`.

Each builder writes down the matrices of one `LinearTask` (`linear_task.py`):

    white_noise_teacher, coloured_teacher      a teacher network, whose input is white, or has a memory
    delay_line, integrator, oscillator         filters of the input, each a teacher of white noise by structure

Plants that hear the student's output are in `plants.py`.

Limits: linear and stationary. What is random in a task is white noise of unit variance.

Source: docs/theory.md, section 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from localgrad.checks import check_count, check_kind, in_our_arithmetic, in_words
from localgrad.models.linear import LinearRNN
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.tasks.task_arguments import check_gain, check_within, make_task, numbers


def white_noise_teacher(teacher: LinearRNN) -> LinearTask:
    r"""A teacher that hears the student's white noise: `D = W*, N = B*, Y = A*`, `x = ξ`.

    **Arguments:** `teacher`: a `LinearRNN`. **Raises:** `ValueError` for anything else.

    Source: docs/theory.md, sections 1 and 10.

    >>> white_noise_teacher(LinearRNN([[1.0]], [[0.5]], [[1.0]])).sizes
    (1, 1, 1)
    """
    check_kind("teacher", teacher, LinearRNN)
    return as_task(teacher)


@in_our_arithmetic
def coloured_teacher(teacher: LinearRNN, colour: Any) -> LinearTask:
    r"""A teacher and student whose common input has a memory.

    **Arguments:**

    - `teacher`: a `LinearRNN`.
    - `colour`: a number `c` in (−1, 1), or one an input: `x_t = c x_{t−1} + √(1 − c²) ξ_t`, of unit variance once
        stationary; 0 is white noise. Or a `LinearRNN` whose output, driven by white noise, is the input; it must be
        stable where the horizon is infinite.

    **Raises:** `ValueError` for numbers outside (−1, 1), and a filter with another number of outputs than the teacher
    has inputs.

    Source: docs/theory.md, section 10.

    >>> task = coloured_teacher(LinearRNN([[1.0]], [[0.5]], [[1.0]]), 0.75)
    >>> task.to_input.tolist(), task.sizes  # of the state (last input, teacher's state)
    ([[0.75, 0.0]], (1, 2, 1))
    """
    check_kind("teacher", teacher, LinearRNN)
    A, W, B = map(np.asarray, teacher.matrices)
    X, X0, D, N = _filter(colour, teacher.sizes[2])
    n, m = len(W), len(D)
    return make_task(
        W.dtype,
        dynamics=np.block([[D, np.zeros((m, n))], [B @ X, W]]),
        noise=np.concatenate([N, B @ X0]),
        to_input=np.concatenate([X, np.zeros((len(X), n))], axis=1),
        noise_to_input=X0,
        to_target=np.concatenate([np.zeros((len(A), m)), A], axis=1),
    )


def _filter(colour: Any, inputs: int) -> tuple[np.ndarray, ...]:
    """`X, X₀, D, N` of a filter that makes an input."""
    if isinstance(colour, LinearRNN):
        if colour.sizes[0] != inputs:
            raise ValueError(
                f"the colour is a filter with {colour.sizes[0]} outputs, but the teacher has {inputs} inputs; "
                "the two must agree"
            )
        A, W, B = map(np.asarray, colour.matrices)
        return A, np.zeros((inputs, B.shape[1])), W, B
    c = np.asarray(numbers(colour, "the colour"))
    if c.ndim > 1 or c.size not in (1, inputs) or not np.all(np.abs(c) < 1):
        raise ValueError(
            f"the colour is {str(colour)[:40]}; give a number strictly between -1 and 1, one for each of the {inputs} "
            "inputs, or a LinearRNN that makes the input of white noise"
        )
    memory = np.diag(np.broadcast_to(c, inputs))
    fresh = np.sqrt(np.eye(inputs) - memory**2)
    return memory, fresh, memory, fresh  # the state is the last input


@in_our_arithmetic
def delay_line(weights: Mapping[int, Any]) -> LinearTask:
    r"""A target made of past inputs, `y*_t = Σ_d G_d x_{t−d}`.

    **Arguments:** `weights`: `{delay: G}`; a delay is a whole number of steps, at least 1, which is the last input that
    a student can have heard; `G` is a number (times the identity of one input) or a matrix of shape `"output input"`,
    the same for all delays.

    **Returns:** a task whose state is the inputs of the last steps; by structure a teacher of white noise.

    **Raises:** `ValueError` for no delays, delays that are not whole or below 1, and shapes that differ.

    Source: Proca et al. 2025 for such tasks; docs/theory.md, section 10.

    >>> task = delay_line({1: 1.0, 3: -0.5})
    >>> task.to_target.tolist(), task.is_white_teacher
    ([[1.0, 0.0, -0.5]], True)
    """
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(
            f"weights must be a mapping such as {{1: 1.0, 4: 0.5}}, of delays to weights; got {in_words(weights)}"
        )
    for delay in weights:
        check_count("a delay", delay, 2**12)
    gains = {delay: np.atleast_2d(numbers(gain, f"the weight of delay {delay}")) for delay, gain in weights.items()}
    shapes = {gain.shape for gain in gains.values()}
    if len(shapes) > 1 or len(min(shapes)) > 2:
        raise ValueError(f"the weights have shapes {sorted(shapes)}; give all delays matrices of one shape")
    (output, inputs), longest = min(shapes), max(gains)
    absent = np.zeros((output, inputs))
    return make_task(
        jnp.result_type(float),
        dynamics=np.kron(np.eye(longest, k=-1), np.eye(inputs)),
        noise=np.eye(longest * inputs, inputs),
        to_input=None,
        noise_to_input=None,
        to_target=np.concatenate([gains.get(d, absent) for d in range(1, longest + 1)], axis=1),
    )


@in_our_arithmetic
def integrator(leak: float, *, gain: float = 1.0, channels: int = 1) -> LinearTask:
    r"""A leaky integral of the input, `y*_{t+1} = (1 − leak) y*_t + gain · x_t`, for each of several channels.

    **Arguments:** `leak`: in (0, 1], a step; 0 would integrate for ever, without a stationary state. `gain`: finite,
    not 0. `channels`: inputs, each with its output. **Raises:** `ValueError` for values outside these domains.

    Source: Bordelon et al. 2025 for such tasks; docs/theory.md, section 10.

    >>> integrator(0.25).dynamics.tolist()
    [[0.75]]
    """
    check_within("leak", leak, 0, 1, "a leak of 0 integrates for ever, and has no stationary state", or_last=True)
    check_gain(gain)
    check_count("channels", channels)
    identity = np.eye(channels)
    return make_task(jnp.result_type(float), (1 - leak) * identity, gain * identity, None, None, identity)


@in_our_arithmetic
def oscillator(period: float, decay: float, *, gain: float = 1.0) -> LinearTask:
    r"""A damped oscillator kicked by the input: `s' = decay · R(2π/period) s + (gain, 0) x`, `y* = s₁`.

    Its impulse response is `gain · decay^k cos(2πk/period)`, `k` steps after the last input.

    **Arguments:** `period`: steps, at least 2; `decay`: in (0, 1), what is left after a step; `gain`: finite, not 0.
    **Raises:** `ValueError` for values outside these domains.

    Source: Bordelon et al. 2025 for such tasks; docs/theory.md, section 10.

    >>> oscillator(4, 0.5).dynamics.round(12).tolist()
    [[0.0, -0.5], [0.5, 0.0]]
    """
    check_within("decay", decay, 0, 1, "outside, the oscillation does not die out")
    check_within("period", period, 2, np.inf, "a period is at least two steps", or_first=True)
    check_gain(gain)
    angle = 2 * np.pi / period
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return make_task(jnp.result_type(float), decay * rotation, [[gain], [0.0]], None, None, [[1.0, 0.0]])
