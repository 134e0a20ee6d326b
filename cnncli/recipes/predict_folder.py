"""`cnncli predict --table`: predictions as a table with a row per image and a column per class."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from cnncli.dataset.records import LABEL_SEPARATOR
from cnncli.errors import ImageError
from cnncli.inference.prediction import Prediction
from cnncli.inference.spec import PredictorSpec
from cnncli.recipes.predict import Result, Results
from cnncli.storage.tables import Cell, Column, writing_table

ALL_CLASSES = 2**31
"""Number of classes per image that includes every class."""


def write_table(path: Path, results: Results) -> Generator[Result, None, None]:
    """Yield results while they are written to a table; the file appears after the last of them.

    Args:
        path: File in a folder that exists, from `table_path`.
        results: Predictions with all classes.
    """
    with writing_table(path, table_columns(results.spec, results.abstains), results.n) as add:
        for result in results:
            add(_row(result, results.spec, results.abstains))
            yield result


def predicted_labels(prediction: Prediction, spec: PredictorSpec) -> tuple[str, ...]:
    """Return the class of an image, or its labels, of a prediction with all classes."""
    if not spec.is_multi_label:
        return prediction.labels[:1]
    limits = dict(zip(spec.classes, spec.thresholds, strict=True))
    pairs = zip(prediction.labels, prediction.probabilities, strict=True)
    return tuple(label for label, probability in pairs if probability >= limits[label])


def table_columns(spec: PredictorSpec, abstains: bool) -> list[Column]:
    """Return the columns of a table; a class whose name is that of another column has it in parentheses."""
    facts = [Column("path", str), Column("predicted", str), Column("confidence", float)]
    facts += [Column("unknown", bool)] if abstains else []
    facts += [Column("error", str)]
    names = [column.name for column in facts]
    for name in spec.classes:
        while name in names:
            name = f"({name})"
        names.append(name)
    return facts + [Column(name, float) for name in names[len(facts) :]]


def _row(result: Result, spec: PredictorSpec, abstains: bool) -> Sequence[Cell]:
    if isinstance(result, ImageError):
        empty = [None] * (3 if abstains else 2)
        return [str(result.path), *empty, str(result.reason), *[None] * len(spec.classes)]
    found = dict(zip(result.labels, result.probabilities, strict=True))
    unknown = [result.unknown] if abstains else []
    predicted = LABEL_SEPARATOR.join(predicted_labels(result, spec))
    return [result.path, predicted, result.confidence, *unknown, None, *(found[name] for name in spec.classes)]
