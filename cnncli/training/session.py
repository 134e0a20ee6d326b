"""The run around training: its creation, log, locks and limits."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from cnncli.config.modes import run_name
from cnncli.config.writer import dump_config
from cnncli.engines.build import graphs_in_use
from cnncli.errors import CnncliError, Message, NonFiniteError, TrainingError, printable
from cnncli.networks.backend import gpus
from cnncli.runs.folder import RunFolder, create_run, locked
from cnncli.runs.log import recording
from cnncli.runs.records import RunWriter
from cnncli.runs.tracking import tracked
from cnncli.runtime.environment import environment
from cnncli.runtime.memory import bounded
from cnncli.runtime.signals import Terminated, mark_reported, unwrapped
from cnncli.terminal.formatting import short_path
from cnncli.training.context import TrainingContext

log = logging.getLogger(__name__)


@contextmanager
def new_run(
    context: TrainingContext, runs_dir: Path, initial_weights_sha256: str, parent: Path | None = None
) -> Iterator[RunFolder]:
    """Create a run that starts from weights with the given hash, or its parent's, and hold its lock inside the block.

    For a head that is solved exactly, the hash is that of the frozen weights.

    Raises:
        CacheError: The cache directory cannot be written.
        RunError: The run cannot be created.
    """
    facts = {
        "mode": context.config.mode,
        "backbone": context.config.networks,
        "began_on": context.choice.in_words,
        "engine": context.choice.engine,
        "precision": context.choice.precision,
        "stages": [stage.name for stage in context.stages],
        "initial_weights_sha256": initial_weights_sha256,
    }
    with graphs_in_use(context.graphs):  # before the run is created, because it can fail
        run = create_run(runs_dir, run_name(context.config), _files(context), parent, facts)
        with locked(run):
            yield run


@contextmanager
def training_session(run: RunFolder, context: TrainingContext) -> Iterator[RunWriter]:
    """Provide the writer of a run, whose lock this process holds, and everything else needed during training.

    Messages go to the run's log, cached features and graphs are kept, memory is limited, errors are recorded in
    run.json, and the command that resumes the run is shown.
    """
    with (
        recording(run),
        _resume_hint(run),
        context.store,
        graphs_in_use(context.graphs),
        nullcontext() if gpus() else bounded(),
        tracked(run, context.config) as tracker,
        RunWriter(run, tracker.log_epochs if tracker else None) as writer,
        unwrapped(),
    ):
        yield writer


@contextmanager
def _resume_hint(run: RunFolder) -> Iterator[None]:
    """Show the command that resumes the run if the block ends with an error that can be fixed."""
    command = f"cnncli train {printable(shlex.quote(str(short_path(run.path))))}"
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        log.warning(Message("training-interrupted", f"Interrupted. Resume with: {command}", path=run.path))
        mark_reported(stop)
        raise
    except NonFiniteError:
        name = printable(shlex.quote(str(short_path(run.path))))
        log.info(Message("training-replay", f"`cnncli replay {name}` names the layer that broke.", path=run.path))
        raise
    except TrainingError:
        raise  # resuming would fail again in the same way
    except (CnncliError, OSError):
        log.warning(Message("training-failed", f"After fixing this, resume with: {command}", path=run.path))
        raise


def _files(context: TrainingContext) -> dict[str, str | Iterable[str]]:
    config, manifest = context.config, context.manifest
    files: dict[str, str | Iterable[str]] = {
        "config.yaml": dump_config(config),
        "state/config.yaml": dump_config(config),
        "manifest.csv": manifest.csv_parts(),
        "classes.json": json.dumps(list(manifest.classes), ensure_ascii=False, indent=1) + "\n",
        "environment.json": json.dumps(environment(), indent=2) + "\n",
    }
    if manifest.skipped:
        files["skipped.csv"] = manifest.skipped_text()
    if manifest.similar:
        files["near_duplicates.csv"] = manifest.similar_text()
    return files
