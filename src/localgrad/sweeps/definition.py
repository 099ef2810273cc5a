"""A sweep as a value: what kind of run, what all runs share, what differs, what is drawn anew for which of them.

It is made by `reading.py`, which has judged every value; and it says what tells it from other sweeps, for stores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from localgrad.sweeps.axes import Axis
from localgrad.sweeps.grid import Box
from localgrad.sweeps.kinds.kind import Kind
from localgrad.sweeps.values import Distribution


@dataclass(frozen=True)
class Definition:
    """A sweep whose every value has been judged; `chunk` is the number of runs in a chunk, if it was given.

    `unused` are parameters that stand in `[run]` but that no run takes, which is no error: axes may be extended later.
    """

    kind: Kind
    title: str
    seed: int
    run: dict[str, Any]
    axes: tuple[Axis, ...]
    draws: Mapping[str, tuple[str, ...]]
    record: tuple[str, ...]
    chunk: int | None
    unused: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return tuple(map(len, self.axes))

    @property
    def size(self) -> int:
        """How many runs there are."""
        return math.prod(self.shape)

    def box(self, axes: tuple[Axis, ...], wanted: np.ndarray | None = None) -> Box:
        """The runs over parts of the axes."""
        return Box(self.kind, axes, self.run, self.draws, self.seed, wanted)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this sweep from others but for its axes' values, in JSON that reads well."""
        varied = {axis.name for axis in self.axes}  # what only some values of an axis set is shared by the others
        shared = {name: p.default for name, p in self.kind.parameters.items() if name not in varied} | self.run
        run = {name: text_of(self.kind.parameters[name], value) for name, value in sorted(shared.items())}
        found = {"kind": self.kind.name, "random_seed": self.seed, "run": run, "axes": [a.name for a in self.axes]}
        return found | {"draws": {k: list(v) for k, v in sorted(self.draws.items())}, "record": list(self.record)}


def text_of(parameter: Any, value: Any) -> str:
    """What is written of a parameter's value in a store, and tells it from others."""
    if value is None:
        return "not given"
    if isinstance(value, Distribution):
        return f"{value.name} {value.numbers}"
    return parameter.text(value)
