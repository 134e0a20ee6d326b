"""Records every attempt to reach a network, in each Python process whose path has this folder.

Python imports the module when it starts. Names that are looked up, and addresses other than the loopback's, are
appended to the file `CNNCLI_TEST_NETWORK`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_LOCAL = ("127.", "::1", "localhost")
_EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _EVENTS:
        return
    target = arguments[0] if event in _EVENTS[3:] else arguments[1]
    host = target[0] if isinstance(target, tuple) else target
    if isinstance(host, str | bytes) and event in _EVENTS[:3] and not isinstance(target, tuple):
        return  # a socket in the file system
    if host is not None and not str(host).startswith(_LOCAL):
        line = f"{event} {host!r} {sys.argv}\n".encode()
        descriptor = os.open(os.environ["CNNCLI_TEST_NETWORK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line)
        os.close(descriptor)


sys.addaudithook(_record)
