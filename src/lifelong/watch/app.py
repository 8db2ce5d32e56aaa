"""The pages over HTTP, read-only: GET alone, on this machine alone unless told otherwise, and then with a token.

What is guarded against: a page elsewhere that reads this one through a name of its own (the Host header must be an address, or
a name of this machine), scripts and addresses from outside (a Content-Security-Policy that has none), paths out of the folder
(the name of a run is looked up among those that were found, never joined to a path; links out of the folder are not followed),
and guessing the token by time.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import final
from urllib.parse import parse_qsl, quote, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.errors import RunError
from ..runs.run_status import Folder
from .page import Page, index, one, problem, two

__all__ = ["application", "run"]

TOKEN = "LIFELONG_WATCH_TOKEN"
EVERY = 1.0  # seconds between two looks
PATHS = {"all": "/", "two": "/two", "one": "/run/{name:path}"}  # of each kind of page
STATIC = {"watch.css": "text/css", "watch.js": "text/javascript", "icon.svg": "image/svg+xml"}
OWN = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# A report is one file whose style and pictures are within it; it has no scripts, and if it had, they would not run.
REPORT = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'; sandbox"
)


def application(
    folder: Folder, names: Sequence[str] = (), token: str | None = None, stopping: Callable[[], bool] = lambda: False
) -> Starlette:
    """The pages of `folder`.

    Args:
        names: by which this machine may be called, beside its addresses; empty: it answers on loopback addresses alone.
        token: without it nothing is shown; None: none is asked for.
        stopping: whether open connections are to end.
    """
    one_at_a_time = threading.Lock()
    views = [_View(folder, kind, stopping, one_at_a_time) for kind in PATHS]
    return Starlette(
        routes=[
            *(Route(PATHS[view.kind], view.show) for view in views),
            *(Route(f"/events{PATHS[view.kind]}", view.tell) for view in views),
            Route("/report/{name:path}", _report(folder)),
            Route("/static/{name}", _static()),
        ],
        exception_handlers={404: lambda request, error: _missing("There is no such page.")},
        middleware=[Middleware(_Guard, names=names, token=token)],
    )


@final
class _View:
    """A kind of page, and the events that tell an open one what has changed."""

    def __init__(self, folder: Folder, kind: str, stopping: Callable[[], bool], lock: threading.Lock) -> None:
        self.folder, self.kind, self.stopping, self.lock = folder, kind, stopping, lock

    async def show(self, request: Request) -> Response:
        page = await run_in_threadpool(self._page, request.path_params.get("name", ""), request.query_params)
        return _missing() if page is None else HTMLResponse(page.html())

    async def tell(self, request: Request) -> Response:
        name, query = request.path_params.get("name", ""), request.query_params
        if await run_in_threadpool(self._page, name, query) is None:
            return _missing()
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(self._changes(name, query), media_type="text/event-stream")

    async def _changes(self, name: str, query: QueryParams) -> AsyncIterator[str]:
        before: dict[str, str] = {}
        last = time.monotonic()
        yield "retry: 2000\n\n"
        while not self.stopping():
            page = await run_in_threadpool(self._page, name, query)
            if page is None:  # the run was removed
                return
            changed = {k: v for k, v in page.regions.items() if before.get(k) != v}
            before |= changed
            if changed:
                yield f"data: {json.dumps(changed)}\n\n"
                last = time.monotonic()
            elif time.monotonic() - last > 15:
                yield ": nothing new\n\n"
                last = time.monotonic()
            await asyncio.sleep(EVERY)

    def _page(self, name: str, query: QueryParams) -> Page | None:
        with self.lock:
            if self.kind == "all":
                return index(self.folder.runs(), str(self.folder.given))
            if self.kind == "one":
                run = self.folder.look(name)
                return None if run is None else one(run)
            there = self.folder.names()
            picked = [n for n in dict.fromkeys(query.getlist("run")) if n in there][:2]
            looked = [self.folder.look(n) for n in picked]
            return two([run for run in looked if run is not None], list(there))


def _report(folder: Folder) -> Callable[[Request], Response]:
    def report(request: Request) -> Response:
        place = folder.names().get(request.path_params["name"])
        content = None if place is None else folder.read(place / "report.html")
        if content is None:
            return _missing("There is no such report. A run that is done has one; lifelong report DIR writes it again.")
        return HTMLResponse(content, headers={"Content-Security-Policy": REPORT})

    return report


def _static() -> Callable[[Request], Response]:
    shelf = Path(__file__).parent / "static"
    files = {name: (shelf / name).read_bytes() for name in STATIC}

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        return Response(files[name], media_type=STATIC[name]) if name in files else _missing()

    return static


def _missing(text: str = "There is no such run here. It may have been removed, or renamed.") -> Response:
    return HTMLResponse(problem("Not here", text), status_code=404)


@final
class _Guard:
    """Turns away what is not for this machine or has no token, and says what browsers may do with the rest."""

    def __init__(self, app: ASGIApp, names: Sequence[str], token: str | None) -> None:
        self.app, self.names = app, {n.lower() for n in names}
        self.token = token
        self.cookie = "lifelong_watch"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, _with_headers(send))
        else:
            await refusal(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._mine(headers.getlist("host")):
            return PlainTextResponse("This is not the host that was asked for: use the address that was printed.", 421)
        if self.token is None:
            return None
        request = Request(scope)
        asked = request.query_params.get("token")
        if asked is not None and self._right(asked):
            rest = urlencode([(k, v) for k, v in parse_qsl(scope["query_string"].decode("latin-1")) if k != "token"])
            # relative to the root whatever was asked, so that //elsewhere cannot be gone to
            away = RedirectResponse("/" + quote(scope["path"].lstrip("/")) + (f"?{rest}" if rest else ""), 303)
            away.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return away
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if self._right(request.cookies.get(self.cookie, "")) or (scheme.lower() == "bearer" and self._right(bearer)):
            return None
        return PlainTextResponse("A token is needed: open the address that lifelong watch printed.", 401)

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.token or "").encode())

    def _mine(self, hosts: Sequence[str]) -> bool:
        """Whether the Host header is an address (a name elsewhere cannot be one) or a name of this machine."""
        if len(hosts) != 1:
            return False
        bare = hosts[0].lower()
        bare = bare[1:].partition("]")[0] if bare.startswith("[") else bare.partition(":")[0]
        try:
            address = ipaddress.ip_address(bare)
        except ValueError:
            return bare in self.names | {"localhost"}
        return bool(self.names) or address.is_loopback


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("Content-Security-Policy", OWN)
            headers["Cache-Control"] = "no-store"
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
            headers["Cross-Origin-Opener-Policy"] = "same-origin"
        await send(message)

    return sent


def run(folder: Path, host: str, port: int) -> None:
    """Serves until Ctrl-C."""
    watched = Folder(folder)
    try:
        alone = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        alone = False
    token = None if alone else os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    names = [] if alone else ["localhost", socket.gethostname(), socket.getfqdn(), host]
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise RunError(
            f"cannot listen on {host}, port {port}: {error}; choose another --port (0: a free one)"
        ) from error
    at = listener.getsockname()[1]
    shown = host if host not in ("0.0.0.0", "::") else socket.gethostname()
    address = f"http://[{shown}]:{at}/" if ":" in shown else f"http://{shown}:{at}/"
    print(address + (f"?token={token}" if token else ""), flush=True)
    server = uvicorn.Server(
        uvicorn.Config(
            application(watched, names, token, lambda: server.should_exit),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            limit_concurrency=100,
            timeout_graceful_shutdown=3,
        )
    )
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
