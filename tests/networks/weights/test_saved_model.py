"""A `model.keras` is accepted if it is a classifier as cnncli saves it, else refused before Keras reads it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cnncli.catalogue.activations import ACTIVATIONS
from cnncli.catalogue.networks import NETWORKS
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.errors import RunError
from cnncli.networks.architectures import Network, convnet
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier, load_classifier, save_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.weights import saved_model
from cnncli.networks.weights.saved_model import MAX_LAYERS, check_description, load_saved_model

Description = dict[str, Any]


def _config(**changed: Any) -> Config:
    settings = {
        "mode": "from-scratch",
        "data": {"path": ".", "image_size": 16},
        "backbone": {"name": "ConvNet", "options": {"filters": [4, 8], "batch_norm": True, "dropout": 0.1}},
        "head": {"layers": [{"dense": 6, "l1": 0.1, "l2": 0.2}, {"dropout": 0.2}, {"batch_norm": True}]},
        **changed,
    }
    return config_from_mapping(settings, environment={})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a saved classifier."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    save_classifier(build_classifier(_config(), 3), path)
    return path


def _description(path: Path) -> Description:
    with zipfile.ZipFile(path) as archive:
        found: Description = json.loads(archive.read("config.json"))
    return found


def test_a_classifier_comes_back_as_keras_itself_reads_it(saved: Path) -> None:
    """Weights, settings, order and names of the layers equal those that Keras loads."""
    keras = import_keras()
    ours, theirs = load_saved_model(saved), keras.saving.load_model(saved)

    assert [one.name for one in ours.weights] == [one.name for one in theirs.weights]
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
    assert ours.get_config() == theirs.get_config()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_array_equal(ours(pixels).numpy(), theirs(pixels).numpy())


def test_a_classifier_that_was_saved_frozen_can_be_trained(tmp_path: Path) -> None:
    """Gradients reach every layer of a loaded classifier that was saved with frozen layers."""
    import tensorflow as tf

    keras = import_keras()
    classifier = build_classifier(_config(), 3)
    cut_classifier(classifier, 0, "frozen")
    save_classifier(classifier, tmp_path / "model.keras")
    ours, theirs = load_saved_model(tmp_path / "model.keras"), keras.saving.load_model(tmp_path / "model.keras")
    assert [one.trainable for one in ours.weights] == [one.trainable for one in theirs.weights]
    assert [one.trainable for one in ours.layers] == [one.trainable for one in theirs.layers]
    ours.trainable = True
    with tf.GradientTape() as tape:
        scores = ours(np.ones((2, 16, 16, 3), np.float32), training=True)
        value = keras.ops.sum(scores * scores)
    gradients = tape.gradient(value, [one.value for one in ours.trainable_weights])
    assert gradients
    assert all(one is not None for one in gradients)


@pytest.mark.parametrize(
    "changed",
    [
        {"data": {"path": ".", "image_size": 16, "color": "grayscale"}},
        {"head": {"layers": [{"activation": name} for name in ACTIVATIONS], "activation": "sigmoid"}},
        {"head": {"pooling": "flatten", "activation": "linear", "l2": 0.1}},
        {"backbone": {"name": "ConvNet", "options": {"filters": [64]}}, "data": {"path": ".", "image_size": 1536}},
    ],
    ids=["grayscale", "activations", "linear", "large images"],
)
def test_no_classifier_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    """Every classifier that cnncli can build and save can be loaded."""
    save_classifier(build_classifier(_config(**changed), 2), tmp_path / "model.keras")
    load_classifier(tmp_path / "model.keras", pretrained=False)


def test_a_layer_class_that_its_architecture_does_not_list_is_refused_when_it_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A classifier that could not be loaded is refused before training, with the class and where to list it."""
    build, keras = convnet.build, import_keras()

    def build_normalized(*arguments: Any, **keywords: Any) -> Network:
        model = build(*arguments, **keywords).model
        return Network(keras.Model(model.input, keras.layers.GroupNormalization(groups=2)(model.output)))

    monkeypatch.setattr(convnet, "build", build_normalized)
    with pytest.raises(RuntimeError, match=r"architectures\.convnet: .*keras\.layers\.GroupNormalization.*LAYERS"):
        build_classifier(_config(), 3)

    monkeypatch.setattr(convnet, "LAYERS", {"keras.layers": {"GroupNormalization"}}, raising=False)
    build_classifier(_config(), 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_no_network_of_the_catalogue_is_refused(name: str, tmp_path: Path) -> None:
    """The description and the sizes of every network in the catalogue are accepted."""
    size = max(NETWORKS[name].min_size, 64)
    config = _config(backbone={"name": name}, data={"path": ".", "image_size": size})
    save_classifier(build_classifier(config, 2), tmp_path / "model.keras")
    load_classifier(tmp_path / "model.keras", pretrained=True)


def _layer(description: Description, name: str) -> Description:
    found: Description = next(one for one in description["config"]["layers"] if one["name"] == name)
    return found


def _with(layer: str, **entries: Any) -> Callable[[Description], object]:
    return lambda description: _layer(description, layer).update(entries)


def _setting(layer: str, **settings: Any) -> Callable[[Description], object]:
    return lambda description: _layer(description, layer)["config"].update(settings)


OBJECT = {"module": "keras.layers", "class_name": "Lambda", "config": {}, "registered_name": None}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_with("head_probabilities", class_name="Lambda"), "has keras.layers.Lambda, which cnncli does not load"),
        (_with("head_probabilities", module="os", class_name="system"), "has os.system"),
        (_with("head_probabilities", module=None), "has Activation"),
        (_with("head_probabilities", module=["keras.layers"]), "which cnncli does not load"),
        (_with("head_probabilities", class_name={"a": 1}), "which cnncli does not load"),
        (_with("head_probabilities", registered_name="evil>Dense"), "has keras.layers.Activation"),
        (_with("head_probabilities", class_name="function"), "has keras.layers.function"),
        (_with("head_probabilities", class_name="__lambda__", module=None), "has __lambda__"),
        (
            _with("head_probabilities", class_name="__keras_tensor__", module=None),
            "a tensor in the place of the layer head_probabilities",
        ),
        (_with("head_probabilities", name="pixels"), "a layer without a name of its own"),
        (_with("head_probabilities", name=3), "a layer without a name of its own"),
        (_setting("head_logits", activation=OBJECT), "has keras.layers.Lambda"),
        (_setting("head_logits", units=[[{"x": OBJECT}]]), "has keras.layers.Lambda"),
        (
            _setting("head_logits", kernel_initializer={"module": "keras.initializers", "class_name": "X"}),
            "which cnncli does not load",
        ),
        (_setting("head_logits", x={"registered_name": "a>b"}), "an object without a name"),
        (
            _setting(
                "head_logits", activity_regularizer={**OBJECT, "module": "keras.regularizers", "class_name": "L2"}
            ),
            "a layer head_logits with an activity_regularizer",
        ),
        (_setting("head_logits", units=2**25), "a 33554432 in units"),
        (_setting("head_logits", units=-(2**60)), "a -1152921504606846976 in units"),
        (_setting("pixels", batch_shape=[None, -16, 16, 3]), "does not describe a model of images"),
        (_setting("pixels", batch_shape=[None, 16, 16, 513]), "does not describe a model of images"),
        (_setting("pixels", batch_shape=[None, 16, 3]), "does not describe a model of images"),
        (_setting("pixels", batch_shape="x"), "does not describe a model of images"),
        (lambda description: description["config"]["layers"].reverse(), "before"),
        (lambda description: description["config"].update(layers=[]), "without layers"),
        (lambda description: description["config"].update(layers={"a": 1}), "without layers"),
        (lambda description: description["config"].update(layers=[3]), "a layer without a name of its own"),
        (lambda description: description["config"].update(layers=[{}] * (MAX_LAYERS + 1)), "describes 8,001 layers"),
        (lambda description: description.update(config=None), "without layers"),
        (lambda description: description.update(class_name="Sequential"), "does not describe a functional model"),
        (lambda description: description.update(compile_config={"optimizer": OBJECT}), "has keras.layers.Lambda"),
        (
            lambda description: description.update(build_config={"input_shape": [None, 2**40]}),
            "a 1099511627776 in input_shape",
        ),
    ],
)
def test_description_of_anything_else_is_refused(
    change: Callable[[Description], object], says: str, saved: Path
) -> None:
    """Any other description is refused before Keras reads it, with a message that names what it requests."""
    description = _description(saved)
    check_description(description)
    change(description)
    with pytest.raises(ValueError, match=says.replace("[", r"\[")):
        check_description(description)


