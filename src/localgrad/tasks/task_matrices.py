"""The matrices of a linear task as they are given: kinds, shapes that fit together, noise, what is known to be 0."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from localgrad.models.linear import as_float_array

LETTERS = {
    "dynamics": "D", "noise": "N", "to_input": "X", "noise_to_input": "X₀", "to_target": "Y", "from_output": "K",
    "student_noise": "N_h",
}  # fmt: skip


def as_matrix(value: Any, name: str) -> Array:
    """A matrix, or leading axes of them; `ValueError` naming it for anything else."""
    array = as_float_array(value, f"{name} ({LETTERS[name]}) of the task")
    if array.ndim < 2:
        raise ValueError(
            f"{name} ({LETTERS[name]}) of the task has shape {array.shape}, but must be a matrix; "
            "a single number is [[number]]"
        )
    return array


def check_shapes(shapes: dict[str, tuple[int, ...]]) -> None:
    """`ValueError` that names the first two matrices whose sizes disagree, or the first without entries."""
    known: dict[str, tuple[int, str]] = {}
    for name, (rows, columns) in _AXES.items():
        if name not in shapes:
            continue
        for axis, size in zip((rows, columns), shapes[name][-2:], strict=True):
            if size == 0:
                raise ValueError(f"{name} ({LETTERS[name]}) of the task has shape {shapes[name]}; give no empty axis")
            before, where = known.setdefault(axis, (size, name))
            if before != size:
                raise ValueError(
                    f"{name} ({LETTERS[name]}, {rows} × {columns}) of the task has shape {shapes[name][-2:]}, but "
                    f"{where} ({LETTERS[where]}) says there are {before} {_PLURALS[axis]}; the two must agree"
                )


_AXES = {
    "dynamics": ("state", "state"), "noise": ("state", "noise"), "to_input": ("input", "state"),
    "noise_to_input": ("input", "noise"), "to_target": ("output", "state"), "from_output": ("state", "output"),
    "student_noise": ("hidden", "noise"),
}  # fmt: skip
_PLURALS = {"state": "state variables", "noise": "noises", "input": "inputs", "output": "outputs", "hidden": "units"}


def check_noise(matrices: dict[str, Array | None]) -> None:
    """`ValueError` where no noise reaches anything: from rest, all stays 0 for ever."""
    if all(_is_zero(matrices[name]) for name in ("noise", "noise_to_input", "student_noise")):
        if matrices["to_input"] is None and matrices["noise_to_input"] is None:
            return  # the input is the noise
        raise ValueError(
            "no noise drives this task (N, X₀ and N_h are 0), so input and target stay 0 and there is nothing to "
            "learn; give a noise that is not 0"
        )


def without_zeros(matrices: dict[str, Array | None]) -> dict[str, Array | None]:
    """With what is known to be 0, and `X = 0, X₀ = I`, as `None`."""
    found = dict(matrices)
    for name in ("from_output", "student_noise"):
        if _is_zero(found[name]):
            found[name] = None
    if found["to_input"] is None and found["noise_to_input"] is None:
        return found
    if _is_zero(found["to_input"]) and _is_identity(found["noise_to_input"]):
        found["to_input"] = found["noise_to_input"] = None
    elif _is_zero(found["to_input"]) and found["noise_to_input"] is not None:
        found["to_input"] = None
    elif _is_zero(found["noise_to_input"]):
        found["noise_to_input"] = None
    return found


def _is_zero(x: Any) -> bool:
    """Whether a matrix is absent, or known to be 0."""
    return x is None or (not isinstance(x, jax.core.Tracer) and not np.any(np.asarray(x)))


def _is_identity(x: Any) -> bool:
    if x is None or isinstance(x, jax.core.Tracer) or x.shape[-1] != x.shape[-2]:
        return False
    return bool(np.all(np.asarray(x) == np.eye(x.shape[-1])))
