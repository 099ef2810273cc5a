r"""Student and task as one linear system, the *error system*.

A task `s' = D s + N ξ + K y`, `x = X s + X₀ ξ`, `y* = Y s` with noise `N_h ξ` on the student's state, and a student
`h' = W h + B x`, `y = A h`, are one system for the joint state `z = (h, s)`, whose output is the error `ε = y − y*`:

    z' = 𝐖 z + 𝐁 ξ,   ε = 𝐀 z,      𝐖 = [[W, B X], [K A, D]],   𝐁 = [B X₀ + N_h; N],   𝐀 = [A, −Y].

What a synapse on the hidden units hears is `h` itself, or `x = X s + X₀ ξ`. Where the task hears neither input nor
output of the student (`X = K = 0`, as a teacher of white noise) student and task are two systems side by side, and are
kept apart as *parts*.

A rule carries credit from the error to the hidden units, `M` on `h` alone. Through a plant, where the output comes back
as input, it carries credit on the joint state, with the network's own matrices as the rule has them and the plant's as
they are:

    𝐌 = [[M, B X], [K F, D]],   𝐅 = [F, −Y].

With `M = W`, `F = A` this is `𝐖` and `𝐀`: the gradient of the loss.

Source: docs/theory.md, section 10.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from localgrad.models.linear import LinearRNN
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.stein import is_elementwise


class ErrorSystem(NamedTuple):
    """`𝐀`, `𝐖`, `𝐁` in independent parts, of which the first begins with the student's state."""

    A: tuple[Array, ...]
    W: tuple[Array, ...]
    B: tuple[Array, ...]


class Credit(NamedTuple):
    """How a rule carries the error back: `F` and `M` on the hidden units, or on the joint state."""

    F: Array
    M: Array
    is_jacobian: bool  # whether M is known to be the first part's W, in its first rows


class Correlations(NamedTuple):
    """Of the error with the state `z` of the first part now, and of credit, `Σ_j (M^j)ᵀ Fᵀ ε_{t+j}`, with `z_{t−1}`
    and with the noise `ξ_{t−1}`.
    """

    now: Array  # "output part"
    state: Array  # "credit part"
    noise: Array  # "credit noise"


def error_system(student: LinearRNN, task: LinearTask) -> ErrorSystem:
    """The error system of a student on a task."""
    A, W, B = student.matrices
    D, N, Y = task.dynamics, task.noise, task.to_target
    X, X0, K = task.to_input, task.noise_to_input, task.from_output
    driven = B if task.hears_noise else jnp.zeros((len(W), N.shape[1]), W.dtype) if X0 is None else B @ X0
    if task.student_noise is not None:
        driven = driven + task.student_noise
    if X is None and K is None:
        return ErrorSystem((A, -Y), (W, D), (driven, N))
    heard = jnp.zeros((len(W), len(D)), W.dtype) if X is None else B @ X
    moved = jnp.zeros((len(D), len(W)), W.dtype) if K is None else K @ A
    joint = jnp.block([[W, heard], [moved, D]])
    return ErrorSystem((jnp.concatenate([A, -Y], axis=1),), (joint,), (jnp.concatenate([driven, N]),))


def credit_of(rule: Rule, student: LinearRNN, task: LinearTask) -> Credit:
    """How a rule carries the error back: on the hidden units, or through the plant of a closed loop."""
    F, M = rule.feedback(student.A), rule.propagator(student.W)
    if not passes_plant(rule, task):
        return Credit(F, M, carries_jacobian(rule, task))
    hidden, dtype = len(student.W), student.W.dtype
    own = M * jnp.eye(hidden, dtype=dtype) if is_elementwise(M) else M
    X = jnp.zeros((student.sizes[2], len(task.dynamics)), dtype) if task.to_input is None else task.to_input
    joint = jnp.block([[own, student.B @ X], [task.effect @ F, task.dynamics]])
    return Credit(jnp.concatenate([F, -task.to_target], axis=1), joint, carries_jacobian(rule, task))


def carries_jacobian(rule: Rule, task: LinearTask) -> bool:
    """Whether `M` is known to be the error system's own matrix."""
    own = rule.feedback.is_symmetric if passes_plant(rule, task) else not task.is_closed_loop
    return rule.propagator.is_jacobian and own


def passes_plant(rule: Rule, task: LinearTask) -> bool:
    """Whether a rule carries credit through the task: where it may, and the student's output comes back."""
    return rule.through_plant and task.is_closed_loop


def update_of(found: Correlations, student: LinearRNN, task: LinearTask) -> LinearRNN:
    """The weights' updates from what the credit is correlated with."""
    hidden = len(student.W)
    state, noise = found.state[:hidden], found.noise[:hidden]
    A = found.now[:, :hidden]
    if len(found.state) > hidden:  # the output moved the plant, and so later errors
        A = A + task.effect.mT @ found.state[hidden:, :hidden]
    return LinearRNN(A, state[:, :hidden], _with_input(state, noise, student, task))


def _with_input(state: Array, noise: Array, student: LinearRNN, task: LinearTask) -> Array:
    """Correlations with the input `x = X s + X₀ ξ`, from those with `(h, s)` and `ξ`."""
    if task.hears_noise:
        return noise
    B = jnp.zeros_like(student.B) if task.noise_to_input is None else noise @ task.noise_to_input.mT
    return B if task.to_input is None else B + state[:, len(student.W) :] @ task.to_input.mT
