"""The results of runs: final metrics, histories and settings, and in which settings several runs differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cnncli.catalogue.losses import CROSS_ENTROPY
from cnncli.catalogue.metrics import KERAS_METRICS
from cnncli.config.idle_settings import idle_settings
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.config.writer import plain_settings
from cnncli.errors import ConfigError, Message, printable
from cnncli.metrics.classification import table_metrics
from cnncli.metrics.table import EVALUATED, PREFIXES, VALIDATION, find_metric, split_of
from cnncli.runs.documents import damaged
from cnncli.runs.folder import RunFolder, state_of
from cnncli.runs.records import HistoryRow, read_history
from cnncli.storage.safe_io import read_json


@dataclass(frozen=True)
class RunResults:
    """Results of a run; an unfinished run has no final metrics, and a head that a sweep tried has no folder.

    Attributes:
        folder: The run directory, or None.
        name: Name that is shown.
        facts: The content of run.json.
        config: The resolved config.
        history: The rows of history.csv.
        n_classes: Number of classes; None if it is unknown.
    """

    folder: RunFolder | None
    name: str
    facts: Mapping[str, Any]
    config: Config
    history: tuple[HistoryRow, ...]
    n_classes: int | None = None

    @classmethod
    def load(cls, folder: RunFolder) -> RunResults:
        """Load a run, also while it is being trained. Raises RunError if its records are damaged."""
        facts, config = _read_metrics(folder), load_resolved(folder.config)
        history = read_history(folder.history) if folder.history.is_file() else ()
        return cls(folder, facts.get("name") or folder.path.name, facts, config, history, _count_classes(folder))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings by dotted key, with the image size that is used, and the precision in place of int8."""
        size = self.config.data.image_size or self.config.backbones[0].network.input_size
        settings = {**plain_settings(self.config), "data.image_size": size}
        if self.config.precision == "int8" and (
            used := self.facts.get("precision")
        ):  # another one if int8 is too rough
            settings["precision"] = used
        return settings

    def has(self, key: str) -> bool:
        """Return whether a setting has an effect in the run."""
        return not any(f"{key}.".startswith(f"{idle}.") for idle in idle_settings(self.config))

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights are the model, from 1; 0 for the initial weights; None if unfinished."""
        return self.facts.get("best_epoch")

    @property
    def is_solved(self) -> bool:
        """Whether the head was solved exactly, without epochs."""
        return bool(self.history) and all(row.learning_rate is None for row in self.history)

    @property
    def has_validation(self) -> bool:
        """Whether the run has metrics of validation images."""
        return any(row.validation for row in self.history)

    def summary(self, split: str) -> dict[str, Any]:
        """Return the final metrics of a split, as in run.json; empty if there are none."""
        return (self.facts.get("metrics") or {}).get(split) or {}

    def untested(self) -> RunResults:
        """Return the run without its test metrics."""
        metrics = {split: values for split, values in (self.facts.get("metrics") or {}).items() if split != "test"}
        return replace(self, facts={**self.facts, "metrics": metrics})

    def results(self, split: str) -> dict[str, float]:
        """Return the final metrics of a split by name: of validation, test, or training in the best epoch."""
        if split == "training":
            return self.history[self.best_epoch - 1].training if self.best_epoch else {}
        summary = self.summary(split)
        others = {name: float(summary[name]) for name in EVALUATED if name in summary}
        return {**table_metrics(summary), **others}

    def final(self, metric: str) -> float | None:
        """Return the final value of a metric: `val_…`, `test_…`, or of the training images in the best epoch."""
        split, name = split_of(metric)
        return self.results(split).get(name)

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Return the 95 % interval of the final accuracy of a split; None for other metrics."""
        split, name = split_of(metric)
        low, high = self.summary(split).get("top1_ci95") or (None, None)
        return (low, high) if name == "accuracy" and low is not None and high is not None else None

    def n_images(self, split: str) -> int | None:
        """Return the number of evaluated images of a split; None if it is not evaluated."""
        return self.summary(split).get("n")

    @property
    def has_one_output(self) -> bool | None:
        """Whether the head has one output for two classes; None if the number of classes is unknown."""
        if self.config.head.activation != "sigmoid" or self.config.data.labels.is_multi_label:
            return False
        return None if self.n_classes is None else self.n_classes == 2

    def definition(self, name: str) -> str:
        """Return how the run computes a metric, if that depends on its loss or its classes; empty if not, or unknown.

        Values of different definitions cannot be compared, as those of different losses.
        """
        is_multi_label, keras_metric = self.config.data.labels.is_multi_label, KERAS_METRICS.get(name)
        if name == "loss":
            return self._definition_of_loss()
        if is_multi_label and (keras_metric or name in ("brier_score", "log_loss", "calibration_error")):
            return "of several labels per image"
        if name == "brier_score" and self.n_classes:
            return (
                "squared error of one of two classes" if self.n_classes == 2 else "squared errors summed over classes"
            )
        if name in ("log_loss", "calibration_error") or (keras_metric and keras_metric.needs_classes):
            return "of one label per image"
        if keras_metric and self.has_one_output is not None:
            return "of one output" if self.has_one_output else "of several outputs"
        return ""

    def _definition_of_loss(self) -> str:
        loss = self.config.training.loss
        if self.has_one_output is None:
            return ""
        if loss != CROSS_ENTROPY:
            return f"{loss} on one output" if self.has_one_output else loss
        is_binary = self.config.head.activation == "sigmoid" and not self.has_one_output
        return "binary cross-entropy" if is_binary else "cross-entropy"  # on one output, it is that of two classes

    def to_dict(self) -> dict[str, Any]:
        """Return the run as a document for JSON."""
        return {
            "name": self.name,
            "path": self.folder and self.folder.path,
            "state": state_of(self.folder, self.facts) if self.folder else "tried",
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "seconds": self.facts.get("seconds"),
            "n_classes": self.n_classes,
            "metrics": {split: self.summary(split) for split in ("validation", "test") if self.summary(split)},
            "history": [row.to_dict() for row in self.history],
        }