@pytest.mark.parametrize("axis", [1, [1, 2, 3], [-1, -2], None])
def test_statistics_of_anything_but_channels_are_refused(axis: Any, saved: Path) -> None:
    """Normalization statistics that are not per channel are refused; Keras would build constants of any size."""
    description = _description(saved)
    normalization = json.loads(json.dumps(_layer(description, "preprocess_scale")))
    normalization.update(class_name="Normalization", name="n", config={"name": "n", "axis": axis})
    layers = description["config"]["layers"]
    layers.insert(layers.index(_layer(description, "preprocess_scale")) + 1, normalization)
    with pytest.raises(ValueError, match="normalizes more than channels"):
        check_description(description)


def test_a_normalization_of_many_channels_is_refused(saved: Path) -> None:
    """Repeated concatenation below a normalization, which multiplies its channels, is refused."""
    description = _description(saved)
    layers = description["config"]["layers"]
    place = layers.index(_layer(description, "preprocess_scale")) + 1
    kinds = {"c1": "Concatenate", "c2": "Concatenate", "n": "Normalization"}
    for name, kind in reversed(kinds.items()):
        added = json.loads(json.dumps(_layer(description, "preprocess_scale")))
        added.update(class_name=kind, name=name, config={"name": name})
        layers.insert(place, added)
    with pytest.raises(ValueError, match="normalizes more than channels"):
        check_description(description)


