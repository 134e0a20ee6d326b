"""A run on shards is the run on the same images in folders, from training to prediction."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.config.reader import load_config
from cnncli.dataset.manifest import Manifest
from cnncli.errors import ImageError
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.init import write_config
from cnncli.recipes.predict import Prediction, predict
from cnncli.recipes.resume import resume
from cnncli.recipes.train import Run, train
from cnncli.runs.folder import RunFolder
from cnncli.terminal.console import Console
from tests.fault_injection.trainings import weights_digest
from tests.shards.writing import write_tar
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)

Runs = tuple[Run, Run]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Draw images in folders, and write two shards of each split."""
    folder = tmp_path_factory.mktemp("data")
    drawn = draw_dataset(folder / "folders", 8, 4, 4)
    for split in ("train", "validation", "test"):
        files = sorted((drawn / split).rglob("*.png"))
        members = [(path.relative_to(drawn / split).as_posix(), path.read_bytes()) for path in files]
        half = len(members) // 2
        for number, part in enumerate((members[:half], members[half:])):
            write_tar(folder / "shards" / f"{split}-{number:06}.tar", part)
    return drawn, folder / "shards"


@pytest.fixture(scope="module")
def runs(data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Train on folders and on shards, each with a cache of its own."""
    folder, found = tmp_path_factory.mktemp("runs"), []
    for number, path in enumerate(data):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CNNCLI_CACHE", str(folder / f"cache-{number}"))
            found.append(train(tiny_config(path, training={}), folder, CONSOLE))
    return found[0], found[1]


def test_training_gives_the_same_weights(runs: Runs) -> None:
    """Weights are equal bit for bit, and the manifests differ only in the places of the images."""
    assert weights_digest(runs[0].folder.model) == weights_digest(runs[1].folder.model)
    rows = [Manifest.from_csv(run.folder.manifest).rows for run in runs]
    facts = [[(row.labels, row.split, row.facts) for row in one] for one in rows]
    assert facts[0] == facts[1]


def test_a_run_on_shards_is_evaluated_and_resumed(runs: Runs, data: tuple[Path, Path]) -> None:
    """Evaluation gives the metrics of the folder, also of each other's data; a finished run stays as it is."""
    found = [evaluate(run.folder, CONSOLE).metrics for run in runs]
    others = [evaluate(run.folder, CONSOLE, data=path).metrics for run, path in zip(runs, data[::-1], strict=True)]

    assert [one.loss for one in others] == [one.loss for one in found]
    assert found[0].loss == found[1].loss
    assert resume(runs[1].folder, CONSOLE).folder == runs[1].folder


def predicted(run: RunFolder, images: str | Path) -> list[Prediction]:
    """Return the predictions of images, all of which are usable."""
    found = list(predict(run, [images]))
    assert all(isinstance(one, Prediction) for one in found)
    return [one for one in found if isinstance(one, Prediction)]


def test_the_images_of_shards_are_predicted(runs: Runs, data: tuple[Path, Path]) -> None:
    """Predictions of a shard, a pattern and a single image in a shard are those of the files."""
    run, (folders, shards) = runs[1].folder, data
    files = predicted(run, folders / "test")
    pattern = predicted(run, f"{shards}/test-{{000000..000001}}.tar")
    name = Path(files[0].path).relative_to(folders / "test")
    (alone,) = predicted(run, shards / "test-000000.tar" / name)

    (missing,) = predict(run, [f"{shards}/test-{{000000..000002}}.tar"])
    assert isinstance(missing, ImageError)
    assert [one.probabilities for one in pattern] == [one.probabilities for one in files]
    assert alone.probabilities == pytest.approx(files[0].probabilities, rel=1e-4)  # another batch size rounds otherwise
    assert pattern[0].path == str(shards / "test-000000.tar" / "dots" / "dots-00.png")


@pytest.mark.parametrize("pattern", ["*.tar", "{train,test}-{000000..000001}.tar", "."])
def test_a_written_config_has_the_pattern(data: tuple[Path, Path], pattern: str, tmp_path: Path) -> None:
    """`cnncli init` writes the shards that it was given, not their folder."""
    out = write_config(data[1] / pattern, tmp_path / "config.yaml", False, CONSOLE)

    assert load_config(out, environment={}).data.path == data[1] / pattern
