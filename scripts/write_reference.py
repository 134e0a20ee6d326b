"""Generate the reference pages of the documentation from the code.

The hook of mkdocs (scripts/mkdocs_hook.py) adds the pages to the site when it is built. They are never committed, so
they cannot become outdated. To read them without a site:

    python -m scripts.write_reference FOLDER
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import click

import cnncli
from cnncli.catalogue.activations import ACTIVATIONS
from cnncli.catalogue.explanations import load_explanations
from cnncli.catalogue.networks import NETWORKS
from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.catalogue.settings import Option, Settings
from cnncli.cli.app import app
from cnncli.config.fields import Setting, all_settings, alternatives, expectation, groups_in, settings_by_key
from cnncli.config.tree import format_value
from cnncli.runs.folder import run_files
from scripts.figures.packages import package_docs, packages_svg

HELP_WIDTH = 88
DOMAINS = {
    "augmentation": "Augmentation",
    "cache": "Feature cache",
    "config": "Config files and settings",
    "cluster": "Cluster",
    "cut": "Cutting a classifier",
    "data": "Datasets",
    "engine": "Engines",
    "export": "Export",
    "image": "Image files",
    "machine": "The machine: memory, disk, environment",
    "metrics": "Metrics",
    "run": "Runs",
    "serve": "Server",
    "training": "Training",
    "usage": "Command line and Python arguments",
    "weights": "Weights and models",
}
"""Headings of the error codes, by the part of a code before its first hyphen."""


def settings_page() -> str:
    """Return the page of all settings: one table per group, one line per key."""
    tables: dict[str, list[Setting]] = {"": []}
    for setting in all_settings():
        ends = [end for end, _ in groups_in(setting.field)]
        if ends:
            tables[setting.key] = []
        if not ends or any(ends) or _takes_null(setting):
            tables.setdefault(setting.key.rpartition(".")[0], []).append(setting)
    parts = [
        "# Settings",
        "Every key of a config file, generated from the schema. Only `data.path` has no default. "
        "`cnncli config schema` prints the same as JSON Schema for editors, and "
        "[Configure training](../how-to/configure.md) explains files, overrides and environment variables.",
    ]
    for group, settings in tables.items():
        # The settings of a stage that `training` has too are described there, those of a list of backbones once.
        if not settings or group.startswith(("training.stages.N.", "backbone.N")):
            continue
        if group:
            parts += [f"## {group}", _description(settings_by_key()[group.removesuffix(".N")][0])]
        rows = [(f"`{one.key}`", _accepted(one), _default(one), _description(one)) for one in settings]
        parts.append(_table(("Key", "Values", "Default", "Description"), rows))
    return "\n\n".join(parts) + "\n"


def _takes_null(setting: Setting) -> bool:
    return any(kind is NoneType for kind, _ in alternatives(setting.field.annotation))


def _description(setting: Setting) -> str:
    return " ".join(setting.doc.split())


def _accepted(setting: Setting) -> str:
    words = expectation(setting.field)
    if setting.key == "backbone":
        return "the group below, a list of such groups, or null"
    if not words.startswith("a group of settings ("):
        return words
    return f"a group as `training.{setting.name}` or null" if ".N." in setting.key else "the group below or null"


def _default(setting: Setting) -> str:
    if setting.field.is_required():
        return "names the layer" if setting.key.startswith("head.layers.") else "required"
    if setting.key.startswith("training.stages.N.") and _takes_null(setting):
        return f"that of `training.{setting.name}`"
    default = setting.field.get_default(call_default_factory=True, validated_data={})
    plain = default.model_dump() if isinstance(default, Settings) else default
    return f"`{plain if isinstance(plain, str) else format_value(plain)}`"


def commands_page() -> str:
    """Return the page with the help of every command."""
    parts = ["# Commands", "The help of every command, as `--help` prints it."]
    for path, text in help_texts(app, "cnncli", HELP_WIDTH):
        parts.append(f"## {path}\n\n```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def help_texts(
    command: click.Command, name: str, width: int, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the command line and the help, `width` columns wide, of a command and its subcommands."""
    # A command remembers the help option that it was first asked for.
    context = click.Context(command, parent, name, terminal_width=width, **app.context_settings)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from help_texts(found, inner, width, context)


def networks_page() -> str:
    """Return the page of all networks, their options and the activations."""
    rows = [
        (
            f"`{name}`",
            f"{info.parameters:,}",
            f"{info.top1:.1f} %" if info.top1 else "–",
            f"{info.input_size}",
            f"{info.min_size}",
            f"{info.size_mb:.0f} MB",
            "yes" if info.has_imagenet else "no",
        )
        for name, info in NETWORKS.items()
    ]
    header = ("name", "parameters", "ImageNet top-1", "input (px)", "smallest (px)", "size", "ImageNet weights")
    options = [
        (f"`{name}`", f"`{option}`", f"`{_plain(item.default)}`", expectation(item), item.doc)
        for name, info in NETWORKS.items()
        for option, item in info.options.items()
    ]
    return "\n\n".join(
        [
            "# Networks",
            f"The {len(NETWORKS)} values of `backbone.name`. Parameters and size include the published top, mostly of "
            "ImageNet's 1,000 classes. `cnncli backbones` also shows which weights are on this machine; "
            "`cnncli summary NAME` lists the layers of a network.",
            _table(header, rows),
            "## Options",
            "`backbone.options` takes the arguments of a network's builder:",
            _table(("network", "option", "default", "values", "description"), options),
            "## Activations",
            "`head.layers` takes these activations: " + ", ".join(f"`{name}`" for name in ACTIVATIONS) + ".",
        ]
    )


