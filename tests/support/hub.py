"""A server on 127.0.0.1 that answers huggingface_hub as the Hub does: one dataset, its files, and parts of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit


@contextmanager
def serve_dataset(name: str, root: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serve a folder as a dataset; yield the server's URL, and the path and user agent of each request so far."""
    requests: list[tuple[str, str]] = []

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            requests.append((path, self.headers["User-Agent"]))
            tree, file = f"/api/datasets/{name}/tree/main", f"/datasets/{name}/resolve/main/"
            if path.startswith(tree) and (root / path[len(tree) :].lstrip("/")).is_dir():
                self._answer([_entry(root, one) for one in (root / path[len(tree) :].lstrip("/")).iterdir()])
            elif path == f"/api/datasets/{name}":
                self._answer({"id": name, "sha": "0" * 40, "siblings": [], "tags": []})
            elif path.startswith(file):
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                self._send(206, (root / path[len(file) :]).read_bytes()[int(first) : int(last) + 1])
            else:
                is_in_it = path.startswith((tree, file))
                self._send(404, b"{}", {"X-Error-Code": "EntryNotFound" if is_in_it else "RepoNotFound"})

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, content: object) -> None:
            self._send(200, json.dumps(content).encode())

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()


def _entry(root: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "oid": "0", "size": 0, "path": name}
    return {
        "type": "file",
        "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
        "size": path.stat().st_size,
        "path": name,
    }
