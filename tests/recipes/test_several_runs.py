"""Several finished runs: compared on the same images, as text, JSON and page, and combined as an ensemble."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.cli import main
from cnncli.errors import ConfigError, ImageError, RunError
from cnncli.inference.prediction import Prediction
from cnncli.recipes.compare import compare, compare_images
from cnncli.recipes.evaluate import evaluate, evaluate_ensemble
from cnncli.recipes.predict import predict, predict_ensemble
from cnncli.recipes.train import train
from cnncli.runs.folder import RunFolder
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots, 24 of them for the test."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 10, 6, 12)


@pytest.fixture(scope="module")
def runs(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train three runs, whose features and heads differ."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        for name, changes in {
            "avg": {"head": {"pooling": "avg"}},
            "max": {"head": {"pooling": "max"}},
            "l2": {"head": {"pooling": "max", "l2": 1.0}},
        }.items():
            train(tiny_config(data, name=name, training={}, **changes), folder, CONSOLE)
    return folder


@pytest.fixture
def folders(runs: Path) -> list[RunFolder]:
    """The directories of the runs avg, l2 and max."""
    return sorted((RunFolder(path) for path in runs.iterdir()), key=lambda run: str(run.read_facts()["name"]))


def _probabilities(run: RunFolder, paths: list[Path]) -> np.ndarray:
    found = [one for one in predict(run, [str(path) for path in paths], 2) if isinstance(one, Prediction)]
    return np.array([[one.probabilities[one.labels.index(name)] for name in ("dots", "stripes")] for one in found])


def test_predictions_for_the_same_images_are_compared(folders: list[RunFolder], data: Path) -> None:
    """Each pair has its test on the test images, with the accuracies that `evaluate` gives."""
    found = compare_images(compare(folders, None), CONSOLE).agreement
    assert found is not None
    accuracies = [evaluate(run, CONSOLE).metrics.top1 for run in folders]

    assert (found.split, found.n, found.names) == ("test", 24, ("avg", "l2", "max"))
    assert [n / 24 for n in found.n_correct] == accuracies
    assert len(found.tests) == 3
    for one in found.disagreements:
        assert one.image.path.is_relative_to(data / "test")


def test_image_files_are_not_needed(folders: list[RunFolder], data: Path, tmp_path: Path) -> None:
    """Recorded outputs, or else cached features, suffice to compare runs, so that images may be elsewhere by then."""
    folders = [RunFolder(Path(shutil.copytree(run.path, tmp_path / "runs" / run.path.name))) for run in folders]
    folders[0].outputs.unlink()
    shutil.move(data, tmp_path / "moved")
    try:
        found = compare_images(compare(folders, None), CONSOLE).agreement
    finally:
        shutil.move(tmp_path / "moved", data)

    assert found is not None
    assert found.n == 24


def test_the_document_has_tests_and_disputed_images(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json has the tests with both p-values and the predictions for disputed images."""
    assert main(["compare", "avg", "max", "--json", "--runs-dir", str(runs)]) == 0
    images = json.loads(capsys.readouterr().out)["images"]

    assert images["n"] == 24
    (test,) = images["tests"]
    assert {"first", "second", "only_first", "only_second", "p", "p_holm", "difference_ci95"} <= test.keys()
    assert len(images["disagreements"]) >= abs(images["n_correct"][0] - images["n_correct"][1])


