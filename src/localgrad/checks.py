"""What is asked of every argument, whoever takes it: its kind, a count's range, finite numbers, its precision.

Each check raises a `ValueError` of one sentence that names the value and the remedy.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import equinox
import jax
import jaxtyping
import numpy as np

_UNKNOWN_MEMORY = 64e9  # bytes, where the system does not tell

# Counts beyond this need more memory or time than there is, whatever they count.
LARGEST_COUNT = 2**31

_TRACED = (
    "this needs the values of its arguments, which JAX does not know while it traces a program; call it outside jit, "
    "grad and vmap"
)
_SMALLER = "give smaller networks, batches or horizons"

_PACKAGE = os.path.dirname(__file__) + os.sep
_LIBRARIES = tuple(os.path.dirname(str(module.__file__)) + os.sep for module in (equinox, jax, jaxtyping, np))


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def in_our_arithmetic(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """A function under JAX's own rules of promotion and with whole products, whatever the user's settings.

    Libraries beneath us mix precisions; and an accelerator multiplies float32 matrices with 10 bits unless told not to.
    JAX's own errors, of values that it does not know yet and of memory, become a `ValueError` of one sentence.
    """

    @functools.wraps(function)
    def call(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        with jax.numpy_dtype_promotion("standard"), jax.default_matmul_precision("highest"):
            try:
                return function(*arguments, **options)
            except jax.errors.JAXTypeError as error:
                if _is_tracing():
                    raise ValueError(_TRACED) from error
                raise
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" in str(error):
                    reason = str(error).split("\n")[0][:150]
                    raise ValueError(f"this takes more memory than there is ({reason}); {_SMALLER}") from error
                raise

    return call


def _is_tracing() -> bool:
    """Whether JAX traces a program now, in which even what is known is traced."""
    return isinstance(jax.numpy.zeros(()), jax.core.Tracer)


def in_words(value: Any) -> str:
    """A value on one short line, for messages: as it is typed where that is short, else its kind.

    >>> in_words(0.5), in_words("x"), in_words(np.zeros(3))
    ('0.5', "'x'", 'an array of shape (3,)')
    """
    if isinstance(value, jax.core.Tracer):
        return "a value that JAX traces"
    if isinstance(value, np.ma.MaskedArray):
        return f"a masked array of shape {value.shape}"
    if isinstance(value, np.ndarray | jax.Array):
        if value.ndim > 0 or value.dtype.kind not in "biufc":
            return f"an array of shape {value.shape}"
        value = value.item()
    if not isinstance(value, str | bytes | int | float | complex | tuple | list | dict | type(None) | np.generic):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else text.splitlines()[0][:57] + "..."


def check_kind(name: str, value: Any, kind: type, remedy: str = "the order is rule, student, teacher") -> None:
    """`ValueError` unless `value` is one of a class, and if it is a model, one with units."""
    if not isinstance(value, kind) and hasattr(value, "why_not"):
        raise ValueError(value.why_not(kind.__name__))
    if not isinstance(value, kind):
        raise ValueError(f"the {name} is a {type(value).__name__}, not a {kind.__name__}; {remedy}")
    if 0 in getattr(value, "sizes", ()):
        raise ValueError(f"the {name} has no units, inputs or outputs; give one with at least one of each")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """`ValueError` unless `value` is one of some words."""
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be {_listed(known)}, got {in_words(value)}")


def _listed(words: tuple[str, ...]) -> str:
    """`'a', 'b' or 'c'`."""
    quoted = [repr(word) for word in words]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def check_flag(name: str, value: Any) -> None:
    """`ValueError` unless `value` is `True` or `False`."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {in_words(value)}")


def check_path(name: str, value: Any) -> None:
    """`ValueError` unless `value` is the name of a file or folder."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError(f"{name} must be the name of a file or folder, got {in_words(value)}")


def check_seed(name: str, value: Any) -> None:
    """`ValueError` unless `value` is a whole number of at least 0, from which NumPy draws random numbers."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"{name} must be a whole number of at least 0, got {in_words(value)}")


def is_count(value: Any) -> bool:
    """Whether `value` is a whole number of at least 1."""
    return not isinstance(value, bool) and isinstance(value, int | np.integer) and bool(value >= 1)


def check_count(name: str, value: Any, most: int = LARGEST_COUNT) -> None:
    """`ValueError` unless `value` is a whole number from 1 to `most`."""
    if not is_count(value):
        raise ValueError(f"{name} must be a whole number of at least 1; got {in_words(value)}")
    if value > most:
        raise ValueError(f"{name} must be at most {most}; got {value}")


def check_positive(name: str, value: Any) -> None:
    """`ValueError` unless `value` is one positive, finite number; what is traced passes."""
    if isinstance(value, jax.core.Tracer):
        return
    if not (is_real(value) and 0 < float(value) < np.inf):
        raise ValueError(f"{name} must be a positive finite number; got {in_words(value)}")


def check_range(name: str, value: Any, low: float, high: float, *, ends: str = "[]", remedy: str = "") -> None:
    """`ValueError` where a number, or one of an array, lies outside an interval; what is traced passes.

    `ends`: a bracket for each end, `"[]"` with both, `"(]"` without the lower one.
    """
    if isinstance(value, jax.core.Tracer):
        return
    given = np.asarray(value)
    above = given > low if ends[0] == "(" else given >= low
    below = given < high if ends[1] == ")" else given <= high
    if not np.all(above & below):
        worst = given[~(above & below)].ravel()[0]
        raise ValueError(f"{name} must lie in {ends[0]}{low:g}, {high:g}{ends[1]}; got {worst:g}{remedy}")


def is_real(value: Any) -> bool:
    """Whether `value` is one real number, and no truth value."""
    if isinstance(value, bool | np.ma.MaskedArray):
        return False
    if isinstance(value, int | float):
        return True
    return isinstance(value, np.number | np.ndarray | jax.Array) and value.ndim == 0 and value.dtype.kind in "fiu"


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
