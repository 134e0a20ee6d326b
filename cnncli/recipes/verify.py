"""Verify a run: new processes load what it saved, and must give the results that it reported.

    python -m cnncli.recipes.verify RUN WORK.json RESULT.npz

is one of these processes: it predicts images with the prediction path, and computes others from cached features with
the run's engine. A second one loads `model.keras` with plain Keras, without cnncli.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.config.reader import cache_settings, load_resolved
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.engines.mirrored import mirror, mirror_flags
from cnncli.errors import CnncliError, Message, ParityError, RunError, printable
from cnncli.evaluation.outputs import load_outputs
from cnncli.evaluation.parity import (
    SAME,
    TOLERANCES,
    ProbabilityAgreement,
    Reported,
    compare,
    compare_training,
    in_reported_order,
    logits_of_scores,
    lowest,
    require_parity,
    spread,
)
from cnncli.features.decoded_images import read_all, summarize
from cnncli.features.extract import FeatureSet
from cnncli.features.store import FeatureStore
from cnncli.inference.evaluate_rows import compute_outputs, extraction_of
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import load_predictor
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import Metrics
from cnncli.recipes.predict import predict
from cnncli.runs.folder import RunFolder, update_facts
from cnncli.runs.records import read_history
from cnncli.runtime.new_process import start_python
from cnncli.shards.shard import is_there
from cnncli.storage.cache_dir import FEATURES, cache_dir
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import short_path

FEW, FEW_IN_KERAS = 32, 16
"""Numbers of images after training: for the prediction path, and for plain Keras. The engine gets all."""
MOST_IN_KERAS = 200
"""Maximum number of images for plain Keras, which takes tens of milliseconds for each."""
VERIFIED = "verified"
"""Name of the file that marks a template whose classifier plain Keras has reproduced."""
BARE_KERAS = """
import sys
import keras, numpy as np
model, pixels, scores = sys.argv[1:]
loaded, images = keras.saving.load_model(model, safe_mode=True), np.load(pixels)
parts = [loaded(images[start:start + 16].astype("float32")) for start in range(0, len(images), 16)]
np.save(scores, np.concatenate([keras.ops.convert_to_numpy(part) for part in parts]).astype("float64"))
assert "cnncli" not in sys.modules
"""

log = logging.getLogger(__name__)


class StoppedError(Exception):
    """A signal stopped a new process, or its images cannot be read, which says nothing about the run."""


@dataclass(frozen=True)
class Child:
    """A new process, and the file that it writes."""

    where: str
    process: subprocess.Popen[str]
    result: Path

    def wait(self) -> None:
        """Wait for the end of the process.

        Raises:
            ParityError: It could not load or run the classifier.
            StoppedError: It was stopped.
        """
        _, err = self.process.communicate()
        if self.process.returncode < 0:
            raise StoppedError(f"{self.where}: stopped by signal {-self.process.returncode}")
        if self.process.returncode > 0:
            reason = printable(next((line for line in reversed(err.splitlines()) if line.strip()), "no reason"))[:300]
            text = f"{self.where}: the saved classifier cannot be loaded or run in a new process ({reason})."
            raise ParityError(Message("metrics-not-reproduced", text, where=self.where, reason=reason))


@dataclass(frozen=True)
class Verification:
    """New processes that load a run, and what the run reported.

    Attributes:
        rows: The evaluated images.
        reported: What was reported for them.
        few: Places of the images that the prediction path gets.
        keras: Places of the images that plain Keras gets; none if it is not asked.
    """

    run: RunFolder
    spec: PredictorSpec
    split: str
    rows: Sequence[ImageRecord]
    reported: Reported
    few: NDArray[np.int64]
    keras: NDArray[np.int64]
    children: tuple[Child, ...]

    @classmethod
    def start(cls, run: RunFolder, folder: Path, split: str, n: int | None, n_in_keras: int) -> Verification:
        """Start the processes.

        Args:
            run: A run.
            folder: Folder for the files of the processes.
            split: Split of the run that was evaluated.
            n: Number of images for the prediction path; None: all.
            n_in_keras: Number of images for plain Keras; 0: it is not asked.

        Raises:
            RunError: The split was not evaluated, or the run is damaged.
            StoppedError: No image is there, or some cannot be decoded or have changed.
        """
        spec, manifest = PredictorSpec.load(run.engine), Manifest.from_csv(run.manifest)
        rows = manifest.split(split)
        outputs = load_outputs(run.outputs, split, len(rows), spec.units)
        if outputs is None:
            text = f"{printable(run.path.name)}: its {split} split was not evaluated. Evaluate it first."
            raise RunError(Message("run-split-missing", text, path=run.path, received=split))
        probabilities = spec.probabilities(outputs.logits)
        paths = tuple(row.file for row in rows)
        reported = Reported(paths, manifest.labels(rows), manifest.classes, probabilities)
        # Images can be gone whose features are cached: neither `update` nor `evaluate` needs them.
        there = np.array([place for place, row in enumerate(rows) if is_there(row.path)], np.int64)
        if not len(there):
            raise StoppedError(f"no image of {split} is there")
        few, keras = there[spread(len(there), n or len(there))], there[spread(len(there), n_in_keras)]
        in_keras = [_start_keras(run, spec, [rows[place] for place in keras], folder)] if len(keras) else []
        children = (_start_cnncli(run, [paths[place] for place in few], split, folder), *in_keras)
        return cls(run, spec, split, rows, reported, few, keras, children)

    def finish(self) -> list[ProbabilityAgreement]:
        """Wait for the processes, and compare what they found.

        Raises:
            ParityError: A process could not load or run the classifier, or has other classes.
            StoppedError: A process was stopped.
        """
        for child in self.children:
            child.wait()
        found = np.load(self.children[0].result)
        names = found["classes"].tolist()
        agreements = [self._compare("predict", found["predict"], names, self.few)]
        if "engine" in found:
            agreements.append(self._compare("engine", found["engine"], names, np.arange(len(self.rows))))
        if len(self.keras):
            agreements.append(self._compare_keras(np.load(self.children[1].result)))
        return agreements

    def stop(self) -> None:
        """Stop the processes that still run."""
        for child in self.children:
            if child.process.poll() is None:
                child.process.kill()
                child.process.communicate()

    def _compare(
        self, where: str, found: NDArray[np.float64], names: Sequence[str], places: NDArray[np.int64]
    ) -> ProbabilityAgreement:
        reported = self.reported.at(places)
        return compare(where, reported, in_reported_order(found, names, reported, where), SAME)

    def _compare_keras(self, scores: NDArray[np.float64]) -> ProbabilityAgreement:
        reported, names = self.reported.at(self.keras), json.loads(self.run.classes.read_text(encoding="utf-8"))
        if scores.shape[1:] != (self.spec.units,):
            text = f"keras: model.keras gives {scores.shape[1:]} scores for {len(names)} classes."
            raise ParityError(Message("metrics-not-reproduced", text, where="keras", received=scores.shape[1:]))
        logits = logits_of_scores(scores, self.spec.activation)
        views = np.split(logits, len(mirror_flags(self.spec.tta)))
        found = self.spec.probabilities(np.mean(views, axis=0))
        precision = lowest([*self.spec.precisions, self.spec.tail_precision])
        return compare("keras", reported, in_reported_order(found, names, reported, "keras"), TOLERANCES[precision])


def verify(run: RunFolder, split: str) -> list[ProbabilityAgreement]:
    """Verify a run with all images of a split, of which plain Keras gets at most `MOST_IN_KERAS`.

    Returns:
        The differences of the prediction path, the engine and plain Keras, which may be too large.

    Raises:
        ParityError: A process could not load or run the classifier, or has other classes.
        RunError: The split was not evaluated, the run is damaged, or images cannot be decoded or have changed.
    """
    with tempfile.TemporaryDirectory(prefix="cnncli-verify-") as folder:
        try:
            started = Verification.start(run, Path(folder), split, None, MOST_IN_KERAS)
            try:
                return started.finish()
            finally:
                started.stop()
        except StoppedError as error:
            raise RunError(Message("metrics-not-verified", f"{printable(run.path.name)}: {error}")) from error


@contextmanager
def verifying(run: RunFolder, metrics: Mapping[str, Metrics], template: Path | None = None) -> Iterator[None]:
    """Verify a run that was just trained while the block runs, and record the result in run.json.

    The prediction path and plain Keras get a few validation images (or test images, if there are none), the engine gets
    all whose features are cached.

    Args:
        run: A finished run.
        metrics: Its metrics by split.
        template: Folder of the template from which its classifier was made, if there is one; plain Keras is asked only
            once about each template.

    Raises:
        ParityError: Something differs; the run is then failed.
    """
    split = next((name for name in ("validation", "test") if name in metrics), None)
    if split is None or not load_resolved(run.config).evaluation.verify:
        yield
        return
    is_known = template is not None and (template / VERIFIED).exists()
    with tempfile.TemporaryDirectory(prefix="cnncli-verify-") as folder:
        try:
            started = Verification.start(run, Path(folder), split, FEW, 0 if is_known else FEW_IN_KERAS)
        except (StoppedError, OSError) as error:
            _warn_not_verified(run, error)
            yield
            return
        log.info(f"Verifying {short_path(run.path)} in new processes; the figures are drawn meanwhile.")
        try:
            yield
            found = started.finish()
            require_parity(found, _problems_of_training(run, metrics, started.spec))
        except ParityError as error:
            update_facts(run, {"state": "failed", "reason": error.problems[0]})
            raise
        except (StoppedError, OSError) as error:
            _warn_not_verified(run, error)
            return
        finally:
            started.stop()
    update_facts(run, {"verified": {one.where: one.to_dict() for one in found}})
    if template is not None:
        with suppress(OSError):  # the cache may be read-only
            (template / VERIFIED).touch()


def _warn_not_verified(run: RunFolder, error: Exception) -> None:
    text = f"{printable(run.path.name)}: could not be verified ({error}). Use `cnncli evaluate --verify`."
    log.warning(Message("metrics-not-verified", text, path=run.path, reason=str(error)))


def _problems_of_training(run: RunFolder, metrics: Mapping[str, Metrics], spec: PredictorSpec) -> list[Message]:
    """Return the problem if the saved classifier does not reach the validation metrics of the kept epoch."""
    facts = run.read_facts()
    rows = [row for row in read_history(run.history) if row.epoch == facts.get("best_epoch")]
    if "validation" not in metrics or not rows:
        return []
    precisions = [*spec.precisions, spec.tail_precision, facts.get("training_precision", "float32")]
    problem = compare_training(rows[0].validation, metrics["validation"], lowest(precisions))
    return [problem] if problem else []


def _start_cnncli(run: RunFolder, paths: Sequence[str], split: str, folder: Path) -> Child:
    work, result = folder / "work.json", folder / "found.npz"
    work.write_text(json.dumps({"paths": list(paths), "split": split}), encoding="utf-8", errors="surrogateescape")
    words = ["-m", "cnncli.recipes.verify", str(run.path), str(work), str(result)]
    return Child("predict", start_python(words), result)


def _start_keras(run: RunFolder, spec: PredictorSpec, rows: Sequence[ImageRecord], folder: Path) -> Child:
    decoded, errors = read_all(rows, spec.pixels)
    if errors:  # says nothing about the classifier
        raise StoppedError(summarize(errors, rows)[0])
    images = np.stack([pixels for _, pixels in decoded])
    views = [mirror(images) if is_mirrored else images for is_mirrored in mirror_flags(spec.tta)]
    pixels, scores = folder / "pixels.npy", folder / "scores.npy"
    np.save(pixels, np.concatenate(views))
    return Child("keras", start_python(["-c", BARE_KERAS, str(run.model), str(pixels), str(scores)]), scores)


# In the new process


def main(run: RunFolder, work: Mapping[str, Any], result: Path) -> None:
    """Predict images, compute others of a split from cached features, and write the probabilities."""
    classes = PredictorSpec.load(run.engine).classes
    answers = list(predict(run, work["paths"], len(classes)))
    if wrong := [one for one in answers if not isinstance(one, Prediction)]:
        raise wrong[0]
    named = [dict(zip(one.labels, one.probabilities, strict=True)) for one in answers if isinstance(one, Prediction)]
    found = {
        "classes": np.array(classes),
        "predict": np.array([[one[name] for name in classes] for one in named]),
    }
    config, rows = load_resolved(run.config), Manifest.from_csv(run.manifest).split(work["split"])
    predictor = load_predictor(run.engine, run.model, compile_trunk=False)
    with FeatureStore(cache_dir() / FEATURES, cache_settings(config.cache).max_bytes) as store:
        if predictor.trunks and not FeatureSet(extraction_of(predictor), rows).missing(store):
            outputs, _ = compute_outputs(predictor, rows, store, Console(quiet=True), networks=[])
            found["engine"] = predictor.spec.probabilities(outputs.logits)
    np.savez(result, allow_pickle=False, **found)


if __name__ == "__main__":
    try:
        main(RunFolder(Path(sys.argv[1])), read_json(Path(sys.argv[2])), Path(sys.argv[3]))
    except CnncliError as error:
        sys.exit(str(error))
