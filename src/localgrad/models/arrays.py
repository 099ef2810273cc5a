"""A model as its arrays: by name, each with its own axes, and before them the axes of a batch.

A model is a pytree of arrays whose annotations name the axes of one model, such as `Float[Array, "output hidden"]`. So
names, numbers of axes and precision stand in its class only; runs, checkpoints and files ask here, and need no path of
their own for each model. The first array is the readout.

Limits: every field of a model is an array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, cast, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np


def axes_of(kind: type) -> Mapping[str, tuple[str, ...]]:
    """The axes of each array of one model of a class, by the array's name.

    >>> from localgrad.models.linear import LinearRNN
    >>> axes_of(LinearRNN)["B"]
    ('hidden', 'input')
    """
    return _annotated(cast(Any, kind))


@cache
def _annotated(kind: Any) -> Mapping[str, tuple[str, ...]]:
    hints = get_type_hints(kind)
    return {field.name: tuple(hints[field.name].dim_str.split()) for field in fields(kind)}


def arrays_of(model: Any) -> dict[str, Any]:
    """The arrays of a model, or of a batch, by name."""
    return {name: getattr(model, name) for name in axes_of(type(model))}


def map_arrays(function: Callable[..., Any], *models: Any) -> Any:
    """The model whose arrays are `function(axes, *arrays)`, `axes` being how many each has of itself."""
    counts = [len(axes) for axes in axes_of(type(models[0])).values()]
    columns = zip(*(arrays_of(model).values() for model in models), strict=True)
    found = [function(count, *arrays) for count, arrays in zip(counts, columns, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(models[0]), found)


def leading_axes(model: Any) -> tuple[int, ...]:
    """The axes of a batch; `ValueError` where arrays disagree about them."""
    counts = [len(axes) for axes in axes_of(type(model)).values()]
    found = {np.shape(x)[: np.ndim(x) - n] for n, x in zip(counts, arrays_of(model).values(), strict=True)}
    if len(found) > 1:
        *names, last = axes_of(type(model))
        raise ValueError(
            f"{', '.join(names)} and {last} of the student have leading axes {sorted(found)}; a batch has one, the "
            "same for all of them"
        )
    return found.pop()


def check_one_axis(model: Any) -> tuple[int, ...]:
    """`()` of one model, `(seeds,)` of a batch; `ValueError` for more axes, and for a batch of none."""
    found = leading_axes(model)
    if len(found) > 1 or 0 in found:
        raise ValueError(f"the student has leading axes {found}; a batch has one, of at least one seed")
    return found


def as_batch(model: Any) -> Any:
    """The model as a batch of NumPy's arrays, since taking one of JAX's apart compiles a program for each piece."""
    return jax.tree.map(lambda x: np.asarray(x) if check_one_axis(model) else np.asarray(x)[None], model)


def readout_of(model: Any) -> Any:
    """The readout, complex where the model is."""
    return getattr(model, next(iter(axes_of(type(model)))))


def precision_of(*models: Any) -> Any:
    """The precision of the real numbers that models consist of."""
    dtype = np.result_type(*(x.dtype for x in jax.tree.leaves(models)))
    return np.finfo(dtype).dtype


def in_one_precision(model: Any) -> Any:
    """The model with all its numbers in the widest precision of any, as a step makes them."""
    dtype = precision_of(model)
    return model if {precision_of(x) for x in jax.tree.leaves(model)} == {dtype} else in_precision(dtype, model)


def in_precision(dtype: Any, trees: Any) -> Any:
    """Arrays in a precision, complex ones in that of their parts; plain numbers, which take any, stay."""
    wide = np.result_type(dtype, np.complex64)

    def cast(x: Any) -> Any:
        if isinstance(x, int | float):
            return x
        return jnp.asarray(x, wide if jnp.issubdtype(jnp.result_type(x), jnp.complexfloating) else dtype)

    return jax.tree.map(cast, trees)
