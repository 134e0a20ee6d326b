"""`cnncli cache`: show or clear cached features, converted graphs and the image index; merge the features of others."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cnncli.cli.options import PATH, console_flags, console_options, example, json_option, print_json
from cnncli.errors import CacheError
from cnncli.storage.cache_dir import cache_dir
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import size

SECONDS_A_DAY = 86400.0


@click.group(no_args_is_help=True, epilog=example("cnncli cache list"))
def command() -> None:
    """Show, clear or merge caches."""


@command.command(epilog=example("cnncli cache where"))
@console_flags
def where() -> None:
    """Print the cache folder.

    It is $CNNCLI_CACHE if set, otherwise the platform's cache folder, such as ~/.cache/cnncli.
    """
    click.echo(cache_dir())


@command.command("list", epilog=example("cnncli cache list --json"))
@json_option
@console_options
def list_(as_json: bool, console: Console) -> None:
    """List the cached features and the size of the cache.

    There is one line for each network, cut, view, augmentation (as a short hash; --json has its settings), engine,
    precision and image size. The least recently used entries come first and are evicted first if the cache exceeds
    cache.max_gb. Entries in use are kept.
    """
    from cnncli.features.listing import OPTIONAL
    from cnncli.recipes.cache import list_cache

    contents = list_cache(cache_dir())
    if as_json:
        print_json(contents)
        return
    if cells := [key.cells() for key in contents.features]:
        console.table(list(cells[0]), [list(row.values()) for row in cells], optional=OPTIONAL)
    total = [f"features {size(contents.features_bytes)} of at most {size(contents.max_bytes)}"]
    if contents.graphs:
        total.append(f"converted graphs {contents.graphs:,}, {size(contents.graphs_bytes)}")
    if contents.index_bytes:
        total.append(f"image index {size(contents.index_bytes)}")
    click.echo(" · ".join(total))


@command.command(epilog=example("cnncli cache clear --older-than 30"))
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Only delete entries that were not used for DAYS days.",
)
@json_option
@console_options
def clear(older_than: float | None, as_json: bool, console: Console) -> None:
    """Delete cached data that no running command uses.

    No results are lost; cached data is computed again when it is needed.
    """
    from cnncli.recipes.cache import clear_cache

    used_before = float("inf") if older_than is None else time.time() - older_than * SECONDS_A_DAY
    cleared = clear_cache(cache_dir(), used_before)
    if as_json:
        print_json(cleared)
        return
    kept = f"; {size(cleared.pinned_bytes)} in use by running commands were kept" if cleared.pinned_bytes else ""
    click.echo(f"freed {size(cleared.freed_bytes)}{kept}")


@command.command(epilog=example("cnncli cache merge /mnt/node-1/cache /mnt/node-2/cache"))
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=PATH)
@json_option
@console_options
def merge(sources: tuple[Path, ...], as_json: bool, console: Console) -> None:
    """Add the features of other caches.

    `extract --shard` fills such caches on other machines. SOURCE is a cache folder, as `cache where` prints it, or a
    copy of one. Everything in it is verified by its checksums; damaged segments, foreign files, and features that
    differ from those already cached are refused. What is already cached is kept, so a merge can be repeated.
    """
    from cnncli.recipes.cache import merge_caches

    merged = merge_caches(sources, cache_dir())
    if as_json:
        print_json(merged)
    else:
        added = f"{merged.added:,} features added ({size(merged.added_bytes)})"
        click.echo(f"{added}, {merged.present:,} already cached")
    if merged.refused:
        raise CacheError(merged.refused)
