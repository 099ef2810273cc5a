"""Run what of a sweep is not in its store yet, and say how it goes."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from localgrad.sweeps import pool
from localgrad.sweeps.definition import Definition
from localgrad.sweeps.plan import Result, compute, make_plan
from localgrad.sweeps.provenance import FLAGS, different_versions, now, versions, versions_of_workers
from localgrad.sweeps.store import Store

Progress = Callable[[int], None]
"""Called with how many runs have just been stored."""


@dataclass(frozen=True)
class Report:
    """What a session did: chunks and runs computed, runs refused, seconds, and the work of all workers in seconds."""

    chunks: int
    runs: int
    refused: int
    seconds: float
    work: float


def run_pending(store: Store, *, workers: int | None, scheduler: str | None, progress: Progress | None) -> Report:
    """Compute the chunks that are missing, and store each as it comes."""
    pending = store.pending()
    if not pending:
        return Report(0, 0, 0, 0.0, 0.0)
    began, session, started = time.perf_counter(), secrets.token_hex(4), now()
    expected = versions_of(workers, scheduler)
    done: dict[str, Any] = {"chunks": 0, "runs": 0, "refused": 0, "work": 0.0}
    try:
        with _pool(min(workers if workers is not None else num_cores(), len(pending)), scheduler) as calculate:
            for result in calculate(store.job(place) for place in pending):
                _check_versions(result, expected, store.plan.definition.kind.uses_xla)
                store.write(result)
                _count(done, result)
                if progress is not None:
                    progress(result.runs)
    finally:
        store.note(session, started, **done)
    return Report(seconds=time.perf_counter() - began, **done)


def _count(done: dict[str, Any], result: Result) -> None:
    done["chunks"] += 1
    done["runs"] += result.runs
    done["refused"] += sum(count for count, _ in result.failures.values())
    done["work"] += result.seconds


def _pool(workers: int, scheduler: str | None) -> AbstractContextManager[pool.Compute]:
    if scheduler is not None:
        return pool.remote_pool(scheduler)
    return pool.local_pool(workers) if workers else nullcontext(pool.here)


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions_of(workers: int | None, scheduler: str | None) -> dict[str, str]:
    """The versions with which this process, or its workers, compute."""
    return versions() if workers == 0 and scheduler is None else versions_of_workers()


def _check_versions(result: Result, expected: dict[str, str], uses_xla: bool) -> None:
    """`ValueError` where a worker computed with other versions than it must: its results would mix with others."""
    given = result.versions if uses_xla else result.versions | {FLAGS: expected[FLAGS]}
    if found := different_versions(expected, given):
        raise ValueError(
            f"a worker has other versions than it must have ({found}); give it the same, or results would mix"
        )


@dataclass(frozen=True)
class Estimate:
    """How long a run takes on one core, measured on some of them, and what follows for a grid of `runs`."""

    runs: int
    chunks: int
    num_bytes: int
    seconds_a_run: float
    tried: int

    def seconds(self, workers: int) -> float:
        """The time for all runs on so many cores, if they share the work evenly."""
        return self.runs * self.seconds_a_run / workers


def estimate(definition: Definition, *, at_least: float = 0.5) -> Estimate:
    """Compute some runs from all over the grid, in this process, until they take `at_least` seconds; store nothing."""
    plan, kind = make_plan(definition), definition.kind
    count, seconds = min(kind.least_chunk, definition.size), 0.0
    while True:
        _seconds(definition, count)  # compiles
        seconds = _seconds(definition, count)
        if seconds >= at_least or count == definition.size:
            break
        count = min(definition.size, 4 * count)
    return Estimate(definition.size, plan.num_chunks, plan.num_bytes, seconds / count, count)


def _seconds(definition: Definition, count: int) -> float:
    places = np.unique(np.linspace(0, definition.size - 1, count).astype(np.int64))
    started = time.perf_counter()
    definition.kind.compute(definition.box(definition.axes, places))
    return time.perf_counter() - started


def jobs_of(definition: Definition) -> Iterator[Result]:
    """The chunks of a sweep computed here one after another and stored nowhere."""
    plan = make_plan(definition)
    return (compute(plan.job(place)) for place in plan.places())
