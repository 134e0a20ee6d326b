"""`cnncli train`: train from a config or a folder of images."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import (
    PATH,
    cluster_option,
    console_options,
    example,
    json_option,
    overrides_argument,
    runs_dir_option,
)
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli train configs/quickstart.yaml training.epochs=30"))
@click.argument("source", metavar="CONFIG|DIR|TABLE|RUN", type=PATH)
@overrides_argument
@click.option("--resume", "resumes", is_flag=True, help="Resume the newest unfinished run of this config, if any.")
@cluster_option
@runs_dir_option
@json_option
@console_options
def command(
    source: Path,
    overrides: tuple[str, ...],
    resumes: bool,
    cluster: str | None,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Train from a config, a folder or a table, or resume a run.

    CONFIG is a YAML file. DIR is a folder of class folders, or of train, validation and test folders, to train on with
    default settings; so are shards of images (.tar, .parquet): a folder of them, one, or a quoted pattern. TABLE is a
    .csv, .tsv or .parquet file with a row per image, whose images are below its folder. RUN is a run directory or the
    name of a run: an interrupted run resumes from its last checkpoint, a finished one shows its results;
    training.epochs=N extends the last stage to N epochs. Any setting can be given as KEY=VALUE, e.g.
    training.optimizer.learning_rate=1e-4. With --cluster, the nodes of a Ray cluster compute features and train stages
    that have convolutions; the folders of images and runs must be shared.
    """
    from cnncli.config.overrides import read_epochs
    from cnncli.dataset.source import read_config
    from cnncli.runs.listing import find_run

    run = find_run(source, runs_dir)
    epochs = read_epochs(overrides) if run else None
    config = None if run else read_config(source, overrides)  # reports mistakes before heavy imports
    from cnncli.cli.render import print_end, print_run
    from cnncli.cluster.machines import machines_at
    from cnncli.recipes.resume import newest_unfinished, resume
    from cnncli.recipes.train import Run, train

    if resumes and config is not None:
        run = newest_unfinished(config, runs_dir)

    def show(run: Run) -> None:
        print_run(run, as_json, console)

    with machines_at(cluster) as machines:
        if run is not None:
            print_end(resume(run, console, epochs, show, machines), as_json)
        elif config is not None:
            print_end(train(config, runs_dir, console, show, machines=machines), as_json)
