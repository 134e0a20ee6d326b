"""Exports give what the run predicts, in the runtimes of their formats; faults are caught."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import cnncli
from cnncli.cli import main
from cnncli.dataset.manifest import Manifest
from cnncli.errors import ParityError
from cnncli.evaluation.parity import Reported
from cnncli.export.formats import FORMATS, PRECISIONS
from cnncli.export.parity import ExpectedResults, Exported, judge, run_in_new_process
from cnncli.recipes.export import LOCK, publish, record, recover
from cnncli.recipes.train import Run, train
from cnncli.runs.folder import RunFolder
from cnncli.storage.locks import shared
from cnncli.terminal.console import Console
from tests.support.drawing import tiny_config

KEYS = {
    *("format", "precision", "path", "n", "top1", "top1_ci95", "expected_top1", "max_difference"),
    *("max_difference_float32", "holds", "size_bytes", "ms_per_image"),
}
PAIRS = [(name, one) for name, facts in FORMATS.items() for one in PRECISIONS if one not in facts.refused]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a network from scratch, with batch normalization."""
    folder = tmp_path_factory.mktemp("run")
    options = {"filters": [4, 8], "batch_norm": True}
    network = {"name": "ConvNet", "weights": "none", "options": options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        config = tiny_config(data, backbone=network, training={"epochs": 3, "unfreeze": "all"})
        return train(config, folder / "runs", Console(quiet=True))


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> RunFolder:
    """Copy the run, so that it can be changed."""
    ignored = shutil.ignore_patterns("exports*")
    return RunFolder(Path(shutil.copytree(run.path, tmp_path / run.path.name, ignore=ignored)))


@pytest.fixture(scope="module")
def exports(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Export the run in all pairs, and return the files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(tmp_path_factory.mktemp("cache")))
        for names, precisions in ((list(FORMATS), ["float32"]), (["onnx", "litert", "openvino"], ["float16", "int8"])):
            words = [*_options("--format", names), *_options("--precision", precisions)]
            assert main(["export", str(run.path), *words, "--license", "MIT", "-q"]) == 0
    return {(name, one): run.folder.exports / f"{name}-{one}" / FORMATS[name].file for name, one in PAIRS}


def _options(option: str, values: list[str]) -> Iterator[str]:
    for value in values:
        yield from (option, value)


@pytest.fixture(scope="module")
def images(data: Path) -> list[Path]:
    """Return the validation images."""
    return sorted((data / "validation").rglob("*.png"))


@pytest.fixture(scope="module")
def pixels(images: list[Path]) -> NDArray[np.uint8]:
    """Return their pixels, decoded by Pillow."""
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in images])


@pytest.fixture
def predicted(run: Run, images: list[Path]) -> NDArray[np.float64]:
    """Return their probabilities as `predict` gives them."""
    found = cnncli.predict(images, run=run.path, top=2)
    named = [dict(zip(one.labels, one.probabilities, strict=True)) for one in found]
    return np.array([[one[name] for name in cnncli.load(run.path).classes] for one in named])