def load_runs(folders: Sequence[RunFolder]) -> tuple[RunResults, ...]:
    """Load runs; those that share their name are named by the end of their path. Raises RunError if one is damaged."""
    runs = [RunResults.load(folder) for folder in folders]
    names, parts = [run.name for run in runs], [folder.path.absolute().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=0) + 1):
        count = Counter(names)
        if max(count.values()) == 1:
            break
        names = [
            name if count[name] == 1 else Path(*part[-length:]).as_posix()
            for name, part in zip(names, parts, strict=True)
        ]
    repeated = [name if name not in names[:place] else f"{name} ({place + 1})" for place, name in enumerate(names)]
    return tuple(replace(run, name=name) for run, name in zip(runs, repeated, strict=True))


def _read_metrics(folder: RunFolder) -> dict[str, Any]:
    """Return the facts of a run, with the top-5 accuracies of metrics.json."""
    facts = folder.read_facts()
    if not facts.get("metrics") or not folder.metrics.is_file():
        return facts
    try:
        top5 = {split: values["top5"] for split, values in read_json(folder.metrics).items() if "top5" in values}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise damaged(folder.metrics, f"cannot be read ({error})") from error
    metrics = facts["metrics"]
    metrics = {**metrics, **{split: {**metrics.get(split, {}), "top5": top5[split]} for split in top5}}
    return {**facts, "metrics": metrics}


def _count_classes(folder: RunFolder) -> int | None:
    """Return the number of classes of a run, which it has from its start; None if their names are missing."""
    if not folder.classes.is_file():
        return None
    try:
        return len(read_json(folder.classes))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(folder.classes, f"cannot be read ({error})") from error


def differing_settings(runs: Sequence[RunResults]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each setting in which runs differ, by its key, in the order of the runs.

    Settings with their default value in all runs, and those that only differ where they have no effect, are left out.
    """
    changed = {key for run in runs for key in plain_settings(run.config, is_short=True)}
    keys = dict.fromkeys(key for run in runs for key in run.settings if key in changed | {"data.image_size"})
    found = {key: [run.settings.get(key) for run in runs if run.has(key)] for key in keys if key != "name"}
    differing = [key for key, values in found.items() if any(value != values[0] for value in values)]
    return {key: tuple(run.settings.get(key) if run.has(key) else None for run in runs) for key in differing}


def default_metric(runs: Sequence[RunResults]) -> str:
    """Return `val_accuracy`, or `accuracy`, that of the training images, if runs have epochs but no validation."""
    has_epochs, has_validation = any(run.history for run in runs), any(run.has_validation for run in runs)
    return "accuracy" if has_epochs and not has_validation else f"{VALIDATION}accuracy"


def available_metrics(runs: Sequence[RunResults]) -> tuple[str, ...]:
    """Return the names of the metrics that at least one run has: of validation, test and training, sorted by name.

    Those that the runs compute in different ways are left out.
    """
    names = {name for run in runs for row in run.history for name in row.metrics}
    names |= {prefix + name for run in runs for split, prefix in PREFIXES.items() for name in run.results(split)}
    names = {name for name in names if len(_definitions(runs, name)) < 2}
    return tuple(sorted(names, key=lambda name: (list(PREFIXES).index(split_of(name)[0]), name)))


def require_metric(metric: str, available: Sequence[str]) -> None:
    """Raise ConfigError if a metric is not available. Runs without epochs have none; then all known metrics are."""
    if metric in available or (not available and find_metric(metric)):
        return
    text = f"--metric {printable(metric)}: the runs do not have this metric. They have {', '.join(available)}."
    raise ConfigError(Message("usage-metric-unknown", text, received=metric, expected=tuple(available)))


def require_comparable(metric: str, runs: Sequence[RunResults]) -> None:
    """Raise ConfigError if runs compute a metric in different ways."""
    if reason := why_not_comparable(metric, runs):
        text = f"--metric {printable(metric)}: the runs compute it in different ways ({reason}). Choose another metric."
        raise ConfigError(Message("usage-metric-not-comparable", text, received=metric, reason=reason))


def why_not_comparable(metric: str, runs: Sequence[RunResults]) -> str:
    """Return the different ways in which runs compute a metric, each with one of the runs; empty if there is one."""
    found = _definitions(runs, metric)
    return "; ".join(f"{printable(run)}: {one}" for one, run in found.items()) if len(found) > 1 else ""


def _definitions(runs: Sequence[RunResults], metric: str) -> dict[str, str]:
    """Return the ways in which runs compute a metric, each with the name of the first of them."""
    pairs = [(run.definition(split_of(metric)[1]), run.name) for run in runs]
    return {
        definition: next(name for other, name in pairs if other == definition) for definition, _ in pairs if definition
    }