def optimizers_page() -> str:
    """Return the page of all optimizers and their arguments."""
    parts = [
        "# Optimizers",
        "The values of `training.optimizer.name`, with the arguments that can stand next to it. "
        "They are the classes of `keras.optimizers`; upper and lower case are alike.",
    ]
    shared = {
        name: option
        for name, option in next(iter(OPTIMIZERS.values())).arguments.items()
        if all(info.arguments.get(name) == option for info in OPTIMIZERS.values())
    }
    parts += ["## All optimizers", _arguments(shared)]
    for name, info in OPTIMIZERS.items():
        own = {argument: option for argument, option in info.arguments.items() if argument not in shared}
        parts += [f"## {name}", f"`keras.optimizers.{info.class_name}`", _arguments(own)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _arguments(arguments: Mapping[str, Option]) -> str:
    rows = [
        (f"`{name}`", f"`{_plain(option.default)}`", expectation(option), option.doc)
        for name, option in arguments.items()
    ]
    return _table(("argument", "default", "values", "description"), rows) if rows else ""


def errors_page() -> str:
    """Return the page of all codes of errors and warnings."""
    parts = [
        "# Error codes",
        "Every error and warning ends with its code in brackets. `cnncli errors CODE` prints the same text. "
        "In Python, `error.code` is the code, and `error.facts` holds the details: paths, keys, received values.",
    ]
    explanations = load_explanations().values()
    for domain in sorted({explanation.code.partition("-")[0] for explanation in explanations}):
        rows = [
            (f"`{one.code}`{{ #{one.code} }}", one.cause, one.remedy)
            for one in explanations
            if one.code.partition("-")[0] == domain
        ]
        parts += [f"## {DOMAINS[domain]}", _table(("code", "cause", "remedy"), rows)]
    return "\n\n".join(parts) + "\n"


def python_page() -> str:
    """Return the page of the Python API."""
    parts = [
        "# Python API",
        "The commands as functions, for notebooks and scripts. `import cnncli` takes no time: the functions that train "
        "import TensorFlow.",
    ]
    for name in sorted(cnncli.__all__):
        function = getattr(cnncli, name)
        if inspect.isfunction(function):
            parts += [f"## cnncli.{name}", f"```python\n{_signature(name, function)}\n```", _docstring(function)]
    return "\n\n".join(parts) + "\n"


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    parameters, keyword_only = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            parameters.append("*")
            keyword_only = True
        parameters.append(str(parameter).replace("'", ""))
    body = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"{name}(\n{body}) -> {str(signature.return_annotation).strip(chr(39))}"


def _docstring(function: Any) -> str:
    """Convert a Google-style docstring to Markdown, with bold section names and lists of entries."""
    lines: list[str] = []
    for line in (inspect.getdoc(function) or "").splitlines():
        text = line.strip()
        if text in ("Args:", "Returns:", "Raises:"):
            lines += [f"**{text.rstrip(':')}**", ""]
        elif line.startswith("    ") and not line.startswith("     "):
            name, colon, rest = text.partition(": ")
            lines.append(f"- `{name}`: {rest}" if colon and " " not in name else f"- {text}")
        else:
            lines.append(line if not line.startswith("     ") else f"  {text}")
    return "\n".join(lines)


def _plain(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def packages_table() -> str:
    """Return a table of cnncli's packages, in import order."""
    return _table(("package", "contents"), [(f"`{name}`", doc) for name, doc in package_docs().items()])


def run_files_table() -> str:
    """Return a table of the files in a run directory."""
    rows = [(f"`{file.name}`", file.contents) for file in run_files()]
    return _table(("file or folder", "contents"), rows)


TABLES = {"<!-- packages -->": packages_table, "<!-- run files -->": run_files_table}
"""Placeholders in hand-written pages, and what takes their place."""


def fill_in(markdown: str) -> str:
    """Return a hand-written page with its generated tables inserted."""
    for placeholder, table in TABLES.items():
        if placeholder in markdown:
            markdown = markdown.replace(placeholder, table())
    return markdown


def pages() -> dict[str, str]:
    """Return the generated files by their path below docs/."""
    return {
        "reference/settings.md": settings_page(),
        "reference/commands.md": commands_page(),
        "reference/networks.md": networks_page(),
        "reference/optimizers.md": optimizers_page(),
        "reference/errors.md": errors_page(),
        "reference/python.md": python_page(),
        "figures/packages-light.svg": packages_svg("light"),
        "figures/packages-dark.svg": packages_svg("dark"),
    }


def write(folder: Path) -> None:
    """Write the generated files below a folder."""
    for name, content in pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scripts.write_reference FOLDER")
    write(Path(sys.argv[1]))
