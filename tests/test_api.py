"""The Python API: the documentation's example, and the cost of the import."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cnncli
from cnncli.errors import CnncliError, ConfigError, DataError, RunError
from cnncli.networks.backend import import_keras
from cnncli.recipes.train import Run
from tests.support.drawing import draw_dataset, draw_image, tiny_config
from tests.support.pages import blocks

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/how-to/predict.md"
EXAMPLE = next(block.body for block in blocks(ROOT / PAGE) if block.language == "python")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Run the example and return its variables, with its output as `printed`."""
    folder = tmp_path_factory.mktemp("notebook")
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for variable in ("CNNCLI_CACHE", "CNNCLI_RUNS", "KERAS_HOME"):
            patch.setenv(variable, str(folder / variable))
        printed: list[str] = []
        names["print"] = lambda *values: printed.append(" ".join(map(str, values)))
        exec(compile(EXAMPLE, PAGE, "exec"), names)
    return {**names, "printed": printed}


@pytest.mark.slow
def test_the_example_runs(example: dict[str, object]) -> None:
    """The example trains, predicts, fine-tunes, evaluates, loads, and prints the expected output."""
    run, deeper, printed = example["run"], example["deeper"], example["printed"]

    assert isinstance(printed, list)
    assert len(printed) == 6
    assert printed[0].startswith(f"{run.path} 0.9") or printed[0].startswith(f"{run.path} 1.0")  # type: ignore[attr-defined]
    assert all(re.fullmatch(r"data/sample/test/dogs/\S+ dogs (1\.0|0\.\d+)", line) for line in printed[1:4])
    assert printed[-1] == "(None, 128, 128, 3) (None, 2)"
    assert deeper.folder.read_facts()["parent"] == str(run.path)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_example_tells_cats_from_dogs(example: dict[str, object]) -> None:
    """Five epochs suffice to classify nine out of ten drawn images correctly."""
    run = example["run"]

    assert run.metrics["test"].n == 100  # type: ignore[attr-defined]
    assert run.metrics["test"].top1 >= 0.9  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_model_gives_what_predict_gives(example: dict[str, object]) -> None:
    """The loaded Keras model and `predict` agree to 1e-5 in float32, and to 0.1 with a bfloat16 trunk."""
    model, deeper = example["model"], example["deeper"]
    image = ROOT / "data" / "sample" / "test" / "dogs" / "dog.0.jpg"
    pixels = np.asarray(Image.open(image).convert("RGB").resize((128, 128), Image.Resampling.BILINEAR))
    (prediction,) = cnncli.predict(image, run=deeper)  # type: ignore[arg-type]
    scores = dict(zip(prediction.labels, prediction.probabilities, strict=True))
    tolerance = 1e-5 if deeper.folder.read_facts()["precision"] == "float32" else 0.1  # type: ignore[attr-defined]

    expected = model.predict(pixels[None].astype("float32"), verbose=0)[0]  # type: ignore[attr-defined]

    assert [scores["cats"], scores["dogs"]] == pytest.approx(expected.tolist(), abs=tolerance)


