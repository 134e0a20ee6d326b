"""`cnncli train`: train a config or a folder of images, or resume a run."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import NonEmptyPath, console_options, example, json_option, runs_dir_option
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli train configs/quickstart.yaml training.epochs=30"))
@click.argument("source", metavar="CONFIG|DIR|RUN", type=NonEmptyPath())
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--resume", "resumes", is_flag=True, help="Resume the newest unfinished run of this config, if there is one."
)
@runs_dir_option
@json_option
@console_options
def command(
    source: Path, overrides: tuple[str, ...], resumes: bool, runs_dir: Path, as_json: bool, console: Console
) -> None:
    """Train from a config or a folder of images, or resume a run.

    CONFIG is a YAML file; DIR a folder of class folders, or of train, validation and test, trained with the defaults.
    RUN is a run directory or the name of a run: an interrupted training resumes from its last checkpoint, a finished
    one shows its metrics; with training.epochs=N its last stage is extended to N epochs.
    Any setting can be given as KEY=VALUE, e.g. training.optimizer.learning_rate=1e-4.
    """
    from cnncli.recipes.source import epochs_asked_for, read_config, run_to_resume

    run = run_to_resume(source, runs_dir)
    epochs = epochs_asked_for(source, overrides) if run else None
    config = None if run else read_config(source, overrides)  # problems are reported before the rest is imported
    from cnncli.cli.render import print_run

    if resumes and config is not None:
        from cnncli.recipes.resume import newest_unfinished

        run = newest_unfinished(config, runs_dir, console)
    if run is not None:
        from cnncli.recipes.resume import resume

        print_run(resume(run, console, epochs), as_json, console)
    elif config is not None:
        from cnncli.recipes.train import train

        print_run(train(config, runs_dir, console), as_json, console)
