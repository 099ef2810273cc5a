"""Runs many experiments, one after another or side by side in processes.

What experiments import is imported where they run, so that the processes start at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from localgrad.reproduction import catalogue

if TYPE_CHECKING:
    from localgrad.reproduction.section import Section

# What shares compiled programs stays in one process. The longest first, or a process would be left alone with one of
# them in the end; then all others.
_GROUPS = (
    ("rank", "eprop-rank"), ("double-limit",), ("real-teachers",), ("feedback-dimension",), ("emergent-alignment",),
    ("fixed-points",), ("detours",), ("equivalence",), ("limits",),
)  # fmt: skip


def run_experiments(names: Sequence[str], *, quick: bool = False, jobs: int = 1) -> Iterator[Section]:
    """The sections of experiments as they are finished, with more than one job in no particular order.

    A failure or an interrupt ends all of them. Processes end with this one, even where it is killed.
    """
    jobs = min(jobs, len(names))
    if jobs <= 1:
        yield from (_run_by_name(name, quick) for name in names)
        return
    context = multiprocessing.get_context("spawn")  # not forked: JAX has threads
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_become_worker)
    try:
        tasks = [pool.submit(_run_group, group, quick) for group in grouped(names)]
        for task in as_completed(tasks):
            yield from task.result()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            lost = "a process was killed, as happens where memory runs out; try fewer jobs (--jobs 1)"
            raise ChildProcessError(lost) from None
        raise
    pool.shutdown()


def grouped(names: Sequence[str]) -> list[list[str]]:
    """The names in groups, in the order in which to run them."""
    known = [[name for name in group if name in names] for group in _GROUPS]
    others = [[name] for name in names if not any(name in group for group in _GROUPS)]
    return [group for group in (*known, *others) if group]


def _run_group(names: Sequence[str], quick: bool) -> list[Section]:
    return [_run_by_name(name, quick) for name in names]


def _run_by_name(name: str, quick: bool) -> Section:
    from localgrad.reproduction.runner import run_experiment

    return run_experiment(catalogue.load(name), quick=quick)


def _become_worker() -> None:
    """Leave standard output to the parent, and go quietly when it is interrupted or ends, however it ends."""
    sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent's end, of which the system tells even where the parent was killed, and end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
