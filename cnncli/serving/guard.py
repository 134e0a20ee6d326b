"""Access control and request limits, checked before a request reaches the application and while its body arrives."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from time import perf_counter

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from cnncli.errors import Message, printable
from cnncli.serving.local import names_this_machine
from cnncli.serving.refusals import Limits, Refused
from cnncli.serving.server_metrics import ServerMetrics

OPEN_PATHS = frozenset({"/", "/health", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no token: the page, which has none of the run's data, and checks whether the server runs."""
COUNTED_METHODS = frozenset({"GET", "HEAD", "POST"})
"""Methods with metrics of their own. Others are counted together, since clients can invent any number of them."""
DRAIN_S = 2.0
"""Time for reading the rest of a refused body. Many programs read the answer only after they have sent everything."""


class Guard:
    """ASGI middleware that refuses requests and counts all of them.

    Args:
        app: The application.
        limits: Limits of a request.
        metrics: Where requests are counted.
        token: Token that requests must have, or None.
        hosts: Names of this machine that requests may use if only this machine reaches the server, the best one
            first, so that no page of another site can use a name of its own for this machine (DNS rebinding); None:
            any.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: ServerMetrics, token: str | None, hosts: Sequence[str] | None
    ) -> None:
        self._app, self.limits, self._metrics, self._token, self._hosts = app, limits, metrics, token, hosts
        self.buffered_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 500
        headers = Headers(scope=scope)
        body = _Body(self, receive, headers)

        async def answer(event: Event) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                if not await body.drain():
                    event = {**event, "headers": [*event["headers"], (b"connection", b"close")]}
            await send(event)

        try:
            self._check(scope, headers)
            await self._app(scope, body.receive, answer)
        except Refused as refusal:
            await self.refuse(refusal)(scope, body.receive, answer)
        except asyncio.CancelledError:  # uvicorn does not wait any longer for a request at the end
            body.give_up()
            await self.refuse(Refused(503, Message("serve-stopping", "the server is stopping.")))(
                scope, body.receive, answer
            )
        finally:
            self.buffered_bytes -= body.received
            path = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in COUNTED_METHODS else "other"
            self._metrics.requests.labels(path, method if path != "other" else "", status).inc()
            self._metrics.seconds.labels(path).observe(perf_counter() - started)

    def refuse(self, refusal: Refused) -> JSONResponse:
        """Count a refusal, and return its answer."""
        self._metrics.rejected.labels(refusal.message.code).inc()
        # A message may quote a lone surrogate, which JSON can contain and UTF-8 cannot.
        document = {"error": printable(refusal.message), "code": refusal.message.code}
        return JSONResponse(document, refusal.status, refusal.headers)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts is not None and not names_this_machine(host, self._hosts):
            text = f"the request does not name this machine; use {self._hosts[0]}."
            raise Refused(403, Message("serve-host", text, received=host))
        if origin is not None and origin.partition("://")[2] != host:
            text = "a page of another site must not use this server."
            raise Refused(403, Message("serve-origin", text, received=origin))
        if self._token is not None and scope["path"] not in OPEN_PATHS:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if not hmac.compare_digest(given.encode(), self._token.encode()) or scheme.lower() != "bearer":
                text = "the request needs the header `Authorization: Bearer TOKEN` with the server's token."
                raise Refused(401, Message("serve-token", text))


class _Body:
    """The body of a request, within the limits of size and time."""

    def __init__(self, guard: Guard, receive: Receive, headers: Headers) -> None:
        self._guard, self._receive = guard, receive
        self._deadline = asyncio.get_running_loop().time() + guard.limits.timeout_s
        length = headers.get("content-length", "0")
        self._stated = int(length) if length.isdecimal() else 0
        self._waits_for_permission = "expect" in headers
        self.received = 0
        self._is_complete = not self._stated and "transfer-encoding" not in headers

    async def receive(self) -> Event:
        """Return the next part. Raises Refused if the body is too large or too slow, or has no end."""
        limits = self._guard.limits
        if max(self._stated, self.received) > limits.body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout_at(None if self._is_complete else self._deadline):
                event = await self._receive()
        except TimeoutError:
            self.give_up()
            text = f"the request did not arrive within {limits.timeout_s:g} s."
            raise Refused(408, Message("serve-slow", text, expected=limits.timeout_s)) from None
        if event["type"] == "http.disconnect":
            raise Refused(400, Message("serve-closed", "the connection was closed before the request was complete."))
        self._take(event)
        if self.received > limits.body_bytes:
            raise self._too_large()
        if self._guard.buffered_bytes > limits.buffered_bytes:
            raise busy()
        return event

    def give_up(self) -> None:
        """Do not wait for the rest of the body any longer."""
        self._waits_for_permission = True

    async def drain(self) -> bool:
        """Read and drop the rest of the body, for a moment; return whether it is complete."""
        if not self._is_complete and not self._waits_for_permission:
            dropped = 0
            try:
                async with asyncio.timeout(DRAIN_S):
                    while not self._is_complete and dropped <= 2 * self._guard.limits.body_bytes:
                        event = await self._receive()
                        dropped += len(event.get("body", b""))
                        self._is_complete = not event.get("more_body", False)
            except TimeoutError:
                pass
        return self._is_complete

    def _take(self, event: Event) -> None:
        size = len(event.get("body", b""))
        self.received += size
        self._guard.buffered_bytes += size
        self._waits_for_permission = False
        self._is_complete = not event.get("more_body", False)

    def _too_large(self) -> Refused:
        limit, received = self._guard.limits.body_bytes, max(self._stated, self.received)
        text = f"the request has {received:,} bytes or more, and the server accepts {limit:,} (--max-mb)."
        return Refused(413, Message("serve-too-large", text, received=received, expected=limit))


def busy() -> Refused:
    """Return the refusal of a request while too many others are being answered."""
    return Refused(503, Message("serve-busy", "the server answers as many images as it can; try again in a moment."))
