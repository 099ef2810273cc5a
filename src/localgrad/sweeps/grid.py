"""The runs of a part of the grid, as a kind of run sees them: columns of parameters, keys of what is drawn.

The part is a box: some values of each axis. A column is the same, entry by entry, in whatever box a run stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from localgrad.sweeps.axes import Axis
from localgrad.sweeps.draws import keys_of
from localgrad.sweeps.kinds.kind import Cells, Kind
from localgrad.sweeps.values import Distribution

_BLOCK = 2**15
"""Numbers drawn at a time: as many as stay in a core's cache."""


@dataclass(frozen=True)
class Box(Cells):
    """Runs over the product of these axes, the last one fastest; of them only those that `wanted` says, if it does.

    `run` holds the parameters that all share, values or distributions; `draws` the axes that each source is drawn anew
    for; `seed` is the sweep's.
    """

    kind: Kind
    axes: tuple[Axis, ...]
    run: Mapping[str, Any]
    draws: Mapping[str, Sequence[str]]
    seed: int
    wanted: np.ndarray | None = None
    refused: dict[int, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return tuple(map(len, self.axes))

    @cached_property
    def places(self) -> np.ndarray:
        """The place in the box, counted flat, of each run."""
        return np.arange(math.prod(self.shape)) if self.wanted is None else self.wanted

    @property
    def size(self) -> int:  # type: ignore[override]
        """How many runs there are."""
        return len(self.places)

    @cached_property
    def _indices(self) -> dict[str, np.ndarray]:
        """For each axis, which of its values each run has."""
        return dict(zip((a.name for a in self.axes), np.unravel_index(self.places, self.shape), strict=True))

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {}

    def column(self, name: str) -> np.ndarray:
        """As in `Cells`; made once."""
        if name not in self._columns:
            self._columns[name] = self._made(name)
        return self._columns[name]

    def _made(self, name: str) -> np.ndarray:
        shared = self._shared(name)
        if isinstance(shared, Distribution):
            blocks = (slice(start, start + _BLOCK) for start in range(0, self.size, _BLOCK))
            return np.concatenate([shared.draw(self._keys(name, where)) for where in blocks])
        values, index = self._levels(name, shared)
        return _as_column(values)[index]

    def levels(self, name: str) -> tuple[Any, np.ndarray]:
        """As in `Cells`."""
        shared = self._shared(name)
        if isinstance(shared, Distribution):
            return self.column(name), np.arange(self.size)
        return self._levels(name, shared)

    def _shared(self, name: str) -> Any:
        return self.run[name] if name in self.run else self.kind.parameters[name].default

    def _levels(self, name: str, shared: Any) -> tuple[Any, np.ndarray]:
        for axis in self.axes:
            if name in axis.parameters:
                own = axis.labels if axis.settings is None else [x.get(name, shared) for x in axis.settings]
                return own, self._indices[axis.name]
        return [shared], np.zeros(self.size, np.int64)

    def row(self, index: int) -> dict[str, Any]:
        """As in `Cells`."""
        return {name: self.column(name)[index] for name in self.kind.parameters}

    def keys(self, source: str) -> np.ndarray:
        """As in `Cells`."""
        return self._keys(source, slice(None))

    def _keys(self, source: str, where: slice) -> np.ndarray:
        codes = {name: self._codes[name][self._indices[name][where]] for name in self.draws.get(source, ())}
        return keys_of(self.seed, source, codes, len(self.places[where]))

    @cached_property
    def _codes(self) -> dict[str, np.ndarray]:
        """For each axis, the codes of its values."""
        return {axis.name: axis.codes for axis in self.axes}

    def refuse(self, index: int, reason: str) -> None:
        """As in `Cells`."""
        self.refused[index] = reason


def _as_column(values: Any) -> np.ndarray:
    """Floats where all are numbers, else objects; nested lists and arrays are objects, too."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return values.astype(float)
    plain = [isinstance(x, int | float | np.number) and not isinstance(x, bool) for x in values]
    if all(plain):
        return np.array(values, float)
    found = np.empty(len(values), object)
    found[:] = values if not any(plain) else [float(x) if p else x for x, p in zip(values, plain, strict=True)]
    return found