def by_keras(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a Keras model."""
    import keras

    return np.asarray(keras.saving.load_model(path, safe_mode=True)(pixels.astype("float32")))


def by_tensorflow(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a SavedModel."""
    import tensorflow as tf

    return (
        tf.saved_model.load(str(path))
        .signatures["serving_default"](pixels=tf.constant(pixels))["probabilities"]
        .numpy()
    )


def by_onnxruntime(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    assert [(one.name, one.type, one.shape) for one in session.get_inputs()] == [
        ("pixels", "tensor(uint8)", ["n", 32, 32, 3])
    ]
    return np.asarray(session.run(None, {"pixels": pixels})[0])


def by_litert(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a LiteRT file with batches of its own size."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert entry["dtype"] == np.uint8
    rows = []
    for image in pixels:
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"])[0])
    return np.stack(rows)


def by_openvino(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run an OpenVINO model in float32."""
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled({"pixels": pixels})["probabilities"])


RUNTIMES: dict[str, Callable[[Path, NDArray[np.uint8]], NDArray[np.float32]]] = {
    "keras": by_keras,
    "savedmodel": by_tensorflow,
    "onnx": by_onnxruntime,
    "litert": by_litert,
    "openvino": by_openvino,
}


@pytest.mark.parametrize(("name", "precision"), PAIRS)
def test_a_runtime_gives_what_predict_gives(
    name: str,
    precision: str,
    exports: dict[tuple[str, str], Path],
    pixels: NDArray[np.uint8],
    predicted: NDArray[np.float64],
) -> None:
    """The file takes the pixels as Pillow decodes them, and gives the probabilities of `predict`."""
    found = RUNTIMES[name](exports[name, precision], pixels)

    limit = {"float32": 1e-5, "float16": 0.01, "int8": 0.1}[precision]
    assert found.shape == predicted.shape
    assert np.abs(found - predicted).max() < limit


def test_smaller_precisions_make_smaller_files(exports: dict[tuple[str, str], Path]) -> None:
    """Weights in float16 take half of the space; the metadata and the graph are the rest of a small file."""
    weights = [exports["openvino", one].with_suffix(".bin").stat().st_size for one in PRECISIONS]

    assert weights[1] < 0.6 * weights[0]
    assert weights[2] < 0.6 * weights[0]


def test_a_saved_model_has_every_weight_once(run: Run, exports: dict[tuple[str, str], Path]) -> None:
    """The variables of a SavedModel take the space of the weights, not twice as much."""
    import tensorflow as tf

    shapes = [
        shape for name, shape in tf.train.list_variables(str(exports["savedmodel", "float32"] / "variables/variables"))
    ]
    n_saved = sum(int(np.prod(shape)) for shape in shapes if shape)

    assert n_saved == cnncli.load(run.path).model.count_params()


def metadata_of(name: str, path: Path) -> dict[str, Any]:
    """Read the metadata inside a file with the tools of its format; texts and JSON."""
    if name == "savedmodel":
        return dict(json.loads((path / "assets.extra" / "metadata.json").read_text()))
    if name == "litert":
        with zipfile.ZipFile(path) as archive:
            assert archive.read("labels.txt").decode().split() == ["dots", "stripes"]
            return dict(json.loads(archive.read("metadata.json")))
    if name == "onnx":
        import onnxruntime

        texts = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    elif name == "openvino":
        import openvino

        texts = {key: value.astype(str) for key, value in openvino.Core().read_model(path).rt_info["cnncli"].items()}
    else:
        return dict(json.loads(path.with_name("metadata.json").read_text()))
    return {key: value_of(text) for key, text in texts.items()}


def value_of(text: str) -> Any:
    """Return the value of an entry: JSON, or else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@pytest.mark.parametrize(("name", "precision"), PAIRS)
def test_the_file_describes_itself(name: str, precision: str, exports: dict[tuple[str, str], Path]) -> None:
    """Classes, license, size, layout and preprocessing are in the file; Keras has them beside it."""
    found = metadata_of(name, exports[name, precision])

    assert found == json.loads((exports[name, precision].parent / "metadata.json").read_text())
    assert found["classes"] == ["dots", "stripes"]
    assert found["license"] == "MIT"
    assert found["image_size"] == {"height": 32, "width": 32}
    assert (found["input"]["layout"], found["input"]["range"]) == ("NHWC", [0, 255])
    assert "do not apply it again" in found["preprocessing"]
    assert (found["format"], found["precision"]) == (name, precision)


def test_converters_leave_no_handler_of_messages(exports: dict[tuple[str, str], Path]) -> None:
    """Handlers that converters add to the root logger would print the messages of cnncli again."""
    assert exports
    assert not [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]


def test_the_table_of_the_run_has_all_exports(run: Run, exports: dict[tuple[str, str], Path]) -> None:
    """`exports.csv` has one row per file, with its parity, size and speed."""
    with run.folder.export_table.open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert [run.path / row["path"] for row in rows if row["precision"] == "float32"] == [
        exports[name, "float32"] for name in FORMATS
    ]
    assert len(rows) == len(PAIRS)
    for row in rows:
        assert (row["n"], row["holds"]) == ("12", "True")
        assert float(row["ms_per_image"]) > 0
        assert float(row["top1"]) >= float(row["expected_top1"]) - 0.02 - 1 / 12


def test_exports_at_the_same_time_are_all_in_the_table(tmp_path: Path) -> None:
    """Several exports of one run, into any folders, add their rows without losing those of the others."""
    folder = RunFolder(tmp_path)
    found = [Exported("onnx", "float32", Path(f"/out/{n}"), 1, 1.0, 1.0, 0.0, 0.0, 1, 1.0) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: record(folder, [one]), found))

    rows = list(csv.DictReader(folder.export_table.read_text("utf-8").splitlines()))
    assert {row["path"] for row in rows} == {f"/out/{n}" for n in range(40)}


def test_json_has_the_documented_keys(copy: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints a list with one entry per file; `--out` is where the files are."""
    words = ["--format", "openvino", "--json", "--out", str(tmp_path / "out"), "--images", "5"]
    assert main(["export", str(copy.path), *words]) == 0
    (found,) = json.loads(capsys.readouterr().out)

    path = tmp_path / "out" / "openvino-float32" / "classifier.xml"
    assert set(found) == KEYS
    assert (found["format"], found["path"], found["n"]) == ("openvino", str(path), 5)
    assert found["size_bytes"] == path.stat().st_size + path.with_suffix(".bin").stat().st_size
    assert (found["precision"], found["holds"]) == ("float32", True)
    assert found["top1"] == found["expected_top1"] == pytest.approx(round(5 * found["top1"]) / 5)
    assert found["max_difference"] < 1e-5
    assert found["max_difference_float32"] < 1e-5
    assert not copy.exports.exists()


def test_every_phase_is_announced(copy: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Before each phase that takes seconds, a line on stderr says what is loaded, predicted, written and verified."""
    words = ["--format", "openvino", "--format", "litert", "--images", "5"]
    assert main(["export", str(copy.path), *words]) == 0

    titles = [line.partition(" ")[0] for line in capsys.readouterr().err.splitlines()]
    phases = ["images", "network", "predict", "export", "verify", "export", "verify"]
    assert [title for title in titles if title in phases] == phases


def _lose(copy: RunFolder, n: int, split: str = "validation") -> None:
    """Let the manifest of a run name files that are not there for its first n images of a split."""
    with copy.manifest.open(newline="") as file:
        header, *rows = csv.reader(file)
    places = [place for place, row in enumerate(rows) if row[header.index("split")] == split][:n]
    for place in places:
        rows[place][header.index("path")] += ".gone"
    with copy.manifest.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def test_images_that_are_gone_are_left_out(copy: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A run some of whose images are gone, as after `update`, is checked on the others."""
    n = len(Manifest.from_csv(copy.manifest).split("validation"))
    _lose(copy, 2)

    assert main(["export", str(copy.path), "--format", "keras", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["n"] == n - 2


@pytest.mark.parametrize("name", ["onnx", "litert", "openvino"])
def test_int8_without_training_images_is_refused_before_work_starts(
    name: str, copy: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """If all training images are gone, int8 cannot be calibrated: exit code 2, and nothing is written."""
    _lose(copy, 1000, "train")

    assert main(["export", str(copy.path), "--format", name, "--precision", "float32", "--precision", "int8"]) == 2
    assert "[data-images-missing]" in capsys.readouterr().err
    assert not copy.exports.exists()
    assert not copy.export_table.exists()


def test_a_model_with_other_weights_fails(copy: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A classifier whose weights are not those that predict is not exported under the final name: exit code 3."""
    import keras

    model = keras.saving.load_model(copy.model)
    model.get_layer("head_logits").bias.assign_add([1.0, -1.0])
    model.save(copy.model)

    assert main(["export", str(copy.path), "--format", "openvino", "--json"]) == 3
    (found,) = json.loads(capsys.readouterr().out)
    assert found["max_difference"] > 0.1
    assert found["holds"] is False
    assert {path.name for path in copy.exports.iterdir()} == {"openvino-float32.failed", LOCK}
    assert Path(found["path"]).parent.name == "openvino-float32.failed"


def test_the_earlier_export_is_kept_until_the_new_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the process dies when it renames the new export, the earlier one is still on the disk, and comes back."""
    new, final = tmp_path / ".onnx-float32.00c0ffee.new", tmp_path / "onnx-float32"
    for folder in (new, final):
        folder.mkdir()
        (folder / "classifier.onnx").write_text(folder.name)
    rename = Path.rename

    def die(path: Path, target: Path) -> Path:
        if path == new:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            publish(new, final)
    recover(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [final.name]
    assert (final / "classifier.onnx").read_text() == final.name


def test_an_export_removes_what_killed_ones_left_behind(copy: RunFolder) -> None:
    """Temporary folders of exports that were killed are deleted, those that others have written are not."""
    ours, other = copy.exports / ".litert-int8.00c0ffee.new", copy.exports / ".litert-int8.new"
    earlier = copy.exports / ".openvino-float32.00c0ffee.old"
    for folder in (ours, other, earlier):
        folder.mkdir(parents=True)
    words = ["export", str(copy.path), "--format", "openvino", "--images", "5", "-q"]

    with shared(copy.exports / LOCK):  # another export is running
        assert main(words) == 0
        assert ours.exists()
    assert main(words) == 0
    assert {path.name for path in copy.exports.iterdir()} == {"openvino-float32", other.name, LOCK}


def expected_for(predicted: NDArray[np.float64], images: list[Path]) -> ExpectedResults:
    """Return what an export of a run in float32 has to give."""
    labels = np.array([("dots", "stripes").index(path.parent.name) for path in images])
    reported = Reported(tuple(map(str, images)), labels, ("dots", "stripes"), predicted)
    return ExpectedResults(reported, predicted, (), "float32")


def test_a_file_with_other_weights_is_caught(
    exports: dict[tuple[str, str], Path],
    pixels: NDArray[np.uint8],
    predicted: NDArray[np.float64],
    images: list[Path],
    tmp_path: Path,
) -> None:
    """A file in which one weight was changed differs in its own runtime; one that lost its end cannot be run."""
    import onnx

    model = onnx.load(exports["onnx", "float32"])
    bias = next(
        one for one in model.graph.initializer if (one.data_type, list(one.dims)) == (onnx.TensorProto.FLOAT, [2])
    )
    values = onnx.numpy_helper.to_array(bias)
    bias.CopyFrom(onnx.numpy_helper.from_array(values + np.array([0.5, 0], np.float32), bias.name))
    onnx.save(model, tmp_path / "changed.onnx")
    np.save(tmp_path / "pixels.npy", pixels)
    words = ("onnx", "float32", tmp_path / "changed.onnx", tmp_path / "pixels.npy", 2, tmp_path)
    found, ms = run_in_new_process(*words)
    _, problems = judge("onnx", "float32", expected_for(predicted, images), found, 0.02)

    assert {problem.code for problem in problems} == {"export-differs"}
    assert ms > 0
    (tmp_path / "changed.onnx").write_bytes(exports["onnx", "float32"].read_bytes()[:-500])
    with pytest.raises(ParityError) as caught:
        run_in_new_process(*words)
    assert caught.value.code == "export-cannot-run"


@pytest.mark.parametrize("words", [["keras", "int8"], ["savedmodel", "float16"]], ids="-".join)
def test_a_pair_that_a_format_cannot_hold_is_refused_before_work_starts(copy: RunFolder, words: list[str]) -> None:
    """Nothing is written, nor is the model read."""
    copy.model.unlink()

    assert main(["export", str(copy.path), "--format", words[0], "--precision", words[1]]) == 2
    assert not copy.exports.exists()
    assert not copy.export_table.exists()
