"""What is asked of every argument, whoever takes it: its kind, a count's range, finite numbers, its precision.

Each check raises a `ValueError` of one sentence that names the value and the remedy.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox
import jax
import jaxtyping
import numpy as np

_UNKNOWN_MEMORY = 64e9  # bytes, where the system does not tell

# Counts beyond this need more memory or time than there is, whatever they count.
_LARGEST_COUNT = 2**31

_PACKAGE = os.path.dirname(__file__) + os.sep
_LIBRARIES = tuple(os.path.dirname(str(module.__file__)) + os.sep for module in (equinox, jax, jaxtyping, np))


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def in_our_arithmetic(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """A function under JAX's own rules of promotion and with whole products, whatever the user's settings.

    Libraries beneath us mix precisions; and an accelerator multiplies float32 matrices with 10 bits unless told not to.
    """

    @functools.wraps(function)
    def call(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        with jax.numpy_dtype_promotion("standard"), jax.default_matmul_precision("highest"):
            return function(*arguments, **options)

    return call


def check_kind(name: str, value: Any, kind: type) -> None:
    """`ValueError` unless `value` is one of a class."""
    if not isinstance(value, kind):
        raise ValueError(
            f"the {name} is a {type(value).__name__}, not a {kind.__name__}; the order is rule, student, teacher"
        )


def is_count(value: Any) -> bool:
    """Whether `value` is a whole number of at least 1."""
    return not isinstance(value, bool) and isinstance(value, int | np.integer) and bool(value >= 1)


def check_count(name: str, value: Any, most: int = _LARGEST_COUNT) -> None:
    """`ValueError` unless `value` is a whole number from 1 to `most`."""
    if not is_count(value):
        raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}")
    if value > most:
        raise ValueError(f"{name} must be at most {most}; got {value}")


def check_positive(name: str, value: Any) -> None:
    """`ValueError` unless `value` is one positive, finite number; what is traced passes."""
    if isinstance(value, jax.core.Tracer):
        return
    real = isinstance(value, int | float | np.number | np.ndarray | jax.Array) and not isinstance(value, bool)
    if not (real and np.ndim(value) == 0 and np.isrealobj(value) and 0 < float(value) < np.inf):
        raise ValueError(f"{name} must be a positive finite number; got {value!r}")


def check_finite(name: str, tree: Any) -> None:
    """`ValueError` where an array or number is not finite."""
    for leaf in jax.tree.leaves(tree):
        if not isinstance(leaf, jax.core.Tracer) and not np.all(np.isfinite(leaf)):
            raise ValueError(f"the {name} has an entry that is not finite; give finite numbers")


def warn_if_cut(what: str, *values: Any) -> None:
    """Warn, once a line of the user's, where float64 arrays are about to be computed in float32."""
    if jax.config.read("jax_enable_x64"):
        return
    if any(getattr(value, "dtype", None) == np.float64 for value in values):
        warnings.warn(
            f"{what} is cut from float64 to float32 because JAX runs in 32 bits; for exact results call "
            "jax.config.update('jax_enable_x64', True) first, or give float32 numbers",
            stacklevel=_level_of_caller(),
        )


def warn(message: str) -> None:
    """Warn, with the line of the user's that led here."""
    warnings.warn(message, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """The `stacklevel` of the first line outside this package, JAX, NumPy and equinox: the user's."""
    frame, level = sys._getframe(1), 0
    while frame is not None and frame.f_back is not None and _is_inside(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    return level + 1


def _is_inside(filename: str) -> bool:
    return filename.startswith((_PACKAGE, *_LIBRARIES))


def check_memory(what: str, num_bytes: float, remedy: str) -> None:
    """`ValueError` where `what`, a plural, takes more bytes than this machine has memory."""
    try:
        available: float = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        available = _UNKNOWN_MEMORY
    if num_bytes > available:
        raise ValueError(
            f"{what} take {size_in_words(num_bytes)} of memory, but there are {size_in_words(available)}; {remedy}"
        )


def size_in_words(num_bytes: float) -> str:
    """A number of bytes to read.

    >>> size_in_words(3_500_000), size_in_words(1e14)
    ('3.5 MB', '100,000 GB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= scale:
            return (
                f"{num_bytes / scale:,.3g} {unit}" if num_bytes < 1000 * scale else f"{num_bytes / scale:,.0f} {unit}"
            )
    return f"{num_bytes:,.0f} bytes"
