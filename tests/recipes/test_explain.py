"""`cnncli explain`, `show`, `embed` and `similar` for runs with every kind of cut."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.cli import main
from cnncli.cli.explain import METHODS as CLI_METHODS
from cnncli.recipes.explain import METHODS, explain
from cnncli.recipes.finetune import FinetuneSettings, finetune
from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from scripts.measure_explanations import main as measure
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)
KINDS = ("features", "fine-tuned", "from scratch", "two networks", "sigmoid")

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 8, 4, 4)


@pytest.fixture(scope="module")
def runs(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Train a run with each kind of cut."""
    folder = tmp_path_factory.mktemp("runs")
    networks = [{"name": "ConvNet", "weights": "none", "options": {"filters": [4, n]}} for n in (6, 8)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        features = train(tiny_config(data, training={}, name="features"), folder, CONSOLE)
        settings = FinetuneSettings(unfreeze=1, epochs=1)
        return {
            "features": features,
            "fine-tuned": finetune(features.folder, settings, folder, CONSOLE),
            "from scratch": train(tiny_config(data, mode="from-scratch", training={"epochs": 1}), folder, CONSOLE),
            "two networks": train(tiny_config(data, training={}, backbone=networks), folder, CONSOLE),
            "sigmoid": train(tiny_config(data, training={}, head={"activation": "sigmoid"}), folder, CONSOLE),
        }


@pytest.fixture
def image(data: Path) -> Path:
    """Return a test image."""
    return data / "test" / "dots" / "dots-00.png"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write figures without a name to an empty folder."""
    monkeypatch.chdir(tmp_path)


def _printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_explains_every_run(runs: dict[str, Run], kind: str, image: Path) -> None:
    """Maps of the class and the runner-up have the size of the image, are finite, and differ between the two."""
    (found,) = explain(runs[kind].folder, [image], METHODS)
    first, second = found.classes

    assert first.probability >= second.probability
    assert first.probability + second.probability == pytest.approx(1)
    for method in METHODS:
        maps = [one.maps[method] for one in (first, second)]
        assert all(one.shape[:2] == found.pixels.shape[:2] and np.isfinite(one).all() for one in maps)
        assert not np.array_equal(*maps)


def test_maps_do_not_depend_on_the_cache(
    runs: dict[str, Run], image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty cache, maps are the same."""
    (warm,) = explain(runs["features"].folder, [image], ["grad-cam", "occlusion"])
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "empty"))
    (cold,) = explain(runs["features"].folder, [image], ["grad-cam", "occlusion"])

    for one, other in zip(warm.classes, cold.classes, strict=True):
        np.testing.assert_allclose(one.maps["grad-cam"], other.maps["grad-cam"], atol=1e-6)
        np.testing.assert_allclose(one.maps["occlusion"], other.maps["occlusion"], atol=1e-5)


