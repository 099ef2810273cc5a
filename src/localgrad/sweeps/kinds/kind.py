"""What a kind of run is to a sweep: the parameters it takes, what it draws, what it records, and how it is computed.

A kind is one file that defines one `Kind`, and one line of `kinds/catalogue.py`. Everything else (files, axes, chunks,
processes, the store, figures) knows kinds only by this interface.

    class Mine(Kind):
        name = "mine"
        parameters = {"decay": Parameter(float, "decay of the traces", default=0.5)}
        sources = ("student",)                                  # keys are given for these
        variables = {"loss": Variable("float64", "loss at the end", "silent loss")}

        def build(self, row): ...                               # what would fail, fails here; nothing is computed
        def compute(self, cells): return each_run(self, cells, one_run)

A run that cannot be computed is data: `compute` says so in a `ValueError` of that run, and the others go on.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter

REQUIRED: Any = object()
"""In place of a default: the parameter must be given."""


@dataclass(frozen=True)
class Parameter:
    """A number, word or object that a run takes.

    - `kind`: what Pydantic judges it by. `about`, `units`: for people. `default`: `REQUIRED` for none.
    - `load`: makes an object of what was written, given the folder of the file; e.g. a task of a file's name.
    - `text`: what tells two values apart, for keys and for resuming; by default how Python writes the value.
    """

    kind: Any
    about: str
    units: str = "1"
    default: Any = REQUIRED
    load: Callable[[Any, Path], Any] = field(default=lambda value, folder: value)
    text: Callable[[Any], str] = field(default=repr)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.kind, config=ConfigDict(strict=True, arbitrary_types_allowed=True))

    def checked(self, value: Any) -> Any:
        """The value, of the right kind; Pydantic's `ValidationError` otherwise."""
        return self._adapter.validate_python(value)


@dataclass(frozen=True)
class Variable:
    """A number that is kept of each run: its type in the store, what it is, its unit, and what stands for "not run"."""

    dtype: str
    about: str
    units: str = "1"
    fill: Any = None

    @property
    def fill_value(self) -> Any:
        """NaN for floats, −1 for whole numbers, unless another is given."""
        if self.fill is not None:
            return self.fill
        return np.nan if np.dtype(self.dtype).kind == "f" else -1


class Cells(abc.ABC):
    """The runs of a chunk, as a kind sees them: columns of parameters, and keys of what is drawn."""

    size: int

    @abc.abstractmethod
    def column(self, name: str) -> np.ndarray:
        """A parameter's value in each run: floats where all are numbers, else objects. Shape `"runs"`."""

    @abc.abstractmethod
    def levels(self, name: str) -> tuple[Any, np.ndarray]:
        """The values that a parameter has on its axis, one if all runs share it, and which of them each run has."""

    @abc.abstractmethod
    def row(self, index: int) -> dict[str, Any]:
        """All parameters of one run by name."""

    @abc.abstractmethod
    def keys(self, source: str) -> np.ndarray:
        """The 64-bit key of a source in each run, shape `"runs"`."""

    @abc.abstractmethod
    def refuse(self, index: int, reason: str) -> None:
        """Say that a run cannot be computed, and why."""


class Kind(abc.ABC):
    """A kind of run; see the module's text."""

    name: ClassVar[str]
    about: ClassVar[str]
    parameters: ClassVar[Mapping[str, Parameter]]
    sources: ClassVar[tuple[str, ...]] = ()
    variables: ClassVar[Mapping[str, Variable]]
    chunk: ClassVar[int]
    """Runs computed at a time by default: some seconds of work, and small enough for memory."""
    least_chunk: ClassVar[int] = 1
    """Runs below which the work of a chunk is mostly overhead."""
    uses_xla: ClassVar[bool] = True
    """Whether XLA's flags may change results."""
    seconds: ClassVar[float]
    """Roughly what a run takes on one core; only to say how hopeless a grid is. `--dry-run` measures."""

    @abc.abstractmethod
    def build(self, row: Mapping[str, Any]) -> None:
        """Make what a run with these parameters needs, without computing; `ValueError` where that is impossible."""

    def ignored(self, row: Mapping[str, Any]) -> set[str]:
        """The parameters that such a run leaves out; an axis of one that all runs leave out is refused."""
        return set()

    @abc.abstractmethod
    def compute(self, cells: Cells) -> dict[str, np.ndarray]:
        """The variables of all runs, each of shape `"runs"`."""


def each_run(
    kind: Kind, cells: Cells, one: Callable[[dict[str, Any], dict[str, np.uint64]], Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Compute runs one after another, from the parameters and the keys of each.

    One program call a run: what shares a call may depend, in its last bit, on what it shares it with.
    """
    found = {name: np.full(cells.size, v.fill_value, v.dtype) for name, v in kind.variables.items()}
    keys = {source: cells.keys(source) for source in kind.sources}
    for index in range(cells.size):
        try:
            values = one(cells.row(index), {source: column[index] for source, column in keys.items()})
        except ValueError as error:
            cells.refuse(index, str(error))
            continue
        for name, value in values.items():
            found[name][index] = value
    return found
