"""`cnncli report`: write the page and the model card of a run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cnncli.errors import CnncliError, Message, RunError, printable, reason_of
from cnncli.report.model_card import is_edited, model_card
from cnncli.report.prediction_sections import MOST_MISTAKES
from cnncli.report.run_page import run_page
from cnncli.report.run_report import RunReport, read_reviewed_labels
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.shards.shard import is_there
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenReport:
    """The files of a report.

    Attributes:
        page: The HTML page.
        model_card: The model card.
        explained: Number of mistakes on which it is drawn where the network looked.
    """

    page: Path
    model_card: Path
    explained: int = 0


def report(run: RunFolder, console: Console, explain: bool = True) -> WrittenReport:
    """Write the report of a finished run: `report.html` and `README.md`.

    Training labels are reviewed if they have not been yet; a review of another split is extended to all.

    Args:
        run: The run.
        console: Console for progress.
        explain: Whether to draw on the mistakes where the network looked, which needs TensorFlow.

    Raises:
        RunError: The run is unfinished or damaged, or cannot be written to.
    """
    # Takes long to import, and trainings write their report without it.
    from cnncli.recipes.data_review import rank_labels

    require_finished(run)
    reviewed = read_reviewed_labels(run)
    if not any(one.split == "train" for one in reviewed):
        try:
            rank_labels(run, console, "all" if reviewed else "train")
        except CnncliError as error:  # the images may be gone
            text = f"Labels are not reviewed: {error.problems[0]}"
            log.warning(Message("run-report-not-reviewed", text, path=run.path))
    found = RunReport.load(run)
    if explain:
        try:
            found = replace(found, explanations=_explained(run, found, console))
        except CnncliError as error:  # a network without maps, for example
            text = f"Mistakes are not explained: {error.problems[0]}"
            log.warning(Message("run-report-not-explained", text, path=run.path))
    return write_report(run, found)


def write_report(run: RunFolder, found: RunReport | None = None) -> WrittenReport:
    """Write the page and the model card of a finished run. A model card that somebody has edited is kept.

    Raises:
        RunError: The run is damaged, or cannot be written to.
    """
    found = found or RunReport.load(run)
    try:
        write_atomically(run.report, run_page(found))
        if is_edited(run.model_card):
            text = f"{printable(run.model_card)} was edited and is kept; delete it to have it written again."
            log.warning(Message("run-model-card-edited", text, path=run.model_card))
        else:
            write_atomically(run.model_card, model_card(found))
    except OSError as error:
        text = f"{printable(run.path)}: the report cannot be written ({reason_of(error)})."
        raise RunError(Message("run-folder-not-writable", text, path=run.path, reason=reason_of(error))) from error
    return WrittenReport(run.report, run.model_card, len(found.explanations))


def _explained(run: RunFolder, found: RunReport, console: Console) -> dict[Path, NDArray[Any]]:
    """Return the mistakes of a report with Grad-CAM for the predicted class as an overlay, by path."""
    from cnncli.recipes.explain import explain as explain_images
    from cnncli.report.explanation_figure import overlay_heat

    paths = [path for one in found.mistakes[:MOST_MISTAKES] if is_there(path := Path(one.path))]
    if not paths:
        return {}
    explained = explain_images(run, paths, console=console)
    return {
        path: overlay_heat(one.pixels, one.classes[0].maps["grad-cam"])
        for path, one in zip(paths, explained, strict=True)
    }
