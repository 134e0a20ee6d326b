"""Address, host check and security headers of the servers on this machine."""

from __future__ import annotations

import re
from collections.abc import Collection
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

HOST = "127.0.0.1"
NAMES = (HOST, "localhost", "[::1]")
"""Names of this machine in requests, whatever the address at which a server listens."""

SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
"""Headers of every page, next to its Content-Security-Policy."""


def as_host(address: str) -> str:
    """Return an address or a name as it is in the Host header of a request.

    >>> as_host("::1"), as_host("127.0.0.2"), as_host("Laptop")
    ('[::1]', '127.0.0.2', 'laptop')
    """
    return f"[{address}]" if ":" in address else address.lower()


def names_this_machine(host: str, names: Collection[str] = NAMES) -> bool:
    """Return whether the Host header of a request names this machine; the port may be another one that ssh forwards.

    >>> names_this_machine("localhost:8000"), names_this_machine("[::1]:80"), names_this_machine("rebound.example:80")
    (True, True, False)
    """
    return re.sub(r":\d*$", "", host).lower() in names


class LocalHandler(BaseHTTPRequestHandler):
    """Answers requests of this machine, and prints nothing."""

    server_version, sys_version = "cnncli", ""
    protocol_version = "HTTP/1.1"

    @property
    def is_local(self) -> bool:
        """Whether the request names this machine, which that of a page of another site does not."""
        return names_this_machine(self.headers.get("Host", ""))

    def send(self, content: bytes, kind: str, policy: str = "default-src 'none'") -> None:
        """Send content of a kind, such as text/html, with a Content-Security-Policy."""
        self.send_response(HTTPStatus.OK)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": policy,
            **SECURITY_HEADERS,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
