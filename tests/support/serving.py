"""Send requests to `cnncli serve` in a process of its own, or to its application without a network."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BOUNDARY = "cut"


@dataclass(frozen=True)
class Answer:
    """An answer of the server."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def document(self) -> Any:
        """The answer as JSON."""
        return json.loads(self.content)


@dataclass(frozen=True)
class Served:
    """A server in a process of its own."""

    host: str
    port: int
    process: subprocess.Popen[str]

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request, and return the answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        found = connection.getresponse()
        answer = Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        connection.close()
        return answer


@contextmanager
def served(run: Path, *options: str, log: Path | None = None) -> Iterator[Served]:
    """Serve a run at a free port; the imports of the process are written to `log`."""
    command = [sys.executable, "-m", "cnncli", "-q", "serve", str(run), "--port", "0", *options]
    environment = {**os.environ, **({} if log is None else {"PYTHONPROFILEIMPORTTIME": "1"})}
    with (log or Path(os.devnull)).open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        try:
            assert process.stdout is not None
            parts = urlsplit(process.stdout.readline())
            yield Served(str(parts.hostname), int(parts.port or 0), process)
        finally:
            process.terminate()
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()


def form(files: Sequence[Path]) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a form with files."""
    head = '--{0}\r\nContent-Disposition: form-data; name="images"; filename="{1}"\r\n\r\n'
    parts = [head.format(BOUNDARY, file.name).encode() + file.read_bytes() + b"\r\n" for file in files]
    body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def ask(
    app: Any,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    silent: bool = False,
    cancel_s: float | None = None,
) -> Answer:
    """Call an ASGI application with one request.

    If `silent`, the body never arrives. After `cancel_s`, the request is cancelled, as uvicorn does in the end.
    """
    parts = urlsplit(path)
    given = {name.lower(): value for name, value in (headers or {}).items()}
    named = {"host": "127.0.0.1:80", "content-length": str(len(body)), **given}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 9),
    }
    events: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if silent:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        events.append(event)

    async def run() -> None:
        task = asyncio.ensure_future(app(scope, receive, send))
        if cancel_s is not None:
            asyncio.get_running_loop().call_later(cancel_s, task.cancel)
        try:
            await task
        except Exception:
            if not events:  # after an answer, a server writes the exception to its log
                raise

    asyncio.run(run())
    received = {name.decode(): value.decode() for name, value in events[0]["headers"]}
    return Answer(events[0]["status"], received, b"".join(event.get("body", b"") for event in events[1:]))
