"""What a worker of the local pool does as it starts: leave Ctrl-C to the process that started it, and import its work.

Dask loads this module in each worker (`preload`), before its first chunk.
"""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called by Dask with the worker that starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import localgrad.sweeps.plan  # noqa: F401