def test_the_text_says_whether_runs_differ(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a sentence for two runs, and a row for each pair of three."""
    assert main(["compare", "avg", "max", "--runs-dir", str(runs)]) == 0
    two = capsys.readouterr().out
    assert main(["compare", "avg", "max", "l2", "--runs-dir", str(runs)]) == 0
    three = capsys.readouterr().out

    assert "McNemar p" in two
    assert re.search(r"different predictions: \d+ of 24 test images", two)
    assert len(re.findall(r"^(?:avg|max) +(?:max|l2) +[+−]", three, re.M)) == 3


class _Sources(HTMLParser):
    """Collects what a page would load, its images and their alternative texts."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.images: list[dict[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the sources of a tag."""
        facts = dict(attrs)
        self.loaded += [str(facts[name]) for name in ("src", "href", "srcset", "data") if facts.get(name)]
        if tag == "img":
            self.images.append(facts)


def test_the_page_is_one_file_that_loads_nothing(runs: Path, tmp_path: Path) -> None:
    """Images are data with alternative texts, everything else is forbidden, and the style adapts to the reader."""
    page = tmp_path / "comparison.html"
    assert main(["compare", "avg", "max", "l2", "--html", str(page), "--runs-dir", str(runs)]) == 0
    text = page.read_text(encoding="utf-8")
    found = _Sources()
    found.feed(text)

    assert all(source.startswith("data:image/jpeg;base64,") for source in found.loaded)
    assert all(image["alt"] for image in found.images)
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|@import|<script", text)
    for part in ("prefers-color-scheme:dark", 'name="viewport"', "@media print", 'lang="en"', "<h1>"):
        assert part in text


def test_the_page_has_curves_of_runs_with_epochs(data: Path, tmp_path: Path) -> None:
    """Runs that were trained by gradients have their curves on the page; names are escaped."""
    for name in ("one", "two"):
        train(tiny_config(data, name=name, seed=len(name) + (name == "two")), tmp_path / "runs", CONSOLE)
    page = tmp_path / "a.html"
    words = ["compare", "one", "two", "--html", str(page), "--metric", "val_loss", "--runs-dir", str(tmp_path / "runs")]
    assert main(words) == 0
    text = page.read_text(encoding="utf-8")

    assert text.count("<path") > 4
    assert "two, validation" in text


def test_a_run_whose_predictions_are_lost_is_left_out(
    runs: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without recorded outputs, cached features and images, the rest is compared, and a warning names the run."""
    runs = Path(shutil.copytree(runs, tmp_path / "runs"))
    for outputs in runs.glob("*/outputs.npz"):
        outputs.unlink()
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "empty"))
    shutil.move(data, tmp_path / "moved")
    try:
        assert main(["compare", "avg", "max", "--runs-dir", str(runs)]) == 0
    finally:
        shutil.move(tmp_path / "moved", data)
    captured = capsys.readouterr()

    assert "[run-not-compared]" in captured.err
    assert "val_accuracy" in captured.out


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_an_ensemble_is_evaluated_on_shared_images(
    folders: list[RunFolder], data: Path, rule: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The metrics are those of the combined probabilities, with those of the members beside them."""
    found = evaluate_ensemble(folders, rule, CONSOLE)
    paths = sorted((data / "test").rglob("*.png"))
    truth = np.array([path.parent.name == "stripes" for path in paths])
    scores = np.array([_probabilities(run, paths) for run in folders])
    if rule == "mean":
        expected = scores.mean(axis=0).argmax(axis=1)
    else:
        expected = (scores.argmax(axis=2).sum(axis=0) >= 2).astype(int)

    assert found.metrics.top1 == np.mean(expected == truth)
    assert [one.top1 for one in found.members] == [evaluate(run, CONSOLE).metrics.top1 for run in folders]


def test_a_folder_is_evaluated_by_an_ensemble(runs: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--data evaluates other images, --json prints one document, and --min-accuracy is a gate."""
    words = ["evaluate", "avg", "max", "--ensemble", "mean", "--data", str(data / "validation"), "--json"]
    assert main([*words, "--runs-dir", str(runs)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ensemble"], document["n"], len(document["members"])) == ("mean", 12, 2)

    expected = 0 if document["top1"] == 1.0 else 3
    assert main([*words, "--min-accuracy", "1.0", "--runs-dir", str(runs)]) == expected


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_an_ensemble_predicts(folders: list[RunFolder], data: Path, rule: Any) -> None:
    """Predictions are the classes by the combined probabilities, the most probable first."""
    paths = sorted((data / "test").rglob("*.png"))[:4]
    found = list(predict_ensemble(folders, rule, [str(path) for path in paths]))
    scores = np.mean([_probabilities(run, paths) for run in folders], axis=0)

    for one, mean in zip(found, scores, strict=True):
        assert isinstance(one, Prediction)
        assert one.probabilities[0] >= one.probabilities[1]
        if rule == "mean":
            assert one.probabilities[0] == pytest.approx(mean.max())


def test_an_unusable_image_of_an_ensemble_is_an_error(folders: list[RunFolder], data: Path, tmp_path: Path) -> None:
    """An image that cannot be read is reported once, and the others are predicted."""
    (tmp_path / "broken.png").write_bytes(b"not an image")
    image = next((data / "test").rglob("*.png"))
    found = list(predict_ensemble(folders, "mean", [str(tmp_path / "broken.png"), str(image)]))

    assert isinstance(found[0], ImageError)
    assert isinstance(found[1], Prediction)


def test_the_command_predicts_with_several_runs(runs: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`predict --run A --run B --ensemble mean` prints predictions like those of a single run."""
    image = next((data / "test").rglob("*.png"))
    words = ["predict", str(image), "--run", "avg", "--run", "max", "--ensemble", "mean", "--json"]

    assert main([*words, "--runs-dir", str(runs)]) == 0
    (prediction,) = json.loads(capsys.readouterr().out)
    assert len(prediction["predictions"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "avg", "max"],
        ["evaluate", "avg", "--ensemble", "mean"],
        ["predict", "a.png", "--run", "avg", "--run", "max"],
        ["predict", "a.png", "--run", "avg", "--ensemble", "vote"],
    ],
    ids=" ".join,
)
def test_several_runs_need_a_rule(words: list[str], runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several runs without --ensemble, or --ensemble with one run, are refused before anything is loaded."""
    assert main([*words, "--runs-dir", str(runs)]) == 2
    assert "[usage-ensemble]" in capsys.readouterr().err


def test_runs_with_other_classes_are_no_ensemble(folders: list[RunFolder], tmp_path: Path) -> None:
    """Runs that do not have the same classes are refused by name."""
    other = draw_dataset(tmp_path / "data", 4, 2, 2, classes=("stripes", "rings"))
    run = train(tiny_config(other, training={}), tmp_path / "runs", CONSOLE).folder

    for recipe in (evaluate_ensemble, lambda *args: predict_ensemble(args[0], args[1], ["a.png"])):
        with pytest.raises(ConfigError) as caught:
            recipe([folders[0], run], "mean", CONSOLE)
        assert caught.value.code == "run-other-classes"


def test_an_ensemble_needs_shared_images(folders: list[RunFolder], tmp_path: Path) -> None:
    """Runs of different datasets share no images, which is an error instead of an empty result."""
    other = draw_dataset(tmp_path / "data", 4, 2, 2, size=40)
    run = train(tiny_config(other, training={}), tmp_path / "runs", CONSOLE).folder

    with pytest.raises(RunError) as caught:
        evaluate_ensemble([folders[0], run], "mean", CONSOLE)
    assert caught.value.code == "run-split-missing"


def test_the_list_of_differences_shows_no_test_results(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`runs --diff` has the differing settings and the validation accuracy, and nothing of the test."""
    assert main(["runs", "--diff", "--runs-dir", str(runs)]) == 0
    text = capsys.readouterr().out
    assert main(["runs", "--diff", "--json", "--runs-dir", str(runs)]) == 0
    document = json.loads(capsys.readouterr().out)

    assert "val_accuracy" in text
    assert "head.pooling" in text
    assert "test" not in text
    assert [one["settings"] for one in document] == [
        {"head.pooling": "avg", "head.l2": None},
        {"head.pooling": "max", "head.l2": None},
        {"head.pooling": "max", "head.l2": 1.0},
    ]
    assert not any("test" in key for one in document for key in one)
