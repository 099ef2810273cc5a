"""`lg.explore`: the explorer from Python; `serve` starts it, for the command line too.

The server runs in a thread of its own, on this machine's own address unless told otherwise, until it is closed or the
program ends.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import webbrowser
from typing import Any
from urllib.parse import urlencode

from localgrad.checks import check_flag, in_our_arithmetic, in_words
from localgrad.explorer.state import State, read_state
from localgrad.models.aligned import Mode
from localgrad.modes.arguments import as_mode, as_scalar, as_single_rule
from localgrad.rules.rule import Rule

PORT = 7171
"""The port taken where none is given, if it is free."""

LOOPBACK = "127.0.0.1"


class Explorer:
    """An explorer that runs: `url` is its address, `close()` ends it. In a notebook it shows itself."""

    def __init__(self, host: str, port: int | None, state: State):
        from uvicorn import Config, Server

        from localgrad.explorer.server import make_app

        self._socket = _bind(host, port)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://{LOOPBACK if host == '0.0.0.0' else _bracketed(host)}:{self.port}/{link(state)}"
        names = {f"{name}:{self.port}" for name in (LOOPBACK, "localhost", "[::1]")}
        app = make_app(names if is_loopback(host) else None)
        config = Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ws="websockets-sansio",
            ws_max_size=2**16,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        self._server = Server(config)
        self._thread = threading.Thread(target=self._run, name="localgrad-explorer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def close(self) -> None:
        """End the server."""
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()

    def wait(self) -> None:
        """Until the server ends, or a signal comes."""
        while self._thread.is_alive():
            self._thread.join(0.2)

    def open_browser(self) -> bool:
        """Show it in the browser of this machine; whether there is one."""
        needs_display = sys.platform not in ("win32", "darwin")
        if needs_display and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            return False
        try:
            return webbrowser.open(self.url)
        except Exception:  # whatever a browser's own starter does
            return False

    def __repr__(self) -> str:
        return f"Explorer at {self.url} (close() ends it)"

    def _repr_html_(self) -> str:
        return f'<iframe src="{self.url}" width="100%" height="820" style="border:0"></iframe>'


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    return host in (LOOPBACK, "localhost", "::1")


def link(state: State) -> str:
    """The part of an address behind `#` that restores a state: what differs from the defaults."""
    changed = state.model_dump(exclude_defaults=True)
    return f"#{urlencode(changed, safe=',')}" if changed else ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bind(host: str, port: int | None) -> socket.socket:
    """A socket that listens; where no port is asked for and the usual one is taken, on any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in (PORT, 0) if port is None else (port,):
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
        try:
            found.bind((host, candidate))
            found.listen(128)  # from here on a page that comes early waits
            return found
        except OSError as error:
            found.close()
            if port is not None or candidate == 0 or error.errno != errno.EADDRINUSE:
                raise ValueError(_why(host, candidate, error)) from None
    raise AssertionError


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; give another, or none to take one that is free"
    if error.errno == errno.EACCES:
        return f"port {port} is for the system's own services; give one from 1024 to 65535"
    return f"the server cannot listen at {host} ({error.strerror or error}); leave the host out for this machine"


def serve(state: State, *, host: str = LOOPBACK, port: int | None = None) -> Explorer:
    """An explorer that runs; `ValueError` where its port cannot be had."""
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65536):
        raise ValueError(f"port must be a whole number from 0 to 65535, got {in_words(port)}; 0 takes any that is free")
    return Explorer(host, port, state)


@in_our_arithmetic
def explore(
    rule: Rule | None = None, teacher: Mode | None = None, *, port: int | None = None, browser: bool = True
) -> Explorer:
    """Open the explorer in the browser: basins, paths and rates that follow a slider.

    In a notebook, the value of a cell shows it there; give `browser=False`.

    **Arguments:** `rule`: where the sliders stand at first, a rule between symmetric and fixed feedback, and between
    the Jacobian and a decay, of scalars, at most 7 lags and a delay of 5; `teacher`: a `Mode` of scalars; both
    dimensionless. `port`: of this machine, by default 7171 or any free one. `browser`: whether to open it there.

    **Returns:** an `Explorer`, with its `url`; `close()` ends it, and so does the end of the program.

    **Raises:** `ValueError` for a rule or teacher that the sliders cannot show, and for a port that cannot be had;
    `ModuleNotFoundError` without the extra `explore`.

    Source: none; what is computed is that of `basins`, `integrate_modes` and `spectrum`.

    >>> from localgrad import BPTT
    >>> shown = explore(BPTT(), port=0, browser=False)
    >>> shown.url.partition("#")[2]
    'feedback_share=0.0&propagator_share=0.0'
    >>> shown.close()
    """
    check_flag("browser", browser)
    values = ({} if rule is None else _places(rule)) | ({} if teacher is None else _numbers(teacher))
    shown = serve(read_state(values), port=port)
    if browser and not shown.open_browser():
        print(f"There is no browser here to open; open {shown.url} yourself.")
    return shown


def _numbers(teacher: Mode) -> dict[str, Any]:
    return {
        f"teacher_{x}": as_scalar(v, f"teacher {x}") for x, v in zip("abw", as_mode(teacher, "teacher"), strict=True)
    }


def _places(rule: Rule) -> dict[str, Any]:
    """The sliders' positions for a rule."""
    rule = as_single_rule(rule)
    phi0, phi1, mu0, mu1 = (as_scalar(x, "the rule's number") for x in rule.require_affine("the explorer"))
    places: dict[str, Any] = {"feedback_share": 1 - phi1, "propagator_share": 1 - mu1, "lags": rule.lags or 0}
    places["delay"] = rule.delay
    for name, what, value in (("feedback", "feedback", phi0), ("decay", "propagator", mu0)):
        share = places[f"{what}_share"]
        if share == 0 and value != 0:
            raise ValueError(
                f"the rule's {what} is that of BPTT plus {value:g}, which no slider shows; give a blend of the two"
            )
        if share != 0:
            places[name] = value / share
    return places
