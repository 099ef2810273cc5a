"""Who computes chunks: this process, processes of Dask on this machine, or the workers of a running Dask scheduler.

Futures, retries after the loss of a worker, work for whoever is free, and clusters that grow and shrink are Dask's.
Here only as many chunks are handed out as keep the workers busy, so that neither the scheduler nor this process ever
holds more than a few chunks a worker, however large the grid.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from localgrad.sweeps.plan import Job, Place, Result, compute
from localgrad.sweeps.provenance import FLAGS, flags_of_workers

_WINDOW = 2
"""Chunks a worker thread has at hand: one in work, one waiting."""

_PATIENCE = 10.0
"""Seconds in which a scheduler must answer."""

_LOOK = 5.0
"""Seconds between two looks at how many workers there are."""

Compute = Callable[[Iterator[Job]], Iterator[Result]]
"""Makes results of jobs, in no particular order."""


def here(jobs: Iterator[Job]) -> Iterator[Result]:
    """One chunk after another, in this process."""
    return map(compute, jobs)


@contextmanager
def local_pool(workers: int) -> Iterator[Compute]:
    """Processes on this machine, which end with this one, however it ends. They listen on the loopback only."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(_GUARD)
    from distributed import Client, LocalCluster

    settings: dict[str, Any] = {"processes": True, "silence_logs": logging.CRITICAL, "dashboard_address": None}
    # Its server of numbers takes whatever port is free: two sweeps at once must not want the same one.
    settings |= {"scheduler_kwargs": {"dashboard": False, "dashboard_address": "127.0.0.1:0"}}
    settings |= {"env": _ENVIRONMENT | {FLAGS: flags_of_workers()}, "preload": ["localgrad.sweeps.worker"]}
    cluster = None
    try:
        with _ctrl_c_waits():
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", **settings)
    except RuntimeError as error:
        raise ChildProcessError(f"the workers did not start ({error}); {_GUARD}") from None
    except KeyboardInterrupt:  # while it started
        if cluster is not None:
            cluster.close()
        raise
    with cluster, Client(cluster) as client:
        yield _Dask(client).compute


_GUARD = 'in a program of yours call lg.sweep under `if __name__ == "__main__":`, or with workers=0'


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Ctrl-C is answered after the block, by this thread; threads and processes begun in it, and theirs, never hear it.

    A worker that starts, or starts again, would else print where it was interrupted.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would else start in the block, and end it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Variables of a worker: one thread each in NumPy's libraries, since there are as many workers as cores."""


@contextmanager
def remote_pool(address: str) -> Iterator[Compute]:
    """The workers of a running scheduler, as many as it has at any time; `ValueError` where it does not answer."""
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"the scheduler {address!r} cannot be reached ({reason[:120]}); start one with `dask scheduler`, and give "
            "the address that it prints, such as tcp://127.0.0.1:8786"
        ) from None
    with client:
        yield _Dask(client).compute


class _Dask:
    """Jobs through a client of Dask, a few at a time."""

    def __init__(self, client: Any):
        self.client = client
        self.looked, self.width = -_LOOK, 1

    def compute(self, jobs: Iterator[Job]) -> Iterator[Result]:
        from distributed import as_completed

        running: dict[Any, Job] = {}
        lost: list[Job] = []
        completed = as_completed(loop=self.client.loop)
        self._hand_out(jobs, running, completed)
        for future in completed:
            job, result = running.pop(future), self._result(future)
            del future
            self._hand_out(jobs, running, completed)
            if result is None:
                lost.append(job)
            else:
                yield result
        yield from self._alone(lost)

    def _alone(self, jobs: list[Job]) -> Iterator[Result]:
        """Try again, one by one, what was lost with its worker, perhaps for another chunk's sake."""
        guilty: list[Place] = []
        for job in jobs:
            result = self._result(self.client.submit(compute, job, pure=False))
            if result is None:
                guilty.append(job.place)
            else:
                yield result
        if guilty:
            more = f" and {len(guilty) - 1} more" if len(guilty) > 1 else ""
            raise ChildProcessError(
                f"chunk {guilty[0]}{more} ended every worker that tried it, as happens where memory runs out; give a "
                "smaller chunk in the file, or fewer workers; all other chunks are stored"
            )

    def _hand_out(self, jobs: Iterator[Job], running: dict[Any, Job], completed: Any) -> None:
        if time.monotonic() - self.looked > _LOOK:
            self.width = max(1, sum(self.client.nthreads().values()))
            self.looked = time.monotonic()
        while len(running) < _WINDOW * self.width:
            job = next(jobs, None)
            if job is None:
                return
            future = self.client.submit(compute, job, pure=False, retries=1)
            running[future] = job
            completed.add(future)

    def _result(self, future: Any) -> Result | None:
        """The result; `None` where the chunk took its workers with it."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            return future.result()
        except KilledWorker:
            return None
        except (CancelledError, CommClosedError, TimeoutError):
            raise ChildProcessError("the scheduler has gone; start it again, then the same command goes on") from None
