"""Published recipes for known datasets, read from `published/*.yaml`, with published and measured results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from statistics import fmean
from typing import Any

from cnncli.errors import CnncliError, Message, printable
from cnncli.terminal.suggestions import did_you_mean


@dataclass(frozen=True)
class PublishedRecipe:
    """A published recipe.

    Attributes:
        name: Name on the command line, that of its file.
        title: Network and method in a few words.
        source: Author, work, year, place.
        metric: Metric that was published, `val_accuracy` or `test_accuracy`.
        published: Published value of the metric, 0-1.
        note: Differences from the source, and what is known about the published value.
        settings: Settings of the config, without those of the data.
        measured: Values of the metric measured with cnncli, by seed; empty if not measured.
        conditions: How it was measured.
    """

    name: str
    title: str
    source: str
    metric: str
    published: float
    note: str
    settings: Mapping[str, Any]
    measured: Mapping[int, float]
    conditions: str = ""

    @property
    def mean(self) -> float | None:
        """Mean of the measured values."""
        return fmean(self.measured.values()) if self.measured else None


def load_published() -> dict[str, PublishedRecipe]:
    """Return all recipes by name."""
    return {recipe.name: recipe for recipe in map(_load, _files())}


def find_published(name: str) -> PublishedRecipe:
    """Return the recipe with a name. Raises CnncliError if there is none."""
    known = load_published()
    if name not in known:
        hint = did_you_mean(name, known) or f"There are {', '.join(known)}."
        text = f"{printable(name)}: no such recipe. {hint}"
        raise CnncliError(Message("usage-recipe-unknown", text, received=name, expected=tuple(known)))
    return known[name]


def _files() -> list[Traversable]:
    found = files("cnncli.catalogue").joinpath("published").iterdir()
    return sorted((file for file in found if file.name.endswith(".yaml")), key=lambda file: file.name)


def _load(file: Traversable) -> PublishedRecipe:
    import yaml

    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    return PublishedRecipe(
        name=file.name.removesuffix(".yaml"), **{"measured": {}, **values, "note": values["note"].strip()}
    )
