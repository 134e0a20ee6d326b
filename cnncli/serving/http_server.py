"""uvicorn in this process, with limits of its own for connections that send nothing or send slowly."""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cnncli.errors import Message, RunError, reason_of
from cnncli.serving.local import as_host
from cnncli.serving.refusals import Limits

GRACE_S = 5
"""Seconds for open requests after Ctrl-C."""
HEADER_BYTES = 16_384
"""Maximum size of the headers of a request."""


class TimedProtocol(H11Protocol):
    """Closes connections on which no request begins for a time, however they spend it.

    uvicorn only waits for the first byte of the next request, and then for its headers without end.

    Args:
        args: Arguments of uvicorn's protocol.
        header_s: Seconds for receiving the headers of a request.
        options: Keyword arguments of uvicorn's protocol.
    """

    def __init__(self, *args: Any, header_s: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.header_s = header_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection."""
        super().connection_made(transport)
        self.loop.call_later(self.header_s, self._watch, None)

    def _watch(self, last: Any) -> None:
        """Close the connection if there was no request after the last one, and none is being answered."""
        if self.transport.is_closing():
            return
        if self.cycle is last and (last is None or last.response_complete):
            self.transport.close()
        else:
            self.loop.call_later(self.header_s, self._watch, self.cycle)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 is any that is free.

    Raises:
        RunError: The address cannot be used.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except OSError as error:
        text = f"{host}, port {port}: cannot be used ({reason_of(error)}). Choose another --port; 0 is a free one."
        raise RunError(Message("run-port-in-use", text, received=port)) from error


def address_of(listening: socket.socket) -> str:
    """Return the address of a socket as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://{as_host(host)}:{port}/"


def serve(app: ASGIApp, listening: socket.socket, limits: Limits) -> None:
    """Answer requests until a signal, whose exception is raised after open requests have been answered."""
    for name in ("uvicorn", "python_multipart"):  # a request that cannot be read is the client's problem
        logging.getLogger(name).setLevel(logging.ERROR)
    # A second Ctrl-C cancels what the first one waits for; uvicorn would report that as a failure of the application.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "CancelledError" not in record.getMessage())
    config = uvicorn.Config(
        app,
        http=partial(TimedProtocol, header_s=limits.header_s),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_graceful_shutdown=GRACE_S,
    )
    uvicorn.Server(config).run([listening])
