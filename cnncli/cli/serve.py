"""`cnncli serve`: answer over HTTP with a run."""

from __future__ import annotations

import logging
import webbrowser
from contextlib import suppress
from pathlib import Path

import click

from cnncli.cli.options import console_options, coverage_option, example, run_argument, runs_dir_option
from cnncli.terminal.console import Console

MEGABYTE = 1_000_000

log = logging.getLogger(__name__)


@click.command(epilog=example("cnncli serve quickstart --port 8000"))
@run_argument
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address at which to listen; others need a token.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, metavar="N", help="Port at which to listen; 0: any free one."
)
@click.option(
    "--token",
    envvar="CNNCLI_TOKEN",
    metavar="TEXT",
    help="Require the header `Authorization: Bearer TEXT`.  [default: $CNNCLI_TOKEN]",
)
@coverage_option
@click.option("--max-mb", type=click.IntRange(1, 200), default=32, metavar="N", help="Maximum size of a request in MB.")
@click.option(
    "--max-images", type=click.IntRange(1, 256), default=64, metavar="N", help="Maximum number of images in a request."
)
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=50_000_000,
    metavar="N",
    help="Maximum number of pixels of an image, if data.max_pixels of the run is not lower.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 3600),
    default=30.0,
    metavar="S",
    help="Seconds for receiving a request, and for its answer.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@runs_dir_option
@console_options
def command(
    run: str | None,
    host: str,
    port: int,
    token: str | None,
    coverage: float | None,
    max_mb: int,
    max_images: int,
    max_pixels: int,
    timeout: float,
    opens: bool,
    runs_dir: Path,
    console: Console,
) -> None:
    """Answer over HTTP with a run, and show a page for trying it.

    RUN is a run directory or its name; default: the newest finished run. The address is printed as soon as requests are
    answered, until Ctrl-C. The page at / classifies images from files or the camera. POST /predict takes images and
    answers like `cnncli predict --json`; /v2 speaks the Open Inference Protocol; /metrics is for Prometheus, and
    /openapi.json describes everything.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.serve import serve
    from cnncli.serving.refusals import Limits

    def show(address: str) -> None:
        page = address if token is None else f"{address}#token={token}"
        click.echo(address)
        log.info("Ctrl-C ends the server.")
        if opens:
            webbrowser.open(page)

    limits = Limits(max_mb * MEGABYTE, max_images, max_pixels, timeout, buffered_bytes=max(256, 4 * max_mb) * MEGABYTE)
    with suppress(KeyboardInterrupt):
        serve(open_named_run(run, runs_dir), limits, show, host=host, port=port, token=token, coverage=coverage)
