"""The server: a page, what it is made of, and a socket to draw it with; all on this machine.

Who may come in: pages and sockets are served to the names of this machine only (`Host`), and sockets to pages of this
server only (`Origin`), so that no other site can drive it, not even by giving its own name the address of this machine.
The page may load nothing from anywhere else (a content security policy). The server writes no files, and reads those
of the folder `static` when it starts, no others.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from localgrad.explorer.session import Session
from localgrad.explorer.state import PLANES, describe_fields, describe_presets
from localgrad.explorer.stories import describe_stories
from localgrad.explorer.views.mode_space import LEVELS, palette
from localgrad.explorer.views.paths import look
from localgrad.figures.looks import OUTCOME_COLORS, OUTCOME_KINDS, PALETTE

STATIC = Path(__file__).with_name("static")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MOST_PAGES = 64
"""Sockets open at once; more are refused."""


def describe() -> dict[str, Any]:
    """What the page must know to make itself: fields, rules, colours."""
    rules = [preset | look(preset["key"]) for preset in describe_presets()]
    return {
        "fields": describe_fields(),
        "planes": PLANES,
        "rules": rules,
        "outcomes": [{"name": n, "color": c} for n, c in zip(OUTCOME_KINDS, OUTCOME_COLORS, strict=True)],
        "palette": palette().ravel().tolist(),
        "levels": LEVELS,
        "colors": PALETTE,
        "stories": describe_stories(),
    }


def policy(host: str) -> str:
    """The content security policy of a page served under this name: nothing from anywhere else."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            f"connect-src 'self' ws://{host}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*",  # a notebook's cell
        ]
    )


def make_app(hosts: set[str] | None) -> Starlette:
    """The application. `hosts`: the names with ports that it answers to; `None` for any (on every interface)."""
    files = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in _TYPES}
    files["spec.json"] = json.dumps(describe()).encode()
    pool = ThreadPoolExecutor(4, "localgrad-explorer")
    open_pages: set[Session] = set()

    def is_known(host: str) -> bool:
        return host in hosts if hosts is not None else bool(host)

    async def page(request: Request) -> Response:
        host = request.headers.get("host", "")
        if not is_known(host):
            return PlainTextResponse("This server answers to the names of its own machine only.", 421)
        name = request.path_params.get("name", "index.html")
        if name not in files:
            return PlainTextResponse("There is no such page.", 404)
        kind = _TYPES.get(Path(name).suffix, "application/json")
        return Response(files[name], media_type=kind, headers=_headers(host))

    async def socket(websocket: WebSocket) -> None:
        host, origin = (websocket.headers.get(key, "") for key in ("host", "origin"))
        if not is_known(host) or origin != f"http://{host}" or len(open_pages) >= MOST_PAGES:
            await websocket.close(1008)  # before it is accepted: the answer is 403
            return
        await websocket.accept()
        session = Session(websocket.send_bytes, pool)
        open_pages.add(session)
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await session.take(message.get("text"))
        except (WebSocketDisconnect, RuntimeError):
            return
        finally:
            open_pages.discard(session)
            await session.close()

    routes = [Route("/", page), WebSocketRoute("/socket", socket), Route("/{name}", page)]
    return Starlette(routes=routes)


def _headers(host: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": policy(host),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