def test_a_seed_may_be_any_number(saved: Path) -> None:
    """Large seeds are accepted, because a seed is not a size."""
    description = _description(saved)
    _layer(description, "head_dropout_2")["config"]["seed"] = 2**31 - 1
    check_description(description)


def _rewritten(saved: Path, path: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    with zipfile.ZipFile(saved) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def _units(content: dict[str, bytes]) -> None:
    description = json.loads(content["config.json"])
    _layer(description, "head_logits")["config"]["units"] = 2**23
    content["config.json"] = json.dumps(description).encode()


def _size(content: dict[str, bytes]) -> None:
    description = json.loads(content["config.json"])
    _layer(description, "pixels")["config"]["batch_shape"] = [None, 2**14, 2**14, 3]
    content["config.json"] = json.dumps(description).encode()


def _orphan(content: dict[str, bytes]) -> None:
    """Return a layer that is built but not part of the model."""
    description = json.loads(content["config.json"])
    orphan = json.loads(json.dumps(_layer(description, "head_logits")))
    orphan.update(name="orphan", inbound_nodes=[], build_config={"input_shape": [None, 2**20]})
    orphan["config"].update(name="orphan", units=2**20)
    description["config"]["layers"].append(orphan)
    content["config.json"] = json.dumps(description).encode()


def _weights(change: Callable[[h5py.File], object]) -> Callable[[dict[str, bytes]], None]:
    def both(content: dict[str, bytes]) -> None:
        import io

        file = io.BytesIO(content["model.weights.h5"])
        with h5py.File(file, "a") as weights:
            change(weights)
        content["model.weights.h5"] = file.getvalue()

    return both


def _packed(file: h5py.File) -> None:
    where = file["layers/dense/vars"]
    shape = where["0"].shape
    del where["0"]
    where.create_dataset("0", shape, "f4", chunks=True, compression="gzip")


def _linked(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_units, "it declares 234,"),
        (_size, "pixels gives 805,306,368 values for each image"),
        (_orphan, "it declares 4,398,"),
        (_weights(_packed), "/layers/dense/vars/0 declares more than is stored"),
        (_weights(_linked), "/layers/dense/vars/0 is a link as Keras never writes it"),
        (_weights(lambda file: file.__delitem__("layers/dense")), ""),
        (
            lambda content: content.update({"assets/x": b"x"}),
            "assets/x is in the archive",
        ),
        (lambda content: content.update({"../x": b"x"}), "../x is in the archive"),
        (lambda content: content.pop("config.json"), "There is no item named 'config.json' in the archive"),
        (lambda content: content.update({"config.json": b"[" * 100_000}), "nested too deeply"),
        (lambda content: content.update({"config.json": b"\xff"}), ""),
        (lambda content: content.update({"config.json": b" " * 17_000_000}), "config.json would unpack to 17,000,000"),
    ],
)
def test_archive_of_anything_else_is_one_line(
    change: Callable[[dict[str, bytes]], object], says: str, saved: Path, tmp_path: Path
) -> None:
    """The error names the file and the reason, and the next model is loaded normally."""
    path = _rewritten(saved, tmp_path / "model.keras", change)

    with pytest.raises(RunError) as error:
        load_classifier(path, pretrained=False)

    assert len(error.value.problems) == 1
    assert (error.value.codes, error.value.facts["path"]) == (("run-file-damaged",), path)
    assert says in str(error.value.facts["reason"])
    assert len(str(error.value).splitlines()) == 1
    load_classifier(saved, pretrained=False)


def test_archive_with_a_name_twice_is_refused(saved: Path, tmp_path: Path) -> None:
    """An archive with duplicate names is refused, since two readers may see different files."""
    path = _rewritten(saved, tmp_path / "model.keras", lambda _: None)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", b"{}")

    with pytest.raises(RunError, match=r"config\.json is in the archive, too"):
        load_classifier(path, pretrained=False)


def test_layer_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a few kilobytes that describes a huge layer is refused."""
    config = _config(backbone={"name": "ConvNet", "options": {"filters": [64]}}, data={"path": ".", "image_size": 1536})
    save_classifier(build_classifier(config, 2), tmp_path / "model.keras")
    monkeypatch.setattr(saved_model, "available_bytes", lambda: 600_000_000)

    with pytest.raises(RunError, match="gives 150,601,984 values for each image"):
        load_classifier(tmp_path / "model.keras", pretrained=False)


def test_functional_model_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    """A model of allowed layers that is not structured like a classifier of cnncli is refused."""
    keras = import_keras()
    pixels = keras.Input((8, 8, 3))
    keras.Model(pixels, keras.layers.Flatten()(pixels)).save(tmp_path / "model.keras")

    with pytest.raises(RunError, match="it has no input pixels"):
        load_classifier(tmp_path / "model.keras", pretrained=False)
