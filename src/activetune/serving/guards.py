"""What every local server lets in: requests of this machine that carry the run's token, and nothing else.

A server on the loopback interface can still be reached by any page that is open in a browser on the machine, and by
every user of it. So each request has to pass four gates, in this order:

1. ``Host`` names this machine: a foreign name that an attacker points at 127.0.0.1 (DNS rebinding) is refused. Any port
   will do, since a tunnel (``ssh -L``) has another one at its end.
2. ``Origin``, where a browser sends one, is the page's own: another site's script can't post.
3. The token of this run, new at each start: header ``X-Token``; for what is read also ``?token=…`` in the address, as
   pictures and the page itself are fetched without headers. What changes something needs the header, which a foreign
   page's form can't send.
4. The body is not longer than the server has any use for, and comes within a minute; it is not read before the others.
   What else comes of a refused one is thrown away: a program that still sends would get a cut connection instead of the
   reason.

Each response says that the browser may run and show what comes from this server alone (Content-Security-Policy, with
Trusted Types: no text becomes HTML), guess no type, send no address on, and be framed by nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from activetune.base.names import whole_number

HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
READING = frozenset({"GET", "HEAD"})
MAX_BODY = 32 * 2**20  # bytes
BODY_SECONDS = 60.0  # that a body has to arrive in
LINGERING_SECONDS = 5.0  # that the rest of a refused body is thrown away for
POLICY = "; ".join(
    [
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob:", "connect-src 'self'"),
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        *("require-trusted-types-for 'script'", "trusted-types lit-html"),
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def new_token() -> str:
    """A token for one run of a server: 256 random bits, as text that may stand in an address."""
    return secrets.token_urlsafe(32)


@dataclass(eq=False)
class Refusal(Exception):
    """Why a request is not let in: the status of the response, and a sentence."""

    status: int
    sentence: str


@dataclass(frozen=True)
class Guards:
    """An ASGI application behind the gates above; as Starlette's middleware: ``Middleware(Guards, token=token)``.

    Attributes:
        app: what answers the requests that are let in.
        token: of this run, see :func:`new_token`.
        open_paths: beginnings of paths that are read without the token, for files that hold no secret: the page's own
            scripts, which a browser fetches by addresses that stand in other scripts.
        max_body: bytes of a request's body.
    """

    app: ASGIApp
    token: str
    open_paths: Sequence[str] = ()
    max_body: int = MAX_BODY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # a WebSocket is closed: nothing here speaks that protocol
        guarded, arriving = _with_headers(send), _Arriving(receive)
        try:
            self._check(scope)
            body = await self._body(scope, arriving)
        except Refusal as refusal:
            await _refuse(scope, guarded, refusal, arriving)
            return
        await self.app(scope, _given_once(body, receive), guarded)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name(host) not in HOSTS:
            raise Refusal(403, f"the host {host!r} is not this machine; open http://127.0.0.1 or http://localhost")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            raise Refusal(403, f"requests from {origin!r} are not let in; open the page at its own address")
        reading = scope["method"] in READING
        if reading and any(scope["path"].startswith(beginning) for beginning in self.open_paths):
            return
        given = headers.get("x-token")
        if given is None and reading:
            given = next(iter(parse_qs(scope["query_string"].decode("latin-1")).get("token", ())), None)
        if given is None or not secrets.compare_digest(given.encode(), self.token.encode()):
            where = "X-Token, or ?token=… in the address" if reading else "X-Token"
            raise Refusal(401, f"the token is missing, or another run's; give the one that was printed: {where}")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, of which no more is kept than is allowed."""
        declared = Headers(scope=scope).get("content-length", "0")
        length = whole_number(declared)
        if length is None or length > self.max_body:
            raise self._too_long()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._received(receive)
        except TimeoutError:
            raise Refusal(
                408, f"the request did not come within {BODY_SECONDS:g} s; send it in smaller parts"
            ) from None

    async def _received(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Refusal(400, "the request was cut off")
            body += message.get("body", b"")
            if len(body) > self.max_body:
                raise self._too_long()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_long(self) -> Refusal:
        return Refusal(413, f"the request is longer than {self.max_body:,} bytes; send it in several")


@dataclass
class _Arriving:
    """A request's body as it comes.

    Attributes:
        over: whether no more of it comes.
    """

    receive: Receive
    over: bool = False

    async def __call__(self) -> Message:
        message = await self.receive()
        self.over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def throw_away(self) -> None:
        """Read what is left, for some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGERING_SECONDS):
                while not self.over:
                    await self()


def _name(host: str) -> str:
    """The name in a ``Host`` header, without the port; "" where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or "" if "@" not in host else ""
    except ValueError:
        return ""


def _given_once(body: bytes, receive: Receive) -> Receive:
    """The body that was read, as the application awaits it; then what else the server has to say."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return left.pop() if left else await receive()

    return read


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sent


async def _refuse(scope: Scope, send: Send, refusal: Refusal, arriving: _Arriving) -> None:
    """A sentence as plain text for a person's browser, otherwise as JSON: ``{"error": …}``; then the request's end."""
    by_browser = "text/html" in Headers(scope=scope).get("accept", "")
    content = (refusal.sentence if by_browser else json.dumps({"error": refusal.sentence})).encode()
    kind = "text/plain; charset=utf-8" if by_browser else "application/json"
    headers = {"content-type": kind, "content-length": str(len(content)), "connection": "close"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    shown = b"" if scope["method"] == "HEAD" else content
    await send({"type": "http.response.body", "body": shown, "more_body": True})
    await arriving.throw_away()
    await send({"type": "http.response.body", "body": b""})
