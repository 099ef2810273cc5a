"""Arguments of the builders of tasks, and tasks of one precision from NumPy's arrays."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from localgrad.checks import LARGEST_COUNT, check_count, in_words, warn_if_cut
from localgrad.rules.numbers import as_numbers, is_absent
from localgrad.tasks.linear_task import LinearTask


def make_task(dtype: Any, *matrices: Any, **named: Any) -> LinearTask:
    """A task in one precision."""
    return LinearTask(*(cast(x, dtype) for x in matrices), **{name: cast(x, dtype) for name, x in named.items()})


def cast(x: Any, dtype: Any) -> Any:
    """An array in a precision; `None` as it is."""
    return None if x is None else np.asarray(x, dtype)


def numbers(value: Any, what: str) -> np.ndarray:
    """A finite NumPy array of real numbers in float64; `ValueError` naming `what` for anything else."""
    warn_if_cut(what, value)
    number = as_numbers(value, what)
    array = np.array(np.nan) if is_absent(number) else np.asarray(number, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{what} is {str(value)[:40]}; give finite numbers")
    return array


def check_within(
    name: str, value: Any, least: float, most: float, why: str, *, or_first: bool = False, or_last: bool = False
) -> None:
    """`ValueError` that says `why`, unless `value` is one number between `least` and `most`."""
    number = numbers(value, name)
    inside = number.ndim == 0 and (
        least < number < most or (or_first and number == least) or (or_last and number == most)
    )
    if not inside:
        left, right = "[" if or_first else "(", "]" if or_last else ")"
        raise ValueError(
            f"{name} must be one number in {left}{least:g}, {most:g}{right}, since {why}; got {in_words(value)}"
        )


def whole(name: str, value: Any, most: int = LARGEST_COUNT) -> int:
    """A count as a Python number; `ValueError` unless it is a whole number from 1 to `most`."""
    check_count(name, value, most)
    return int(value)


def within(
    name: str, value: Any, least: float, most: float, why: str, *, or_first: bool = False, or_last: bool = False
) -> float:
    """A number as one of Python; `ValueError` that says `why`, unless it is known and between `least` and `most`."""
    if isinstance(value, jax.core.Tracer):
        raise ValueError(f"{name} is a value that JAX traces; give a number")
    check_within(name, value, least, most, why, or_first=or_first, or_last=or_last)
    return float(value)


def check_gain(gain: Any) -> None:
    """`ValueError` unless a gain is one finite number other than 0."""
    number = numbers(gain, "gain")
    if number.ndim or number == 0:
        raise ValueError(
            f"gain must be one finite number other than 0, or there is nothing to learn; got {in_words(gain)}"
        )
