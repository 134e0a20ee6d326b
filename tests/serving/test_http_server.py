"""The HTTP server closes connections on which no request arrives."""

from __future__ import annotations

import socket
import subprocess
import sys
from time import monotonic

HEADER_S = 0.2
SERVER = f"""
from fastapi import FastAPI
from cnncli.serving.http_server import listen, serve
from cnncli.serving.refusals import Limits
with listen("127.0.0.1", 0) as listening:
    print(listening.getsockname()[1], flush=True)
    serve(FastAPI(), listening, Limits(header_s={HEADER_S}))
"""


def test_a_silent_connection_is_closed_after_the_given_limit() -> None:
    """A connection without a request is closed after the seconds of the given limits, not those of the default."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as served:
                served.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert served.recv(1)  # the server has started
            started = monotonic()
            with socket.create_connection(("127.0.0.1", port), timeout=60) as silent:
                assert silent.recv(1) == b""
            assert HEADER_S <= monotonic() - started < 5
        finally:
            server.terminate()
