"""The model card of a run: a README.md with the metadata that the Hugging Face Hub reads.

The format is that of https://huggingface.co/docs/hub/model-cards, with results as a `model-index`.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml

from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import Metrics
from cnncli.report.run_report import RunReport
from cnncli.report.usage_example import usage_example
from cnncli.terminal.formatting import percent, percent_range

MOST_CLASSES = 50
"""Maximum number of classes that are listed in the text."""
_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "roc_auc": "roc_auc",
    "mean_average_precision": "average_precision",
}
"""The metrics of the model index, by their names here, with their types on the Hub."""


def model_card(report: RunReport) -> str:
    """Return the model card of a finished run, as Markdown with metadata in YAML, and its checksum as the last line."""
    header = yaml.safe_dump(_metadata(report), sort_keys=False, allow_unicode=True, width=1000)
    card = f"---\n{header}---\n\n{_text(report)}\n"
    return f"{card}{_mark(card)}\n"


def is_edited(path: Path) -> bool:
    """Return whether there is a model card at a path that somebody has edited since it was written."""
    try:
        card, mark = re.split(r"(?=<!-- .*-->\s*\Z)", path.read_text(encoding="utf-8", errors="replace"), maxsplit=1)
    except FileNotFoundError:
        return False
    except ValueError:  # the mark was removed
        return True
    return mark.strip() != _mark(card)


def _mark(card: str) -> str:
    digest = hashlib.sha256(card.encode()).hexdigest()
    return f"<!-- Written by cnncli, which does not replace an edited file: {digest} -->"


def _metadata(report: RunReport) -> dict[str, Any]:
    """Return the metadata. The license is that of images and pretrained weights, which only their owner knows."""
    metadata: dict[str, Any] = {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "keras", "transfer-learning", "cnncli"],
    }
    if report.found is None:
        return metadata
    found = report.found
    task = {"type": "image-classification", "name": "Image Classification"}
    dataset = {"name": report.config.data.path.name, "type": "imagefolder", "split": found.split}
    result = {"task": task, "dataset": dataset, "metrics": _results(found.metrics)}
    return {**metadata, "model-index": [{"name": report.title, "results": [result]}]}


def _results(metrics: Metrics) -> list[dict[str, Any]]:
    values = {**metrics.values, **metrics.evaluated}
    return [
        {"type": kind, "value": round(float(values[name]), 6), "name": name.replace("_", " ")}
        for name, kind in _METRICS.items()
        if name in values
    ]


def _text(report: RunReport) -> str:
    facts, classes = report.facts, report.manifest.classes
    kind = "any number of labels" if report.manifest.is_multi_label else "one class"
    networks = " and ".join(
        f"{backbone.network.name} ({_weights(backbone.weights)} weights)" for backbone in report.config.backbones
    )
    counts = ", ".join(f"{split} {len(report.manifest.split(split)):,}" for split in report.manifest.counts())
    more = f", and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
    names = ", ".join(f"`{name}`" for name in classes[:MOST_CLASSES])
    lines = [
        f"# {report.title}",
        "",
        f"An image classifier that gives an image {kind} of {len(classes)}: {names}{more}.",
        "",
        f"It was trained with cnncli {facts.get('cnncli')}: {facts.get('mode')} on {networks}.",
        "",
        *(_use(report.spec) if report.spec else ()),
        "## Results",
        "",
        *_table(report),
        "",
        "## Training data",
        "",
        f"Images: {counts}.",
        "",
        "## Limits",
        "",
        "The results hold for images like those of the dataset. Images of other classes get one of these classes,",
        "unless cnncli answers them with `unknown`.",
    ]
    return "\n".join(lines) + "\n"


def _weights(weights: str) -> str:
    return "random initial" if weights == "none" else Path(weights).name


def _use(spec: PredictorSpec) -> list[str]:
    pixels = {"rgb": "RGB", "grayscale": "gray", "rgba": "RGBA", "bands": f"{spec.bands}-band"}[spec.color]
    return [
        "## Use",
        "",
        f"`model.keras` takes {pixels} pixels from 0 to 255; preprocessing is part of it. In this folder:",
        "",
        "```python",
        *usage_example(spec).splitlines(),
        "```",
        "",
        "Or `cnncli predict IMAGE --run DIR`, which decodes every image as the training did.",
        "",
    ]


def _table(report: RunReport) -> list[str]:
    splits = {"validation": report.validation}
    if report.found is not None:
        splits[report.found.split] = report.found.metrics
    lines = ["| split | images | accuracy | 95 % interval |", "|---|---|---|---|"]
    for split, metrics in splits.items():
        if metrics is not None:
            lines.append(f"| {split} | {metrics.n:,} | {percent(metrics.top1)} | {percent_range(*metrics.top1_ci95)} |")
    return lines
