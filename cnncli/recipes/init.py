"""`cnncli init`: write a commented config for a folder of images, or from a template."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from cnncli.config.reader import absolute, config_from_mapping, data_source
from cnncli.config.templates import copy_sample, find_template
from cnncli.config.writer import to_yaml
from cnncli.dataset.build import report_on_data
from cnncli.dataset.config_template import template_for
from cnncli.dataset.issues import messages_of
from cnncli.errors import CnncliError, DataError, Message, printable
from cnncli.shards.listing import is_sharded
from cnncli.shards.places import is_remote, url_of
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)

MAX_LINES = 10


def write_config(source: Path, out: Path, force: bool, console: Console) -> Path:
    """Write a config that suits a folder of images, or a table of labels.

    Raises:
        DataError: There are fewer than two classes of readable images.
        CnncliError: `out` already exists, or its parent directory does not.
    """
    _check_target(out, force)
    settings = {"data": data_source(absolute(str(source), Path.cwd()))}
    config = config_from_mapping(settings, environment={}, check_paths=False)
    report, issues = report_on_data(config.data, console)
    if combined := [one.facts["separator"] for one in issues if one.code == "data-labels-combined"]:
        divided = config.data.labels.model_copy(update={"separator": combined[0]})
        report, issues = report_on_data(config.data.model_copy(update={"labels": divided}), console)
    errors, warnings, notes = (messages_of(issues, severity) for severity in ("error", "warning", "note"))
    least = 1 if report["multi_label"] else 2
    if len({label for counts in report["counts"].values() for label, n in counts.items() if n}) < least:
        raise DataError(errors)
    messages = [*errors, *warnings]
    for message in messages[:MAX_LINES]:
        log.warning(message)
    for note in notes:
        log.info(note)
    if (more := len(messages) - MAX_LINES) > 0:
        text = f"{more:,} more problems: see `cnncli data check {printable(source)}`"
        log.warning(Message("data-more-problems", text, n=more))
    table: Any = report["table"] and _written(Path(report["table"]), source, out)
    labels = {"path": table, "separator": combined[0]} if combined else table
    images = config.data.path if is_sharded(config.data.path) else Path(report["path"])
    write_atomically(out, template_for(report, _written(images, source, out), str(out), labels))
    return out


def write_from_template(name: str, source: Path | None, out: Path, force: bool) -> Path:
    """Write a config that comes with cnncli, for a folder of images or for those that it is about.

    Sample images and a table of labels that it reads are copied to the folder of the file, unless they are there.

    Raises:
        CnncliError: There is no such template, `out` exists, its parent directory does not, or the template has labels
            of its own, which are not those of other images.
    """
    template = find_template(name)
    _check_target(out, force)
    if source is None:
        data = None
        if template.reads_sample:
            log.info(f"sample images: {printable(copy_sample(out.parent))}")
        if template.table is not None and not (table := out.parent / template.table.name).exists():
            shutil.copyfile(template.table, table)
    elif template.table is not None:
        text = f"{name} has a table of labels for its own images. Leave out {printable(source)}, or the template."
        raise CnncliError(Message("usage-options-conflict", text, received=name))
    else:
        data = to_yaml(_written(absolute(str(source), Path.cwd()), source, out)).removesuffix("\n...\n")
    write_atomically(out, template.text(str(out), data))
    return out


def _written(path: Path, source: Path, out: Path) -> str:
    """Return a path as a config states it: absolute, or relative to the config, as the source was given; or a URL."""
    return url_of(path) if source.is_absolute() or is_remote(path) else _path_from(path, out.parent)


def _check_target(out: Path, force: bool) -> None:
    if not out.parent.is_dir():
        text = f"{printable(out.parent)}: folder does not exist; cannot write {printable(out.name)}"
        raise CnncliError(Message("usage-out-folder-missing", text, path=out.parent))
    if out.exists() and not force:
        text = f"{printable(out)}: already exists; replace it with --force, or choose a different file with --out"
        raise CnncliError(Message("usage-out-exists", text, path=out))


def _path_from(folder: Path, start: Path) -> str:
    """Return a folder relative to another one, or as an absolute path if they are on different drives."""
    try:
        relative = os.path.relpath(folder.resolve(), start.resolve())
    except ValueError:
        return str(folder)
    return f"./{relative}" if relative.startswith("~") else relative
