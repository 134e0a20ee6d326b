"""The report of a run that is training, on a page that is loaded again every few seconds."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cnncli.errors import CnncliError, printable
from cnncli.report.page import html_page, paragraph
from cnncli.report.run_page import RunReport
from cnncli.runs.folder import RunFolder

HOST = "127.0.0.1"
REFRESH_S = 5
"""Seconds after which the page is loaded again, until the run has finished."""


class LiveReportServer(ThreadingHTTPServer):
    """Serves the report of a run, built anew for each request, until Ctrl-C.

    Args:
        run: The run.
        port: Port; 0 for any that is free.
    """

    daemon_threads = True

    def __init__(self, run: RunFolder, port: int = 0) -> None:
        self.run = run
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def page(self) -> str:
        """Return the page at this moment."""
        try:
            found = RunReport.load(self.run)
            return found.html(None if found.facts["state"] == "finished" else REFRESH_S)
        except CnncliError as error:  # a file is incomplete while the run starts
            return html_page(printable(self.run.path.name), paragraph(str(error)), "", REFRESH_S)

    def serve_until_interrupted(self) -> None:
        """Answer requests until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            self.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    server: LiveReportServer

    def do_GET(self) -> None:
        """Answer with the page. The host is checked, so that no page of another site can read it."""
        host = (self.headers.get("Host") or "").partition(":")[0]
        if self.path != "/" or host not in (HOST, "localhost"):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content = self.server.page().encode()
        self.send_response(HTTPStatus.OK)
        for name, value in (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
