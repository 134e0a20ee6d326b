"""`cnncli report`: write the page and the model card of a run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from cnncli.errors import CnncliError, Message, RunError, printable, reason_of
from cnncli.recipes.data_review import review
from cnncli.report.model_card import model_card
from cnncli.report.run_page import RunReport
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenReport:
    """The files of a report.

    Attributes:
        page: The HTML page.
        model_card: The model card.
    """

    page: Path
    model_card: Path


def report(run: RunFolder, console: Console) -> WrittenReport:
    """Write the report of a finished run: `report.html` and `README.md`. Labels are reviewed if they have not been yet.

    Args:
        run: The run.
        console: Console for progress.

    Raises:
        RunError: The run is unfinished or damaged, or cannot be written to.
    """
    require_finished(run)
    if not run.review.is_dir():
        try:
            review(run, console)
        except CnncliError as error:  # the images may be gone
            text = f"Labels are not reviewed: {error.problems[0]}"
            log.warning(Message("run-report-not-reviewed", text, path=run.path))
    return write_report(run)


def write_report(run: RunFolder) -> WrittenReport:
    """Write the page and the model card of a finished run.

    Raises:
        RunError: The run is damaged, or cannot be written to.
    """
    found = RunReport.load(run)
    try:
        write_atomically(run.report, found.html())
        write_atomically(run.model_card, model_card(found))
    except OSError as error:
        text = f"{printable(run.path)}: the report cannot be written ({reason_of(error)})."
        raise RunError(Message("run-folder-not-writable", text, path=run.path, reason=reason_of(error))) from error
    return WrittenReport(run.report, run.model_card)
