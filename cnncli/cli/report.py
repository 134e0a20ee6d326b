"""`cnncli report`: write the report of a run, or show a run while it trains."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from cnncli.cli.options import console_options, example, json_option, print_json, run_argument, runs_dir_option
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli report vgg16-features --open"))
@run_argument
@click.option("--explain/--no-explain", default=True, help="Draw where the network looked on mistakes (Grad-CAM).")
@click.option("--open", "opens", is_flag=True, help="Open the report in the browser.")
@click.option("--live", is_flag=True, help="Serve a page that follows the run while it trains, until Ctrl-C.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Port of --live.  [default: a free one]"
)
@runs_dir_option
@json_option
@console_options
def command(
    run: str | None, explain: bool, opens: bool, live: bool, port: int, runs_dir: Path, as_json: bool, console: Console
) -> None:
    """Write the report of a run: one HTML file, and a model card.

    RUN is a run directory or its name; default: the newest run. report.html has results, mistakes, calibration, data,
    config and timings, and loads nothing from elsewhere. README.md is the model card, with the metadata that the
    Hugging Face Hub reads. Training writes both; this command adds the labels that are probably wrong, and
    where the network looked, which needs TensorFlow. A README.md that you have edited is kept.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.report import report

    if live:
        from cnncli.serving.live_report import LiveReportServer

        with LiveReportServer(open_named_run(run, runs_dir, prefer="unfinished"), port) as server:
            click.echo(server.address)
            if opens:
                webbrowser.open(server.address)
            server.serve_until_interrupted()
        return
    found = report(open_named_run(run, runs_dir), console, explain=explain)
    if as_json:
        print_json(found)
    else:
        click.echo(found.page)
    if opens:
        webbrowser.open(found.page.as_uri())
