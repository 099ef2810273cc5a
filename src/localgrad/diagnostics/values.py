r"""Networks as checked NumPy values, and quotients that have an answer where there is nothing to divide.

Diagnostics look at finished numbers: networks of any leading axes (snapshots, seeds), in float64. A direction is
`v/‖v‖`, and a zero vector has none: here its direction is 0, so that its cosine with anything is 0, not NaN.
"""

from typing import Any

import numpy as np

from localgrad.checks import check_kind, in_words
from localgrad.models.linear import LinearRNN
from localgrad.rules.numbers import as_numbers, is_absent


def matrices_of(network: Any, who: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(A, W, B)` as finite float64 arrays; `ValueError` naming `who` otherwise."""
    check_kind(who, network, LinearRNN, "use LinearRNN(A, W, B)")
    A, W, B = (_finite(x, f"the {who}'s {letter}") for letter, x in zip("AWB", network.matrices, strict=True))
    return A, W, B


def feedback_of(feedback: Any, shape: tuple[int, int]) -> np.ndarray:
    """A feedback as finite float64 values whose last two axes have the given shape (output, hidden)."""
    R = _finite(feedback, "the feedback")
    if R.shape[-2:] != shape:
        raise ValueError(
            f"feedback has shape {R.shape}, but its last two axes must have that of A, {shape} (output × hidden)"
        )
    return R


def check_leading_axes(**arrays: np.ndarray | None) -> None:
    """Raise `ValueError` where the axes before the last two do not broadcast against each other."""
    shapes = {name: x.shape[:-2] for name, x in arrays.items() if x is not None}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"leading axes do not broadcast against each other: {listed}; give them one shape") from None


def _finite(value: Any, name: str) -> np.ndarray:
    number = as_numbers(value, name)
    if is_absent(number):
        raise ValueError(f"{name} is {in_words(value)}; give an array of numbers")
    values = np.asarray(number, dtype=np.float64)
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name} has an entry that is not finite; give finite numbers")
    return values


def quotient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`x/y`, and 0 where `y = 0`."""
    return np.divide(x, y, out=np.zeros(np.broadcast_shapes(x.shape, y.shape)), where=y != 0)


def unit(v: np.ndarray) -> np.ndarray:
    """`v/‖v‖` along the last axis; 0 stays 0. Its largest entry is divided out first: no square under- or overflows."""
    scaled = quotient(v, np.abs(v).max(axis=-1, keepdims=True))
    return quotient(scaled, np.linalg.norm(scaled, axis=-1, keepdims=True))


def cosine(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """`u·v/(‖u‖‖v‖)` along the last axis, in [−1, 1]; 0 where either is 0."""
    return np.clip(np.sum(unit(u) * unit(v), axis=-1), -1, 1)
