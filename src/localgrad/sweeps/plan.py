"""The work of a sweep in chunks: boxes of the grid of runs, each computed at a time, from nothing but its job.

A chunk covers the last axes whole, as far as its number of runs allows, and a stretch of the one before. Results do not
depend on the cut (`draws.py`, `kinds/kind.py`).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from localgrad.sweeps.codec import decode, encode
from localgrad.sweeps.definition import Definition
from localgrad.sweeps.grid import Box
from localgrad.sweeps.kinds.kind import Variable
from localgrad.sweeps.provenance import versions

NOT_RUN, RAN, REFUSED = 0, 1, 2
STATUS = Variable("int8", f"{NOT_RUN} not run yet, {RAN} ran, {REFUSED} could not be computed", "code", NOT_RUN)
"""The variable that every store has."""

Place = tuple[int, ...]
"""Which chunk: its number along each axis."""

_CHUNKS = 64
"""Chunks that a sweep has at least, if they are worth their overhead: what is lost by an interrupt is one."""


@dataclass(frozen=True)
class Job:
    """All that a worker needs to compute a chunk.

    `shape`: of a whole chunk, of which the box is the part inside the grid; `variables`: what is recorded; `before`: of
    a chunk that was computed when the axes were shorter, its files, and `covered`, how much of the box they have.
    """

    place: Place
    box: Box
    shape: tuple[int, ...]
    variables: Mapping[str, Variable]
    before: Mapping[str, bytes] | None = None
    covered: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Result:
    """A chunk computed: the bytes of its files by variable, why runs were refused, and how it came about.

    `failures`: by reason, how many runs and the place in the box of the first.
    """

    place: Place
    files: dict[str, bytes]
    extent: tuple[int, ...]
    runs: int
    failures: dict[str, tuple[int, list[int]]]
    versions: dict[str, str]
    seconds: float


def compute(job: Job) -> Result:
    """Compute a chunk. The result is a function of the job alone, on the same machine and versions."""
    started = time.perf_counter()
    box = _missing(job)
    values = box.kind.compute(box)
    status = np.full(box.size, RAN, STATUS.dtype)
    status[list(box.refused)] = REFUSED
    files = {
        name: encode(_filled(job, name, variable, box, status if name == "status" else values[name]), variable)
        for name, variable in job.variables.items()
    }
    return Result(
        job.place, files, box.shape, box.size, _failures(box), versions(), time.perf_counter() - started
    )  # fmt: skip


def _missing(job: Job) -> Box:
    """The runs of a job that its files of before do not have."""
    if job.covered is None:
        return job.box
    new = np.ones(job.box.shape, bool)
    new[tuple(map(slice, job.covered))] = False
    box = job.box
    return Box(box.kind, box.axes, box.run, box.draws, box.seed, np.flatnonzero(new))


def _filled(job: Job, name: str, variable: Variable, box: Box, values: np.ndarray) -> np.ndarray:
    """A whole chunk: what was there before, what is new, and beyond the grid what stands for "not run"."""
    if box.size == math.prod(job.shape):
        return values.reshape(job.shape)
    if job.before is None:
        chunk = np.full(job.shape, variable.fill_value, variable.dtype)
    else:
        chunk = np.array(decode(job.before[name], job.shape, variable))
    inside = chunk[tuple(map(slice, box.shape))]
    own = np.array(inside).ravel()
    own[box.places] = values
    inside[...] = own.reshape(box.shape)
    return chunk


def _failures(box: Box) -> dict[str, tuple[int, list[int]]]:
    found: dict[str, tuple[int, list[int]]] = {}
    for index, reason in sorted(box.refused.items()):
        count, first = found.get(reason, (0, [int(i) for i in np.unravel_index(box.places[index], box.shape)]))
        found[reason] = (count + 1, first)
    return found


@dataclass(frozen=True)
class Plan:
    """A definition and the shape of its chunks."""

    definition: Definition
    chunk: tuple[int, ...]

    @property
    def variables(self) -> dict[str, Variable]:
        """What is recorded; the status of the runs comes last."""
        return {name: self.definition.kind.variables[name] for name in self.definition.record} | {"status": STATUS}

    @property
    def grid(self) -> tuple[int, ...]:
        """How many chunks there are along each axis."""
        return tuple(-(-size // step) for size, step in zip(self.definition.shape, self.chunk, strict=True))

    @property
    def num_chunks(self) -> int:
        """How many chunks there are."""
        return math.prod(self.grid)

    def places(self) -> Iterator[Place]:
        """All chunks."""
        return itertools.product(*map(range, self.grid))

    def extent(self, place: Place) -> tuple[int, ...]:
        """How many values of each axis the chunk has inside the grid."""
        sizes = zip(place, self.chunk, self.definition.shape, strict=True)
        return tuple(min(step, size - at * step) for at, step, size in sizes)

    def job(self, place: Place, before: Mapping[str, bytes] | None = None, covered: Any = None) -> Job:
        """The job of a chunk."""
        axes = zip(self.definition.axes, place, self.chunk, strict=True)
        box = self.definition.box(tuple(axis.part(slice(at * step, (at + 1) * step)) for axis, at, step in axes))
        return Job(place, box, self.chunk, self.variables, before, covered)

    @property
    def num_bytes(self) -> int:
        """What all variables take before they are packed."""
        return self.definition.size * sum(np.dtype(v.dtype).itemsize for v in self.variables.values())


def make_plan(definition: Definition, chunk: tuple[int, ...] | None = None) -> Plan:
    """A plan with these chunks, or with as large ones as the definition says or its kind of run does best with."""
    if chunk is not None:
        return Plan(definition, chunk)
    kind = definition.kind
    usual = max(kind.least_chunk, min(kind.chunk, definition.size // _CHUNKS), 1)
    return Plan(definition, chunk_shape(definition.shape, definition.chunk or usual))


def chunk_shape(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """The shape of chunks of at most so many runs.

    >>> chunk_shape((4, 11, 2000), 10_000), chunk_shape((4, 11, 2000), 500)
    ((1, 5, 2000), (1, 1, 500))
    """
    found: list[int] = []
    for size in reversed(shape):
        found.insert(0, max(1, min(size, most)))
        most //= found[0]
    return tuple(found)
