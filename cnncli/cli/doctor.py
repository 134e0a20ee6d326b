"""`cnncli doctor`: report on the installation and the machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import console_options, example, json_option, print_json
from cnncli.errors import EXIT_DONE, EXIT_USER
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.recipes.doctor import MachineFacts


@click.command(epilog=example("cnncli doctor"))
@json_option
@click.pass_context
@console_options
def command(context: click.Context, as_json: bool, console: Console) -> None:
    """Report on the installation and the machine.

    Problems come first. The report has versions, processor, memory, the precision that would be used and why, GPUs,
    weights on this machine, the cache, and the extras with the commands that install them. The exit code is 2 if there
    are problems.
    """
    from cnncli.recipes.doctor import diagnose_installation

    found = diagnose_installation()
    if as_json:
        print_json(found)
    else:
        for problem in found.problems:
            console.show(logging.ERROR, problem)
        for name, text in _lines(found):
            console.print(f"{name:<12}{text}")
    context.exit(EXIT_USER if found.problems else EXIT_DONE)


def _lines(found: MachineFacts) -> Iterator[tuple[str, str]]:
    from cnncli.terminal.formatting import size

    yield "versions", " · ".join(f"{name} {version or '–'}" for name, version in found.versions.items())
    yield "platform", found.platform
    processor = found.processor
    yield "processor", f"{processor['model'] or '–'}, {processor['threads']} of {processor['cores']} cores"
    features = processor["features"].items()
    yield "", " · ".join(f"{name} {'–' if has is None else 'yes' if has else 'no'}" for name, has in features)
    yield "memory", "–" if found.memory_bytes is None else f"{size(found.memory_bytes)} available"
    if chosen := found.precision:
        yield "precision", f"{chosen.precision} ({chosen.engine}): {chosen.reason}"
        yield "", f"int8: {'yes, ' if chosen.int8 else 'no, because '}{chosen.int8_reason}"
    for gpu in found.gpus:
        yield "GPU", f"{gpu['name']}, {gpu['memory_mb']} MB, driver {gpu['driver']}"
    if not found.gpus:
        yield "GPU", "none"
    yield "weights", f"installed: {', '.join(found.weights['installed']) or 'none'}"
    yield "", f"in {found.weights['folder']}: {', '.join(found.weights['downloaded']) or 'none'}"
    cache = found.cache
    yield "cache", str(cache["folder"] or "–")
    if cache["free_bytes"] is not None:
        sizes = (size(cache[name]) for name in ("size_bytes", "max_bytes", "free_bytes"))
        yield "", "{}, features at most {}; {} free on the disk".format(*sizes)
    for number, (extra, facts) in enumerate(found.extras.items()):
        yield "" if number else "extras", f"{extra}: {'installed' if facts['installed'] else facts['install']}"
