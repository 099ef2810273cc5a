"""The process of a command: its environment, its streams, and how it ends, whatever ends it.

Settings of the environment that change what programs compute are ours (`OURS`). Those that say where and on what to
compute stay the user's; an error that they may have caused names them. Characters that the output cannot show are
replaced. SIGTERM and SIGHUP end a command as Ctrl-C does: what is unfinished is removed, workers end, and the exit
status is 128 + the signal's number.

Limit: a signal waits until compiled code returns to Python. Nothing heavy may be imported here.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

OURS = {
    "JAX_DEBUG_INFS": "0",
    "JAX_DEBUG_NANS": "0",
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
    "JAX_NUMPY_RANK_PROMOTION": "allow",
    "MPLBACKEND": "agg",
    "NUMBA_DISABLE_JIT": "0",
}
"""Variables that a notebook or a debugging session may have set, and what they must be for our commands."""

_THEIRS = ("JAX_", "MPL", "NUMBA_", "PYTHONWARNINGS", "XLA_")

_given: dict[str, str] = {}


class Ended(KeyboardInterrupt):
    """A signal that ends the process; `status` is the exit status."""

    def __init__(self, number: int):
        super().__init__(f"ended by {signal.Signals(number).name}; nothing was written")
        self.status = 128 + number


def prepare_process() -> None:
    """Make the environment, the streams and the signals of this process ours, before anything heavy is imported."""
    _given.update((name, value) for name, value in os.environ.items() if name.startswith(_THEIRS) and name not in OURS)
    os.environ.update(OURS)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where it is closed or replaced
            stream.reconfigure(errors="replace")
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP, and nohup has it ignored
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_DFL:
            signal.signal(getattr(signal, name), _end)


def _end(number: int, frame: Any) -> None:
    raise Ended(number)


def suspects() -> str:
    """The user's settings of libraries that may be behind an error: `NAME='value'`, with commas; empty for none."""
    return ", ".join(f"{name}={value!r}" for name, value in sorted(_given.items()))


def flush_output() -> None:
    """Write out what was printed; an `OSError` names the output."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


def leave(status: int) -> None:
    """Exit; after an error or an interrupt at once, since threads of JAX may still compute while Python ends."""
    try:
        flush_output()
    except OSError:
        discard_output()
        status = status or 2
    if status > 1 and "jax" in sys.modules:
        os._exit(status)
    sys.exit(status)


def discard_output() -> None:
    """Let what is still to be printed vanish, since its reader has left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
