"""What stands before the service: who may ask, how much and how often, and what browsers may do.

Nothing is read before the request's host, origin, path and token are known to be right:

host      the name in Host is a loopback name with our port, so that a page of another site whose
          name was pointed at this machine (DNS rebinding) gets nothing
origin    a browser that says the request comes from another site is refused; there is no CORS
path      no NUL, no backslash, no '..', no more than 2,000 bytes
token     "Authorization: Bearer TOKEN", compared in constant time; there are no cookies, so that no
          other site can make a browser send it
rate      requests above the rate wait their turn; what would wait too long gets 429
body      at most so many bytes, within so many seconds
"""

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_to_bytes

from .audit import Audit

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PUBLIC = frozenset(
    ("/", "/live.js", "/live.css", "/plotly.js", "/openapi.json", "/api/v1/health", "/favicon.ico")
)
READS = frozenset(("GET", "HEAD"))
LONGEST_PATH = 2000
LONGEST_WAIT_S = 2.0
BODY_S = 15.0  # to send a body in
REFUSALS_PER_S = 20.0  # wrong tokens; more of them wait, as guessing does

# What a browser may do with an answer of ours: the page's own script, style and data, nothing else.
# Plotly puts an empty style element into the page and fills it by script, and sets style attributes.
POLICY = (
    "default-src 'none'; script-src 'self'; "
    "style-src-elem 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
    "style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report brings its own, stricter policy along, with the hashes of its one script and style.
REPORT_POLICY = "connect-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on. queue: jobs that may wait. workers: jobs at a time. open_reading: reading
    asks for no token."""

    body_bytes: int = 256 * 1024
    requests_per_s: float = 300.0
    queue: int = 1000
    workers: int = 1
    open_reading: bool = False


class Refused(Exception):
    """A request that goes no further: status and a sentence."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Bucket:
    """Lets so many through a second, a second's worth at once; the others wait for their turn."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._free_at = time.monotonic() - 1.0

    def wait_s(self) -> float:
        """Take a turn; the seconds until it comes. Raises Refused where that is too long."""
        now = time.monotonic()
        turn = max(self._free_at, now - 1.0) + 1.0 / self._per_s
        if turn - now > LONGEST_WAIT_S:
            raise Refused(
                429, f"more than {self._per_s:g} requests a second; try again in a second"
            )
        self._free_at = turn
        return max(0.0, turn - now)


def page_signature(token: str, name: str) -> str:
    """What a link to one page carries instead of the token, which would open everything."""
    return hmac.new(token.encode(), f"page:{name}".encode(), sha256).hexdigest()[:32]


class Guard:
    """The service behind its checks; writes everything but plain reading into the audit log."""

    def __init__(self, app: App, *, token: str, port: int, limits: Limits, audit: Audit) -> None:
        self._app, self._token, self._limits, self._audit = app, token, limits, audit
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        self._rate, self._wrong = Bucket(limits.requests_per_s), Bucket(REFUSALS_PER_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a websocket is closed unanswered
        status = 0
        policy = REPORT_POLICY if scope["path"].startswith("/pages/") else POLICY

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                more = HEADERS | {"content-security-policy": policy}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in more.items() if k.encode() not in given),
                ]
            await send(message)

        words = ""
        try:
            body = await self._admitted(scope, receive)
            await self._app(scope, _replayed(body, receive), answered)
        except Refused as refused:
            words = str(refused)
            await _refuse(refused, answered)
        if scope["method"] not in READS or words or status >= 400:
            client = scope.get("client") or ("?", 0)
            outcome = f"{status} {words}".strip()
            what = f"{scope['method']} {scope['path']}"
            self._audit.note(f"{client[0]}:{client[1]}", what, outcome)

    async def _admitted(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that may be answered; raises Refused for any other."""
        headers = _Headers(scope)
        if headers.one("host").lower() not in self._hosts:
            raise Refused(
                403, "the Host header names no loopback address with this port; use 127.0.0.1"
            )
        self._same_origin(headers)
        _check_path(scope)
        await asyncio.sleep(self._rate.wait_s())
        if not self._open(scope) and not self._knows_token(headers, scope):
            await asyncio.sleep(self._wrong.wait_s())
            raise Refused(
                401,
                "the token is missing or wrong; send 'Authorization: Bearer TOKEN' with the token that "
                "was printed when the service was started",
            )
        return await self._body(headers, receive)

    def _same_origin(self, headers: "_Headers") -> None:
        origin = headers.one("origin")
        own = {f"http://{host}" for host in self._hosts}
        site = headers.one("sec-fetch-site")
        if (origin and origin.lower() not in own) or site in ("cross-site", "same-site"):
            raise Refused(403, "the request comes from another site; open the page of the service")

    def _open(self, scope: Scope) -> bool:
        return scope["path"] in PUBLIC or (self._limits.open_reading and scope["method"] in READS)

    def _knows_token(self, headers: "_Headers", scope: Scope) -> bool:
        kind, _, given = headers.one("authorization").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), self._token):
            return True
        name = scope["path"].removeprefix("/pages/")
        if name == scope["path"] or scope["method"] not in READS:
            return False
        _, _, signature = scope["query_string"].decode("latin-1").partition("s=")
        return _same(signature, page_signature(self._token, name))

    async def _body(self, headers: "_Headers", receive: Receive) -> bytes:
        most = self._limits.body_bytes
        too_large = Refused(413, f"the body is over {most:,} bytes; nothing so large is expected")
        length = headers.one("content-length")
        if length and (not length.isdigit() or len(length) > 15 or int(length) > most):
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Refused(400, "the connection was closed before the body was whole")
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise too_large
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise Refused(408, f"the body was not sent within {BODY_S:g} s") from None


class _Headers:
    def __init__(self, scope: Scope) -> None:
        self._pairs = scope["headers"]

    def one(self, name: str) -> str:
        """The value of a header, '' where it is absent; one that stands twice is no value at all."""
        values = [value for key, value in self._pairs if key == name.encode()]
        return str(values[0].decode("latin-1")) if len(values) == 1 else ""


def _check_path(scope: Scope) -> None:
    raw = scope.get("raw_path") or scope["path"].encode()
    plain = unquote_to_bytes(raw)
    parts = plain.replace(b"\\", b"/").split(b"/")
    if len(raw) + len(scope["query_string"]) > LONGEST_PATH:
        raise Refused(414, f"the address is over {LONGEST_PATH:,} bytes")
    if not raw.startswith(b"/"):
        raise Refused(400, "the address is no path")
    if b"\0" in plain or b"\\" in plain or b".." in parts or b"//" in plain:
        raise Refused(
            400, "the path has a part that no name of ours has ('..', a backslash or NUL)"
        )


def _same(given: str, expected: str) -> bool:
    """Whether both are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), expected.encode("utf-8", "surrogateescape")
    )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, once; then whatever else comes."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return next_message


async def _refuse(refused: Refused, send: Send) -> None:
    body = json.dumps({"error": str(refused)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refused.status == 429:
        headers.append((b"retry-after", b"1"))
    if refused.status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
