"""The process of a command: its environment, its streams, and how it ends, whatever ends it.

Settings of the environment that change what programs compute are ours (`OURS`). Those that say where and on what to
compute stay the user's; an error that they may have caused names them. Characters that the output cannot show are
replaced. SIGTERM and SIGHUP end a command as Ctrl-C (SIGINT) does: what is unfinished is removed, workers end, and the
exit status is 128 + the signal's number.

Limit: a signal waits until compiled code returns to Python. Nothing heavy may be imported here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib.metadata import version
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
_ended: list[Ended] = []
_settled = threading.Event()

PATIENCE = 5.0
"""Seconds after which a signal is taken to have been swallowed by a library, and is raised again."""


class Ended(KeyboardInterrupt):
    """A signal that ends the process; `status` is the exit status."""

    def __init__(self, number: int):
        what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        super().__init__(f"{what}; nothing was written")
        self.status = 128 + number


def compile_quickly(level: int) -> None:
    """Have XLA spend less on compiling, where that takes longer than computing; flags that the user has set stay.

    `level` is XLA's level of optimisation, from 0. Fusion emitters are off as well: without them programs of the CPU
    compile in half the time. Nor are programs split into parts that compile side by side, which saves another eighth.
    """
    flags = [f"--xla_backend_optimization_level={level}"]
    if version("jaxlib").startswith("0.10."):  # where tried: XLA ends a process over an unknown flag
        flags += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))


def prepare_process() -> None:
    """Make the environment, the streams and the signals of this process ours, before anything heavy is imported."""
    _given.update((name, value) for name, value in os.environ.items() if name.startswith(_THEIRS) and name not in OURS)
    os.environ.update(OURS)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where it is closed or replaced
            stream.reconfigure(errors="replace")
    for number in _signals():
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves SIGHUP, and `&` SIGINT
            signal.signal(number, _end)
    sys.unraisablehook = _end_after_all


def _signals() -> list[int]:
    """The signals that end a command; Windows has no SIGHUP."""
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def ended() -> Ended | None:
    """The signal that has come, if one has; some libraries turn it into an error of their own."""
    return _ended[0] if _ended else None


def settle() -> None:
    """The signal is being heeded: no more reminders, and another one ends the process at once."""
    _settled.set()
    for number in _signals():
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: Any) -> None:
    """Raise `Ended`, but not in the midst of an import, where compiled modules would abort the whole process."""
    if _is_loading(frame):
        _remind(number, 0.05)
        return
    _ended.append(Ended(number))
    _remind(number, PATIENCE)
    raise _ended[0]


def _is_loading(frame: Any) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _end_after_all(ignored: Any) -> None:
    """Python ignores what is raised while it collects garbage."""
    if isinstance(ignored.exc_value, Ended):
        _remind(ignored.exc_value.status - 128, 0.05)
    else:
        sys.__unraisablehook__(ignored)


def _remind(number: int, seconds: float) -> None:
    """Send the signal again, unless it is heeded by then."""
    timer = threading.Timer(seconds, _send_again, (number,))
    timer.daemon = True
    timer.start()


def _send_again(number: int) -> None:
    if _settled.is_set():
        return
    if hasattr(signal, "pthread_kill"):  # wakes the main thread where it sleeps
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


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
