"""Multi-crop evaluation equals the mean of bare Keras's predictions for crops that the test cuts itself. Row 116."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from cnncli.cli import main
from cnncli.errors import ConfigError
from cnncli.images.decode import PixelSpec, decode
from cnncli.inference.crops import crops_of
from cnncli.networks.backend import import_keras
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images that are larger than the network."""
    return draw_dataset(tmp_path_factory.mktemp("data"), size=40)


@pytest.fixture(scope="module", params=["softmax", "sigmoid"])
def run(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run with an activation of the head."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        return train(tiny_config(data, head={"activation": request.param}), folder / "runs", CONSOLE)


def _cut(image: np.ndarray, mirror: bool) -> list[np.ndarray]:
    """Return corners and center of 32 pixels of an image of 37 pixels."""
    crops = [image[:32, :32], image[:32, -32:], image[-32:, :32], image[-32:, -32:], image[2:34, 2:34]]
    return [*crops, *(np.fliplr(crop) for crop in crops)] if mirror else crops


@pytest.mark.parametrize("crops", [5, 10])
def test_results_are_those_of_averaged_predictions_of_keras(run: Run, data: Path, crops: int) -> None:
    """Accuracy and loss equal scikit-learn's for the mean probabilities of the saved model over all crops."""
    found = evaluate(run.folder, CONSOLE, crops=crops)
    model = import_keras().models.load_model(run.folder.model, safe_mode=True)
    files = sorted((data / "test").rglob("*.png"), key=lambda path: (path.parent.name, path.name))
    labels = [("dots", "stripes").index(path.parent.name) for path in files]
    mean = []
    for path in files:
        image = decode(path, PixelSpec(37, 37))  # 32 · 8/7, rounded
        scores = np.asarray(model(np.stack(_cut(image, crops == 10)).astype(np.float32)), np.float64).mean(axis=0)
        mean.append(scores / scores.sum() if len(scores) == 2 else [1 - scores[0], scores[0]])

    assert found.metrics.top1 == pytest.approx(accuracy_score(labels, np.argmax(mean, axis=1)))
    assert found.metrics.loss == pytest.approx(log_loss(labels, mean), rel=1e-4)
    assert found.metrics.loss != evaluate(run.folder, CONSOLE).metrics.loss
    last = json.loads(run.folder.evaluations.read_text().splitlines()[-2])
    assert (last["crops"], last["n"]) == (crops, len(files))


def test_scores_of_a_linear_head_are_averaged(data: Path, tmp_path: Path) -> None:
    """With a hinge loss, accuracy and loss are those of the mean scores over all crops."""
    settings = {"head": {"activation": "linear"}, "training": {"epochs": 1, "loss": "hinge"}}
    run = train(tiny_config(data, **settings), tmp_path / "runs", CONSOLE)
    found = evaluate(run.folder, CONSOLE, crops=5)
    model = import_keras().models.load_model(run.folder.model, safe_mode=True)
    losses = []
    for path in (data / "test").rglob("*.png"):
        crops = np.stack(_cut(decode(path, PixelSpec(37, 37)), mirror=False)).astype(np.float32)
        scores, own = np.asarray(model(crops)).mean(axis=0), int(path.parent.name == "stripes")
        losses.append(max(0.0, scores[1 - own] - scores[own] + 1))

    assert found.metrics.loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_crops_of_a_network_of_224_lie_in_an_image_of_256() -> None:
    """The corners are 0 or 32 pixels from the edge and the center 16, each again mirrored, as for AlexNet."""
    x = np.broadcast_to(np.arange(256), (1, 256, 256))
    pixels = np.stack([x, x.transpose(0, 2, 1)], axis=3).astype(np.uint8)
    found = crops_of(pixels, PixelSpec(224, 224), 10)
    corners = [(int(crop[0, 0, 0, 0]), int(crop[0, 0, 0, 1])) for crop in found]

    assert corners[:5] == [(0, 0), (32, 0), (0, 32), (32, 32), (16, 16)]
    assert corners[5:] == [(x + 223, y) for x, y in corners[:5]]
    assert {crop.shape for crop in found} == {(1, 224, 224, 2)}


def test_a_number_of_crops_without_meaning_is_refused(run: Run) -> None:
    """Only 1, 5 and 10 are accepted."""
    with pytest.raises(ConfigError) as caught:
        evaluate(run.folder, CONSOLE, crops=3)

    assert caught.value.code == "usage-crops"


def test_the_document_contains_the_number_of_crops(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """`evaluate --crops 5 --json` prints the number, and a plain evaluation does not."""
    documents = []
    for options in (["--crops", "5"], []):
        assert main(["evaluate", str(run.path), "--json", *options]) == 0
        documents.append(json.loads(capsys.readouterr().out))

    assert documents[0]["crops"] == 5
    assert documents[0].keys() - documents[1].keys() == {"crops"}
