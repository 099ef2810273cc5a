"""The task of a run of a network: by name, from a file, of modes, or a teacher drawn at random.

A drawn teacher is Gaussian, with the given spectral radius, and a function of its key alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field, PlainValidator, TypeAdapter, ValidationError

from localgrad.models.aligned import Mode, aligned_network
from localgrad.models.linear import LinearRNN, random_network
from localgrad.sweeps.kinds.kind import Parameter
from localgrad.sweeps.kinds.rules import text_of_arrays
from localgrad.sweeps.values import Table
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.tasks.task_files import load_task
from localgrad.tasks.teachers import load_teacher

Size = Annotated[int, Field(ge=1, le=4096)]
Recurrent = Annotated[float, Field(gt=-1, lt=1)]


class RandomTeacher(Table):
    """A Gaussian teacher, drawn: `{random = [outputs, hidden, inputs], spectral_radius = 0.9}`."""

    random: Annotated[list[Size], Field(min_length=3, max_length=3)]
    spectral_radius: Annotated[float, Field(ge=0, lt=1)] = 0.9


class Modes(Table):
    """An aligned teacher with `a* = b* = 1`: `{modes = [0.9, 0.5]}`, each mode its own unit."""

    modes: Annotated[list[Recurrent], Field(min_length=1)]


_FORMS = (
    "give the name of a task, a .toml file, a weight file, {random = [outputs, hidden, inputs], spectral_radius = 0.9} "
    "or {modes = [0.9, 0.5]}"
)
_TABLES: TypeAdapter[Any] = TypeAdapter(RandomTeacher | Modes)


def _check_task(value: Any) -> Any:
    if isinstance(value, str | LinearTask | LinearRNN):
        return value
    try:
        return _TABLES.validate_python(value)
    except ValidationError:
        raise ValueError(f"{value!r:.60} is no task; {_FORMS}") from None


class GivenTask:
    """The matrices of a task as NumPy's arrays: these keep their precision on the way to a worker, JAX's may not."""

    def __init__(self, task: LinearTask):
        self.matrices = {name: None if x is None else np.asarray(x) for name, x in vars(task).items()}

    def made(self) -> LinearTask:
        """The task, in the precision that JAX runs in."""
        return LinearTask(**self.matrices)


def _load_task(value: Any, folder: Path) -> RandomTeacher | GivenTask:
    """A task of a name, a file or modes; a random teacher stays a description until its key is known."""
    if isinstance(value, RandomTeacher):
        return value
    with jax.enable_x64(True):
        return GivenTask(_found_task(value, folder))


def _found_task(value: Any, folder: Path) -> LinearTask:
    if isinstance(value, LinearTask | LinearRNN):
        return as_task(value)
    if isinstance(value, Modes):
        ones = np.ones(len(value.modes))
        return as_task(aligned_network(Mode(ones, ones, np.array(value.modes))))
    if Path(value).suffix in ("", ".toml"):
        return load_task(value if Path(value).suffix == "" else folder / value)
    return as_task(load_teacher(folder / value))


def _text_of_task(value: Any) -> str:
    if isinstance(value, RandomTeacher):
        return f"random {value.random} {value.spectral_radius!r}"
    return text_of_arrays("task", value.matrices)


TASK_PARAMETER = Parameter(
    Annotated[Any, PlainValidator(_check_task)], "task, or teacher", "name", load=_load_task, text=_text_of_task
)
"""The parameter of a run that says what is learned."""


def task_of(row: Mapping[str, Any], keys: Mapping[str, np.uint64]) -> LinearTask:
    """The task of a run."""
    task = row["task"]
    if isinstance(task, GivenTask):
        return _made(task)
    return _random_task(*task.random, task.spectral_radius, int(keys["task"]))


@lru_cache(maxsize=16)
def _made(task: GivenTask) -> LinearTask:
    return task.made()


@lru_cache(maxsize=64)
def _random_task(output: int, hidden: int, input: int, radius: float, key: int) -> LinearTask:
    return as_task(random_network(output, hidden, input, key=jax_key(key), spectral_radius=radius))


def jax_key(key: int) -> Any:
    """A random key of JAX from 64 bits."""
    return jax.random.wrap_key_data(jnp.array([key >> 32, key & 0xFFFFFFFF], jnp.uint32))
