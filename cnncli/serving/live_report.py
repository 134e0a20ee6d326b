"""The report of a run that is training, on a page that is loaded again every few seconds."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from http.server import ThreadingHTTPServer

from cnncli.errors import CnncliError, printable
from cnncli.report.page import POLICY, html_page, paragraph
from cnncli.report.run_page import run_page
from cnncli.report.run_report import RunReport
from cnncli.runs.folder import RunFolder
from cnncli.serving.local import HOST, LocalHandler

REFRESH_S = 5
"""Seconds after which the page is loaded again, until the run has finished."""


class LiveReportServer(ThreadingHTTPServer):
    """Serve the report of a run, rebuilt for each request, until Ctrl-C.

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
            return run_page(found, None if found.facts["state"] == "finished" else REFRESH_S)
        except CnncliError as error:  # a file is incomplete while the run starts
            return html_page(printable(self.run.path.name), paragraph(str(error)), "", REFRESH_S)

    def serve_until_interrupted(self) -> None:
        """Answer requests until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            self.serve_forever()


class _Handler(LocalHandler):
    server: LiveReportServer

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        """Answer with the page."""
        if self.path == "/" and self.is_local:
            self.send(self.server.page().encode(), "text/html; charset=utf-8", POLICY)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)
