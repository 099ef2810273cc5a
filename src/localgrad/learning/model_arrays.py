"""Models and tasks as named arrays of a file, and back: one way for all models (`models/arrays.py`).

The final weights of a network stand at the top as `A, W, B`, so that the file of a single student is itself a teacher;
those of another model under `final.`, since without its leak or its poles they would be another network.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from localgrad.models.arrays import arrays_of, axes_of, leading_axes
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.kinds import MODELS
from localgrad.models.linear import LinearRNN
from localgrad.tasks.linear_task import LinearTask
from localgrad.tasks.task_matrices import LETTERS

Arrays = dict[str, Any]


def of_model(prefix: str, model: Any) -> Arrays:
    """The arrays of a model, or of a batch, under a prefix."""
    return {prefix + name: np.asarray(x) for name, x in arrays_of(model).items()}


def of_final(model: Any) -> Arrays:
    """The final weights; of a batch of one network those of the network itself, which can be a teacher."""
    if not isinstance(model, LinearRNN):
        return of_model("final.", model)
    return of_model("", jax.tree.map(lambda x: x[0], model) if leading_axes(model) == (1,) else model)


def final_model(arrays: Arrays, kind: type, like: Any) -> Any:
    """The inverse of `of_final`; `like` has the leading axes."""
    if kind is not LinearRNN:
        return model_of(arrays, "final.", kind)
    found = model_of(arrays, "", kind)
    return jax.tree.map(lambda x, y: x if x.ndim == y.ndim else x[None], found, like)


def model_of(arrays: Arrays, prefix: str, kind: type) -> Any:
    """The model under a prefix."""
    return kind(**{name: arrays[prefix + name] for name in axes_of(kind)})


def kind_of(words: dict[str, Any]) -> type:
    """The class of a run's students; `ValueError` for one that this version does not know."""
    name = words.get("model", LinearRNN.__name__)
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(f"its students are of the kind {str(name)[:40]!r}, which this localgrad does not know")
    return MODELS[name]


def task_of(arrays: Arrays) -> LinearTask | DiagonalSSM:
    """The inverse of `updates.engines.named_arrays`."""
    if "teacher.C" in arrays:
        return model_of(arrays, "teacher.", DiagonalSSM)
    if "task.D" not in arrays:
        return LinearTask.of_teacher(model_of(arrays, "teacher.", LinearRNN))
    return LinearTask(**{name: arrays.get(f"task.{letter}") for name, letter in LETTERS.items()})
