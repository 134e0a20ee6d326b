"""`cnncli recipes`: published recipes as configs, and their repetition over several seeds."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnncli.catalogue.published import PublishedRecipe
from cnncli.config.reader import config_from_mapping
from cnncli.config.sweep_plan import plan_sweep
from cnncli.config.writer import to_yaml
from cnncli.recipes.sweep import Sweep, sweep
from cnncli.report.comparison import Published
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent

WIDTH = 100
"""Width of the comments of a config."""


def settings_of_recipe(recipe: PublishedRecipe, data: Path) -> dict[str, Any]:
    """Return the settings of a recipe for a folder of images."""
    return {"name": recipe.name, **recipe.settings, "data": {"path": str(data), **recipe.settings.get("data", {})}}


def config_text(recipe: PublishedRecipe, data: Path) -> str:
    """Return the config of a recipe, which begins with its source and its published and measured results."""
    results = f"{recipe.metric}: {percent(recipe.published)} published"
    if recipe.mean is not None:
        seeds = ", ".join(percent(value) for value in recipe.measured.values())
        results += f", {percent(recipe.mean)} measured ({seeds}; {recipe.conditions})"
    paragraphs = [f"{recipe.title}. {recipe.source}", f"{results}.", *recipe.note.split("\n")]
    comment = "\n".join(f"# {line}" for text in paragraphs for line in textwrap.wrap(text, WIDTH))
    return f"{comment}\n\n{to_yaml(settings_of_recipe(recipe, data), default_flow_style=False)}"


def run_recipe(
    recipe: PublishedRecipe,
    data: Path,
    overrides: Sequence[str],
    seeds: Sequence[int],
    runs_dir: Path,
    console: Console,
    out: Path | None = None,
) -> Sweep:
    """Train a recipe with each of the seeds, and compare the runs with the published value.

    Args:
        recipe: The recipe.
        data: Folder of the images, with splits.
        overrides: `KEY=VALUE` texts, such as `backbone.weights=FILE`.
        seeds: Seeds.
        runs_dir: Folder of the runs, in which finished ones are found again.
        console: Console for progress.
        out: PNG with the curves; None: no figure.

    Raises:
        ConfigError: All problems of the settings.
        CnncliError: All runs failed.
    """
    settings = settings_of_recipe(recipe, data)
    cells = plan_sweep(lambda texts: config_from_mapping(settings, texts), overrides, seeds)
    published = [Published(recipe.published, recipe.source.split(",")[0])]
    return sweep(cells, runs_dir, console, out, recipe.metric, published=published)