def test_predict_raises_with_every_image_it_cannot_use(tiny: Run, tmp_path: Path) -> None:
    """`cnncli.predict` raises one error that names all unusable images."""
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")

    with pytest.raises(DataError) as caught:
        cnncli.predict([tmp_path / "broken.jpg", tmp_path / "absent.jpg"], run=tiny)

    assert len(caught.value.problems) == 2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of one epoch on tiny images."""
    folder = tmp_path_factory.mktemp("tiny")
    config = tiny_config(draw_dataset(folder / "data"), mode="from-scratch", training={"epochs": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        return cnncli.train(config.model_dump(exclude_unset=True, mode="json"), runs_dir=folder / "runs")


def test_predict_takes_paths_bytes_pillow_images_and_arrays(tiny: Run, tmp_path: Path) -> None:
    """In any form, one image or several give the same probabilities as the file, and are named by their position."""
    path = tmp_path / "image.png"
    Image.fromarray(draw_image("dots", 7)).save(path)
    with Image.open(path) as opened, Image.open(path) as loaded:
        loaded.load()
        forms = [path, str(path), path.read_bytes(), opened, loaded, np.asarray(loaded)]
        predictions = cnncli.predict(forms, run=tiny)
        single = [cnncli.predict(form, run=tiny) for form in forms]
        again = cnncli.predict(iter([opened, opened]), run=tiny)

    assert [prediction.path for prediction in predictions[2:]] == [f"images[{n}]" for n in range(2, 6)]
    assert {(prediction.labels, prediction.probabilities) for prediction in predictions} == {
        (predictions[0].labels, predictions[0].probabilities)
    }
    assert [len(found) for found in single] == [1] * 6
    assert {found[0].probabilities for found in single} == {single[0][0].probabilities}
    assert len(again) == 2


def test_predict_names_every_image_that_it_cannot_use(tiny: Run) -> None:
    """Arrays and bytes that are not images are reported with their positions in the list."""
    with pytest.raises(DataError) as caught:
        cnncli.predict([np.zeros((8, 8, 3)), draw_image("dots", 1), b"text"], run=tiny)

    assert caught.value.codes == ("image-array", "image-unknown-format")
    assert [problem.facts["path"] for problem in caught.value.problems] == ["images[0]", "images[2]"]


@pytest.mark.parametrize("images", [5, None, [b"", 5], np.float32(3)])
def test_predict_rejects_anything_else(images: object, tiny: Run) -> None:
    """Numbers and None raise an error that lists the accepted types."""
    with pytest.raises(CnncliError) as caught:
        cnncli.predict(images, run=tiny)  # type: ignore[arg-type]

    assert caught.value.code == "usage-value-invalid"


def test_load_knows_the_classes(tiny: Run) -> None:
    """A loaded classifier has its class names in the order of its scores."""
    classifier = cnncli.load(tiny)
    pixels = draw_image("dots", 7)
    (prediction,) = cnncli.predict(pixels, run=tiny)
    scores = classifier.model.predict(pixels[None].astype("float32"), verbose=0)[0]

    assert classifier.classes == ("dots", "stripes")
    assert classifier.classes[int(scores.argmax())] == prediction.labels[0]


def test_train_resumes_a_run(tiny: Run) -> None:
    """`cnncli.train` takes a run, its path or its name, and returns or extends a finished run as the CLI does."""
    by_path = cnncli.train(tiny.path)
    by_name = cnncli.train(tiny.path.name, runs_dir=tiny.path.parent)
    extended = cnncli.train(tiny, {"training.epochs": 2})
    with pytest.raises(ConfigError) as caught:
        cnncli.train(tiny, {"seed": 2})

    assert by_path.path == by_name.path == extended.path == tiny.path
    assert len(extended.folder.history.read_text().splitlines()) == 3
    assert caught.value.code == "usage-settings-of-run"


def test_train_raises_with_every_mistake_of_a_config() -> None:
    """All problems of a config are raised in one error, by key."""
    with pytest.raises(ConfigError) as caught:
        cnncli.train({"data": {"path": "nowhere"}, "sed": 1}, {"training.epochs": "many"})

    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("verb", ["evaluate", "finetune", "load"])
def test_a_missing_run_is_an_error(verb: str, tmp_path: Path) -> None:
    """Omitting the run is an error if there is no finished run."""
    with pytest.raises(RunError) as caught:
        getattr(cnncli, verb)(runs_dir=tmp_path)

    assert caught.value.code == "run-none-finished"


def test_the_public_names() -> None:
    """All public functions are documented, and their names are sorted."""
    assert cnncli.__all__ == sorted(["train", "finetune", "evaluate", "predict", "load"])
    assert [name for name in cnncli.__all__ if not inspect.getdoc(getattr(cnncli, name))] == []


def test_an_import_costs_nothing() -> None:
    """`import cnncli` imports only the standard library."""
    code = (
        "import sys; before = set(sys.modules); import cnncli; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "['cnncli']\n"


@pytest.mark.parametrize(
    "call",
    [
        lambda: cnncli.train(""),
        lambda: cnncli.train("data/sample", runs_dir=""),
        lambda: cnncli.finetune(""),
        lambda: cnncli.evaluate(data=""),
        lambda: cnncli.predict("a.jpg", run=""),
    ],
)
def test_an_empty_path_is_refused(call: Callable[[], object]) -> None:
    """An empty string is an error and is never taken for the current folder."""
    with pytest.raises(ConfigError) as caught:
        call()

    assert caught.value.codes == ("usage-empty",)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return the settings of a small training."""
    data = draw_dataset(tmp_path_factory.mktemp("settings") / "data")
    return tiny_config(data, mode="from-scratch", training={"epochs": 1}).model_dump(exclude_unset=True, mode="json")


@pytest.fixture(scope="module")
def expected(settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the model that is trained with the default settings of Keras."""
    return cnncli.load(cnncli.train(settings, runs_dir=tmp_path_factory.mktemp("expected"))).model


@pytest.mark.parametrize(
    "setting",
    [
        ("dtype_policy", "mixed_float16"),
        pytest.param(("floatx", "float16"), marks=pytest.mark.slow),
        pytest.param(("image_data_format", "channels_first"), marks=pytest.mark.slow),
    ],
)
def test_keras_settings_of_the_process_do_not_reach_a_training(
    setting: tuple[str, str], settings: dict[str, object], expected: Any, tmp_path: Path
) -> None:
    """Every layer is float32 and channels-last, and the process's Keras settings are unchanged afterwards."""
    keras, (name, value) = import_keras(), setting
    get, set_ = getattr(keras.config, name), getattr(keras.config, f"set_{name}")
    before = get()
    set_(value)
    try:
        model = cnncli.load(cnncli.train(settings, runs_dir=tmp_path / "other")).model
        after = get()
    finally:
        set_(before)

    assert getattr(after, "name", after) == value
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert {getattr(layer, "data_format", "channels_last") for layer in model.layers} == {"channels_last"}
    for weight, same in zip(model.weights, expected.weights, strict=True):
        assert weight.numpy().tobytes() == same.numpy().tobytes()


def test_the_version_is_that_of_the_distribution() -> None:
    """The version is written in two files, which agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert cnncli.__version__ == project["version"]
