"""`cnncli track`: send a finished run to MLflow, also at the end of a training with `tracking: mlflow`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from cnncli.config.reader import load_resolved
from cnncli.errors import CnncliError, RunError
from cnncli.inference.predictor import load_trained
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.runs.tracking import MlflowRun, history_of, incomplete, tracked

log = logging.getLogger(__name__)


def track(run: RunFolder) -> MlflowRun:
    """Send a finished run to MLflow, except what it has already, and return its MLflow run.

    Raises:
        RunError: The run is unfinished, or MLflow cannot be reached or does not take it.
    """
    require_finished(run)
    try:
        found = MlflowRun(run)
        _send(run, found)
    except CnncliError:
        raise
    except Exception as error:
        raise RunError(incomplete(run, error)) from error
    return found


@contextmanager
def tracking_results(run: RunFolder) -> Iterator[None]:
    """Send a run whose training has ended to MLflow after the block, or its failure, if its config asks for it.

    An error is a warning, because the run is complete without MLflow.
    """

    def send(found: MlflowRun) -> None:
        _send(run, found)
        log.info(f"MLflow run {found.id} at {found.experiment.uri}")

    with tracked(run, load_resolved(run.config)) as tracker:
        yield
    if tracker is not None:
        tracker.send(send)


def _send(run: RunFolder, found: MlflowRun) -> None:
    """Send epochs, results, files and model."""
    history = history_of(run)
    found.log_epochs(history)
    found.log_results(history)
    trained = load_trained(run)
    found.log_model(trained.model, trained.classes)
    found.end("FINISHED")
