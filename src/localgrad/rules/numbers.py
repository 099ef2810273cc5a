"""What a rule accepts as a number: real, finite or not, of any array type, or a symbol."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

import jax
import numpy as np

_ARRAYS = (np.ndarray, jax.Array)


def as_numbers(value: Any, what: str) -> Any:
    """A coefficient as it is kept: `None`, a Python number, an array of real floating-point numbers, or a symbol.

    Whole Python numbers stay whole, since the 1 of `M = J` shapes compiled programs; arrays of whole numbers become
    floating-point ones, which do not wrap.

    **Raises:** `ValueError` naming `what` for words, complex numbers, masked arrays and arrays of objects.
    """
    if is_absent(value) or _is_symbol(value):
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{what} is a masked array; fill in its missing entries first, with .filled(...)")
    if isinstance(value, bool | np.bool_ | int | np.integer) and np.ndim(value) == 0:
        return int(value)
    if isinstance(value, float):
        return value
    array = value if isinstance(value, _ARRAYS) else _as_array(value, what)
    if isinstance(array, np.ndarray) and array.dtype == object and all(map(_is_symbol, array.flat)):
        return array
    if array.dtype.kind == "c":
        raise ValueError(f"{what} is complex; give real numbers, such as its .real if the imaginary part is 0")
    if array.dtype.kind in "iub":
        return array.astype(float)
    if not jax.numpy.issubdtype(array.dtype, jax.numpy.floating):
        raise ValueError(f"{what} is an array of {array.dtype}; give real numbers")
    return array


def given_numbers(value: Any, what: str) -> Any:
    """As `as_numbers`; `ValueError` where there are none."""
    if is_absent(value):
        raise ValueError(f"{what} is missing; give a number or an array of numbers")
    return as_numbers(value, what)


def is_absent(value: Any) -> bool:
    """`None`, and the placeholders that JAX and equinox put in a number's place."""
    return value is None or type(value) is object or isinstance(value, jax.ShapeDtypeStruct)


def _is_symbol(value: Any) -> bool:
    """Whether it is an expression of SymPy's, told without importing SymPy."""
    return hasattr(value, "free_symbols") and hasattr(value, "subs")


def _as_array(value: Any, what: str) -> np.ndarray:
    remedy = "give a number or an array of numbers"
    if callable(value) and not is_dataclass(value):
        raise ValueError(f"{what} is a function; {remedy}, or write the function as a localgrad.Term")
    if isinstance(value, str | bytes):
        raise ValueError(f"{what} is the word {value!r}; {remedy}")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise ValueError(f"{what} is a {type(value).__name__} whose rows differ in length; {remedy}") from None
    if array.dtype.kind not in "fiubc" and not all(map(_is_symbol, array.flat)):
        raise ValueError(f"{what} is a {type(value).__name__}, {str(value)[:40]!r}; {remedy}")
    return array


def with_coefficient(coefficient: Any, symbol: str) -> str:
    """`2·A`, or the symbol alone where the coefficient is 1 or many numbers, or the number where there is no symbol."""
    number = "" if np.ndim(coefficient) > 0 or _equals(coefficient, 1) else str(coefficient)
    return "·".join(filter(None, (number, symbol))) or "1"


def is_zero(coefficient: Any) -> bool:
    """Whether a coefficient is known to be 0 throughout; what is traced or symbolic is not known."""
    if isinstance(coefficient, jax.core.Tracer) or _is_symbol(coefficient) or is_absent(coefficient):
        return False
    return bool(np.all(np.asarray(coefficient) == 0))


def _equals(coefficient: Any, number: int) -> bool:
    return not isinstance(coefficient, jax.core.Tracer) and bool(np.all(coefficient == number))
