"""MLflow: an experiment with one MLflow run for each run directory, which it mirrors.

Everything is written to the run directory first, so a server that cannot be reached costs nothing but a warning, and
`cnncli track RUN` sends what is missing. A resumed run continues its MLflow run, whose id is in run.json.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.config.tree import format_value
from cnncli.config.writer import plain_settings
from cnncli.errors import Message, RunError, printable
from cnncli.runs.folder import RunFolder, update_facts
from cnncli.runs.records import HistoryRow, read_history
from cnncli.runtime.environment import git, package_version
from cnncli.runtime.machine import causes
from cnncli.terminal.formatting import short_path
from cnncli.version import __version__

if TYPE_CHECKING:
    import keras

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
"""MLflow's variables of the server or store, and of the experiment."""
DEFAULT_EXPERIMENT = "cnncli"
STORE = ".mlflow"
"""Folder of the store in the folder of the runs, if no server is named."""
FACT = "mlflow"
"""Name in run.json of the ids of the MLflow run and its model."""
MAX_PARAMETERS = 100
"""Maximum number of parameters in a request, a limit of MLflow."""
MAX_PARAMETER_LENGTH = 6000
FIRST = "loss"
"""Metric of every epoch, whose steps tell which epochs MLflow has."""

FILES = ("config", "classes", "environment", "metrics", "history", "stages", "report", "model_card", "crossval")
"""Files of a run that are sent, if they are there."""

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow sends usage events to its maker otherwise
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Variables that are set unless the user has set them."""

_USER = re.compile(r"(?<=://)[^\s/:@?#]*(?::\S*)?@")
"""User and password of an address, also in a text."""

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

log = logging.getLogger(__name__)


def import_mlflow() -> Any:
    """Import mlflow, without telemetry, retries for minutes, or messages about its database.

    Raises:
        RunError: It is not installed.
    """
    if importlib.util.find_spec("mlflow") is None:
        text = "tracking: mlflow needs MLflow. Install it with: pip install 'cnncli[tracking]'"
        raise RunError(Message("run-tracking-not-installed", text, key="tracking", received="mlflow"))
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


def require_tracking(config: Config, runs_dir: Path) -> None:
    """Check, before work starts, that MLflow can be reached if a config asks for it.

    Raises:
        RunError: MLflow is not installed, or its server or store cannot be reached.
    """
    if config.tracking == "mlflow":
        MlflowExperiment(runs_dir)


class MlflowExperiment:
    """The experiment of cnncli on the server that `MLFLOW_TRACKING_URI` names, else in a database next to the runs.

    Attributes:
        uri: Address of the server or store without user, password and query.
        client: MLflow's client.
        id: Id of the experiment.
    """

    def __init__(self, runs_dir: Path) -> None:
        """Connect, and create the experiment if it is missing. Raises RunError."""
        self.mlflow = import_mlflow()
        store = runs_dir.absolute() / STORE
        uri = os.environ.get(URI) or f"sqlite:///{store / 'mlflow.db'}"
        self.uri = without_credentials(uri)
        place = None if os.environ.get(URI) else (store / "artifacts").as_uri()
        name = os.environ.get(EXPERIMENT) or DEFAULT_EXPERIMENT
        try:
            if place:
                store.mkdir(parents=True, exist_ok=True)
            self.mlflow.set_tracking_uri(uri)
            self.client = self.mlflow.MlflowClient(uri)
            found = self.client.get_experiment_by_name(name)
            self.id = found.experiment_id if found else self.client.create_experiment(name, place)
        except Exception as error:  # its exceptions have no common base class with those of its libraries
            reason = _reason(error)
            text = f"MLflow at {printable(self.uri)} cannot be used: {printable(reason)}"
            remedy = f"Start the server, correct {URI}, or set tracking=tensorboard."
            raise RunError(Message("run-tracking-unreachable", f"{text} {remedy}", received=self.uri)) from error


class MlflowRun:
    """The MLflow run of a run directory."""

    def __init__(self, run: RunFolder) -> None:
        """Create it, with tags and parameters, or continue the one in run.json if MLflow still has it.

        Raises RunError or MLflow's errors.
        """
        self.run = run
        self.experiment = MlflowExperiment(run.path.parent)
        self.client = self.experiment.client
        self._last_step: int | None = None
        facts = run.read_facts()
        known = facts.get(FACT) or {}
        if known.get("uri") == self.experiment.uri and self._exists(str(known["run_id"])):
            self.id = str(known["run_id"])
            self.client.update_run(self.id, status="RUNNING")
            return
        tags = {"mlflow.source.name": "cnncli", **_tags(run, facts)}
        self.id = self.client.create_run(self.experiment.id, run_name=run.path.name, tags=tags).info.run_id
        update_facts(run, {FACT: {"uri": self.experiment.uri, "run_id": self.id}})
        parameters = _parameters(load_resolved(run.config))
        for start in range(0, len(parameters), MAX_PARAMETERS):
            self.client.log_batch(self.id, params=parameters[start : start + MAX_PARAMETERS])

    def _exists(self, run_id: str) -> bool:
        """Return whether MLflow still has a run, which people delete there, or with its store."""
        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except self.experiment.mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def log_epochs(self, history: Sequence[HistoryRow]) -> None:
        """Log the epochs that MLflow does not have yet, as steps."""
        if self._last_step is None:
            logged = self.client.get_metric_history(self.id, FIRST)
            self._last_step = max((one.step for one in logged), default=0)
        for row in history:
            if row.epoch > self._last_step:
                more = {"learning_rate": row.learning_rate, "penalty": row.penalty, "seconds": row.seconds}
                self._log({**row.metrics, **more}, row.epoch)
                self._last_step = row.epoch

    def log_results(self, history: Sequence[HistoryRow]) -> None:
        """Log the results of the run in run.json, with intervals, then its files and figures."""
        facts = self.run.read_facts()
        results = {**_results(facts.get("metrics") or {}), "run_seconds": facts.get("seconds")}
        self._log(results, max((row.epoch for row in history), default=1))
        for path in (getattr(self.run, name) for name in FILES):
            if path.is_file():
                self.client.log_artifact(self.id, str(path))
        if self.run.figures.is_dir():
            self.client.log_artifacts(self.id, str(self.run.figures), "figures")

    def log_model(self, model: keras.Model, classes: Sequence[str]) -> None:
        """Log the classifier with its signature, raw RGB in and probabilities out, unless MLflow has it already."""
        import numpy as np

        mlflow = self.experiment.mlflow
        outputs = self.client.get_run(self.id).outputs
        if outputs and outputs.model_outputs:
            return
        from mlflow.models import ModelSignature
        from mlflow.types.schema import Schema, TensorSpec

        pixels, scores = model.inputs[0], model.outputs[0]
        inputs = TensorSpec(np.dtype("uint8"), (-1, *pixels.shape[1:]), pixels.name)
        answers = TensorSpec(np.dtype("float32"), (-1, *scores.shape[1:]))
        with mlflow.start_run(run_id=self.id):
            mlflow.keras.log_model(
                model,
                name="model",
                signature=ModelSignature(inputs=Schema([inputs]), outputs=Schema([answers])),
                pip_requirements=[f"{name}=={package_version(name)}" for name in ("keras", "tensorflow")],
                metadata={"classes": list(classes), "cnncli": __version__},
            )

    def end(self, status: Status) -> None:
        """Record the end of the run."""
        self.client.set_terminated(self.id, status)

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        finite = {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
        self.client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in finite.items()])


class Tracker:
    """Sends a run to MLflow while it trains and after it; an error is a warning, since the run directory has all."""

    def __init__(self, run: RunFolder) -> None:
        """Create or continue the MLflow run, if that is possible."""
        self._run = run
        self._mlflow: MlflowRun | None = None
        try:
            self._mlflow = MlflowRun(run)
        except Exception as error:
            log.warning(incomplete(run, error))

    def send(self, send: Callable[[MlflowRun], None]) -> None:
        """Call a function with the MLflow run, unless there is none or an earlier call failed."""
        if self._mlflow is None:
            return
        try:
            send(self._mlflow)
        except Exception as error:
            self._mlflow = None  # each further attempt could take as long to fail
            log.warning(incomplete(self._run, error))

    def log_epochs(self, history: Sequence[HistoryRow]) -> None:
        """Send the epochs that MLflow does not have."""
        self.send(lambda found: found.log_epochs(history))


@contextmanager
def tracked(run: RunFolder, config: Config) -> Iterator[Tracker | None]:
    """Yield the tracker of a run, or None if its config does not ask for one; record whether the block fails."""
    if config.tracking != "mlflow":
        yield None
        return
    tracker = Tracker(run)
    try:
        yield tracker
    except Exception:
        tracker.send(lambda found: found.end("FAILED"))
        raise
    except BaseException:
        tracker.send(lambda found: found.end("KILLED"))
        raise


def without_credentials(uri: str) -> str:
    """Return an address without user, password and query, in which databases accept a password, too.

    >>> without_credentials("postgresql://ada:secret@localhost/runs?sslpassword=secret")
    'postgresql://localhost/runs'
    """
    return _USER.sub("", uri).partition("?")[0]


def incomplete(run: RunFolder, error: Exception) -> Message:
    """Return the warning that MLflow lacks something of a run."""
    name = printable(short_path(run.path))
    reason = printable(_reason(error))
    text = f"MLflow does not have all of {name} ({reason}). Send it later with: cnncli track {name}"
    return Message("run-tracking-incomplete", text, path=run.path, reason=reason)


def history_of(run: RunFolder) -> tuple[HistoryRow, ...]:
    """Return the epochs of a run, none if it has no history yet."""
    return read_history(run.history) if run.history.is_file() else ()


def _reason(error: Exception) -> str:
    """Return the reason of the system, such as a refused connection, else the first line of an error."""
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return _USER.sub("", (str(error).strip().splitlines() or [type(error).__name__])[0])[:300]


def _tags(run: RunFolder, facts: Mapping[str, Any]) -> dict[str, str]:
    names = ("mode", "backbone", "engine", "precision", "parent", "command")
    tags = {f"cnncli.{name}": str(facts[name]) for name in names if facts.get(name) is not None}
    with suppress(TypeError, KeyError):  # outside a repository
        tags["mlflow.source.git.commit"] = git()["commit"]  # type: ignore[index]
    return {**tags, "cnncli.version": __version__, "cnncli.path": str(run.path)}


def _parameters(config: Config) -> list[Any]:
    from mlflow.entities import Param

    texts = {
        key: value if isinstance(value, str) else format_value(value) for key, value in plain_settings(config).items()
    }
    return [Param(key, text[:MAX_PARAMETER_LENGTH]) for key, text in texts.items()]


def _results(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the numbers of each split, such as `test_accuracy`, with the bounds of its interval."""
    found: dict[str, float] = {}
    for split, summary in metrics.items():
        numbers = {("accuracy" if name == "top1" else name): value for name, value in summary.items()}
        low, high = numbers.pop("top1_ci95", (None, None))
        bounds = {"accuracy_ci95_low": low, "accuracy_ci95_high": high}
        numbers = {name: value for name, value in {**numbers, **bounds}.items() if isinstance(value, int | float)}
        found |= {f"{split}_{name}": value for name, value in numbers.items()}
    return found