def test_probabilities_are_those_of_predict(
    runs: dict[str, Run], image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`explain` names the classes of `predict` with the same probabilities, and writes a figure."""
    run = str(runs["features"].path)
    (predicted,) = _printed(["predict", str(image), "--run", run], capsys)
    document = _printed(["explain", str(image), "--run", run, "--method", "all", "--score"], capsys)
    (explained,) = document["images"]

    assert [one["label"] for one in explained["classes"]] == [one["label"] for one in predicted["predictions"]]
    for one, other in zip(explained["classes"], predicted["predictions"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
        assert {*one["methods"]} == {*METHODS}
        assert all(0 <= maps[name] <= 1 for maps in one["methods"].values() for name in ("insertion", "deletion"))
    with Image.open(document["figure"]) as figure:
        assert figure.width > 6 * 96


def test_classes_and_a_layer_can_be_chosen(
    runs: dict[str, Run], image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One class at an earlier layer is explained, and its map written as an array."""
    words = ["explain", str(image), "--run", str(runs["features"].path), "--class", "stripes"]
    document = _printed([*words, "--layer", "block1_conv", "--npz", "maps.npz", "--out", "one.png"], capsys)

    assert [one["label"] for one in document["images"][0]["classes"]] == ["stripes"]
    with np.load(tmp_path / "maps.npz") as arrays:
        assert arrays["0/stripes/grad-cam"].shape == (32, 32)
    assert Path(document["figure"]) == tmp_path / "one.png"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--class", "stripe"], "usage-class-unknown"),
        (["--layer", "block9_conv"], "cut-layer-without-maps"),
        (["--out", "figure.jpg"], "usage-suffix"),
        (["--npz", "maps.txt"], "usage-suffix"),
    ],
)
def test_wrong_arguments_are_named(
    runs: dict[str, Run], image: Path, words: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown class or layer, and a wrong suffix, are errors with a code."""
    assert main(["explain", str(image), "--run", str(runs["features"].path), *words]) == 2
    assert f"[{code}]" in capsys.readouterr().err


def test_an_unusable_image_is_an_error(
    runs: dict[str, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not an image is reported by its code."""
    (tmp_path / "x.png").write_bytes(b"no image")
    for verb in ("explain", "similar"):
        assert main([verb, "x.png", "--run", str(runs["features"].path)]) == 2
        assert "[image-unknown-format]" in capsys.readouterr().err


def test_the_command_line_has_every_method() -> None:
    """The list that is shown without importing NumPy is that of the recipe."""
    assert CLI_METHODS == METHODS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "words",
    [
        ["filters"],
        ["feature-maps"],
        ["activations"],
        ["top-images"],
        ["preferred-input", "--steps", "3"],
    ],
    ids=lambda words: words[0],
)
def test_every_sheet_is_drawn_for_every_run(
    runs: dict[str, Run], kind: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command of `show` writes a PNG for every kind of run."""
    document = _printed(["show", *words, str(runs[kind].path)], capsys)

    assert document["path"] == f"{Path.cwd()}/{runs[kind].path.name}-{words[0]}.png"
    with Image.open(document["path"]) as sheet:
        assert min(sheet.size) > 100


def test_facts_about_activations_are_printed(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    """Each layer has its shape, the fraction of zeros and its strongest channels."""
    document = _printed(["show", "activations", str(runs["features"].path)], capsys)

    assert [len(one["shape"]) for one in document["layers"]] == [3] * len(document["layers"])
    assert all(0 <= one["zeros"] <= 1 for one in document["layers"])
    assert any(one["zeros"] > 0 for one in document["layers"])
    assert main(["show", "activations", str(runs["features"].path)]) == 0
    assert "strongest channel" in capsys.readouterr().out


def test_top_images_have_the_largest_responses(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    """The responses of the images are descending, and equal the maxima of the layer in Keras."""
    from cnncli.explanation.attribution import map_layers
    from cnncli.images.decode import decode
    from cnncli.inference.predictor import load_trained
    from cnncli.inference.spec import PredictorSpec
    from cnncli.networks.backend import import_keras

    run = runs["features"].folder
    document = _printed(["show", "top-images", str(run.path), "--channel", "2"], capsys)
    (channel,) = document["channels"]
    responses = [one["response"] for one in channel["images"]]
    model = load_trained(run).model
    layer = model.get_layer(map_layers(model)[-1])
    pixels = decode(Path(channel["images"][0]["path"]), PredictorSpec.load(run.engine).pixels)
    maps = np.asarray(import_keras().Model(model.inputs[0], layer.output)(pixels[None].astype(np.float32)))

    assert responses == sorted(responses, reverse=True)
    assert responses[0] == pytest.approx(maps[0, ..., 2].max(), rel=1e-3)


def test_channels_must_exist(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    """A channel that the layer lacks, and a class that the run lacks, are errors."""
    for kind in ("top-images", "preferred-input"):
        assert main(["show", kind, str(runs["features"].path), "--channel", "99"]) == 2
        assert "[usage-channel-unknown]" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_features_are_written(runs: dict[str, Run], kind: str, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both formats contain a finite vector for every image of the run, with path, label and split."""
    document = _printed(["embed", str(runs[kind].path), "--out", f"features{suffix}"], capsys)
    if suffix == ".npz":
        with np.load("features.npz") as arrays:
            table = {name: arrays[name] for name in arrays.files}
    else:
        from pyarrow import parquet

        content = parquet.read_table("features.parquet").to_pydict()
        table = {name: np.array(cells) for name, cells in content.items()}

    assert table["features"].shape == (document["n"], document["size"]) == (32, document["size"])
    assert np.isfinite(table["features"]).all()
    assert {*table["split"].tolist()} == {"train", "validation", "test"}
    assert all(label == Path(path).parent.name for path, label in zip(table["path"], table["label"], strict=True))


def test_features_are_those_of_the_frozen_network(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    """The vector of an image is what the run's trunk computes from it."""
    from cnncli.images.decode import decode
    from cnncli.inference.predictor import load_predictor

    run = runs["features"].folder
    _printed(["embed", str(run.path), "--out", "features.npz", "--split", "test"], capsys)
    predictor = load_predictor(run.engine, run.model)
    with np.load("features.npz") as arrays:
        pixels = np.stack([decode(Path(path), predictor.spec.pixels) for path in arrays["path"]])
        np.testing.assert_allclose(arrays["features"], predictor.trunks[0].run([pixels])[0], atol=1e-5)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_is_drawn(runs: dict[str, Run], method: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A map of all images is written as a PNG."""
    document = _printed(["embed", str(runs["features"].path), "--map", "map.png", "--method", method], capsys)

    with Image.open(document["map"]) as sheet:
        assert sheet.width > 1600


def test_an_image_is_most_similar_to_itself(
    data: Path, runs: dict[str, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    """A training image finds itself with similarity 1, and a sheet shows the nearest images."""
    images = [data / "train" / "dots" / "dots-03.png", data / "test" / "stripes" / "stripes-01.png"]
    words = ["similar", *map(str, images), "--run", str(runs["features"].path), "--top", "3", "--out", "sheet.png"]
    first, second = _printed(words, capsys)

    assert first["similar"][0] == {
        "path": str(images[0]),
        "label": "dots",
        "split": "train",
        "similarity": pytest.approx(1, abs=1e-4),
    }
    similarities = [one["similarity"] for one in second["similar"]]
    assert similarities == sorted(similarities, reverse=True)
    assert len(similarities) == 3
    assert Path("sheet.png").is_file()


def test_a_deleted_image_has_an_empty_tile(
    data: Path, runs: dict[str, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Features outlive files: if the nearest or most activating image was deleted, the others are still drawn."""
    run, image = str(runs["features"].path), data / "test" / "dots" / "dots-00.png"
    calls = [
        ["similar", str(image), "--run", run, "--top", "3", "--out", "sheet.png"],
        ["show", "top-images", run, "--channel", "2", "--out", "sheet.png"],
    ]
    for words, key in zip(calls, ("similar", "images"), strict=True):
        before = _printed(words, capsys)
        shown = (before if key == "similar" else before["channels"])[0][key]
        sheets, gone = [Path("sheet.png").read_bytes()], Path(shown[1]["path"])
        gone.rename(tmp_path / "gone.png")
        try:
            after = _printed(words, capsys)
        finally:
            (tmp_path / "gone.png").rename(gone)
        sheets.append(Path("sheet.png").read_bytes())

        assert after == before
        assert sheets[0] != sheets[1]


def test_the_table_is_printed_although_the_sheet_cannot_be_written(
    data: Path, runs: dict[str, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest images are printed before the sheet is drawn, so that an error of the sheet does not lose them."""
    image = data / "test" / "dots" / "dots-00.png"
    words = ["similar", str(image), "--run", str(runs["features"].path), "--top", "3", "--out", "none/sheet.png"]

    assert main(words) == 2
    assert capsys.readouterr().out.count(".png") >= 3


def test_nothing_to_write_is_an_error(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    """`embed` needs --out or --map."""
    assert main(["embed", str(runs["features"].path)]) == 2
    assert "[usage-argument-missing]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["embed", "--out", "f.npz"], ["similar", "IMAGE"], ["explain", "IMAGE", "--method", "occlusion"]]
)
def test_no_tensorflow_is_needed_with_cached_features(runs: dict[str, Run], image: Path, words: list[str]) -> None:
    """Features, nearest images and occlusion import neither TensorFlow nor Keras."""
    verb, *rest = [str(image) if word == "IMAGE" else word for word in words]
    call = (
        [verb, str(runs["features"].path), *rest]
        if verb == "embed"
        else [verb, *rest, "--run", str(runs["features"].path)]
    )
    program = (
        f"import sys; from cnncli.cli import main; code = main({call!r}); "
        "print(code, [name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_scores_are_measured_by_the_script(runs: dict[str, Run]) -> None:
    """The script compares maps with random ones on test images."""
    from click.testing import CliRunner

    words = [str(runs["features"].path), "--images", "3", "--method", "occlusion", "--json"]
    found = json.loads(CliRunner().invoke(measure, words, catch_exceptions=False).stdout)

    assert found.keys() == {"occlusion", "random"}
    assert found["random"]["insertion better"] == 0
    assert all(0 <= row[name] <= 1 for row in found.values() for name in row)
