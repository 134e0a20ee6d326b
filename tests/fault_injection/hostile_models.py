"""Hostile `model.keras` files: configs that request more than layers, and malformed archives."""

from __future__ import annotations

import base64
import json
import marshal
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.fault_injection.kinds import Kind, Refusal, load_model
from tests.fault_injection.sandbox import FORBIDDEN

Described = dict[str, Any]
DEFLATED = zipfile.ZIP_DEFLATED


def members(path: Path) -> dict[str, bytes]:
    """Return the members of an archive by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, content: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    """Write an archive."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def model_of(here: Path) -> Path:
    """Return the path of the run's model."""
    return here / "run" / "model.keras"


def described(change: Callable[[Described], object], mentions: str) -> Kind:
    """Return a kind of model with a changed config: `change` modifies it or returns a text to replace it."""

    def make(here: Path) -> None:
        content = members(model_of(here))
        config = json.loads(content["config.json"])
        changed = change(config)
        text = (
            changed if isinstance(changed, str) else json.dumps(config).replace("OUTSIDE", str(here.parent / FORBIDDEN))
        )
        write_members(model_of(here), {**content, "config.json": text.encode()})

    return Kind(make, load_model, _refused(mentions))


def archived(
    change: Callable[[dict[str, bytes]], object], mentions: str | None, method: int = zipfile.ZIP_STORED
) -> Kind:
    """Return a kind of model with a changed archive: `change` modifies its members."""

    def make(here: Path) -> None:
        content = members(model_of(here))
        change(content)
        write_members(model_of(here), content, method)

    return Kind(make, load_model, None if mentions is None else _refused(mentions))


def _refused(mentions: str) -> Refusal:
    return Refusal("run-file-damaged", rf"model\.keras.*(?:{mentions})")


def layer_named(config: Described, start: str) -> Described:
    """Return the first layer whose name starts with `start`."""
    found: Described = next(layer for layer in config["config"]["layers"] if layer["name"].startswith(start))
    return found


def _put(**entry: Any) -> Callable[[Described], None]:
    """Replace the class of the head's activation, but keep its name and inputs."""

    def change(config: Described) -> None:
        layer = layer_named(config, "head_prob")
        settings = {"name": layer["name"], **entry.get("config", {})}
        layer.update({**entry, "config": settings})

    return change


def _lambda(config: Described) -> None:
    code = marshal.dumps((lambda x: __import__("os").system("touch ran") or x).__code__)
    text = base64.b64encode(code).decode()
    function = {"class_name": "__lambda__", "config": {"code": text, "value": [text, None, None]}}
    _put(module="keras.layers", class_name="Lambda", config={"function": function, "arguments": {}})(config)


def _function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def _settings(start: str, **settings: Any) -> Callable[[Described], None]:
    """Change the config of a layer."""

    def change(config: Described) -> None:
        layer_named(config, start)["config"].update(settings)

    return change


def _built_for(start: str, *shape: int | None) -> Callable[[Described], None]:
    def change(config: Described) -> None:
        layer_named(config, start)["build_config"] = {"input_shape": list(shape)}

    return change


def _without_module(config: Described) -> None:
    layer = layer_named(config, "head_prob")
    del layer["module"]
    layer.update(class_name="Lambda", config={"name": layer["name"], "function": "x", "function_type": "lambda"})


def _wrapped(config: Described) -> None:
    layer = layer_named(config, "head_dense")
    inner = {key: value for key, value in layer.items() if key not in ("inbound_nodes", "name")}
    layer.update(module="keras.layers", class_name="TimeDistributed", config={"name": layer["name"], "layer": inner})


def _stacked(config: Described) -> None:
    """Insert 24 concatenations, each of which doubles the channels."""
    layers = config["config"]["layers"]
    pool = layer_named(config, "head_avg")
    at, before = layers.index(pool), pool["inbound_nodes"]
    source = before[0]["args"][0]
    for number in range(24):
        name, tensor = f"more_{number}", json.loads(json.dumps(source))
        layers.insert(at, {**_concatenation(name), "inbound_nodes": [{"args": [[source, tensor]], "kwargs": {}}]})
        source, at = json.loads(json.dumps(source)), at + 1
        source["config"]["keras_history"] = [name, 0, 0]
    pool["inbound_nodes"] = [{"args": [source], "kwargs": {}}]
    pool["build_config"] = layer_named(config, "head_dense")["build_config"] = None


def _concatenation(name: str) -> Described:
    config = {"name": name, "trainable": True, "dtype": "float32", "axis": -1}
    return {
        "module": "keras.layers",
        "class_name": "Concatenate",
        "config": config,
        "registered_name": None,
        "name": name,
    }


def _reversed(config: Described) -> None:
    config["config"]["layers"].reverse()


def _nested(config: Described) -> str:
    return json.dumps(config).replace(
        '"trainable": true', '"x": ' + "[" * 50_000 + "]" * 50_000 + ', "trainable": true', 1
    )


def _bomb(content: dict[str, bytes]) -> None:
    content["model.weights.h5"] = b"\0" * 50_000_000


def _lie(here: Path) -> None:
    """Write a member that declares one kilobyte but unpacks to much more."""
    write_members(model_of(here), {**members(model_of(here)), "config.json": b" " * 20_000_000}, DEFLATED)
    data = bytearray(model_of(here).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = next(place for place in _places(data, signature) if b"config.json" in data[place : place + 80])
        data[at + offset : at + offset + 4] = (1000).to_bytes(4, "little")
    model_of(here).write_bytes(data)


def _places(data: bytes | bytearray, signature: bytes) -> list[int]:
    found, at = [], data.find(signature)
    while at >= 0:
        found.append(at)
        at = data.find(signature, at + 1)
    return found


def _add(name: str, data: bytes = b"x") -> Callable[[dict[str, bytes]], None]:
    return lambda content: content.update({name: data})


def _twice(here: Path) -> None:
    with zipfile.ZipFile(model_of(here), "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("config.json", b"{}")


def _link(here: Path) -> None:
    content = members(model_of(here))
    with zipfile.ZipFile(model_of(here), "w") as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name)
            if name == "model.weights.h5":
                entry.external_attr = 0o120777 << 16
                data = b"/etc/passwd"
            archive.writestr(entry, data)


def _pipe(here: Path) -> None:
    model_of(here).unlink()
    os.mkfifo(model_of(here))


KINDS: Mapping[str, Kind] = {
    "keras with a Lambda": described(_lambda, "Lambda"),
    "keras with os.system as a class": described(
        _put(module="os", class_name="system", config={"command": "touch ran"}), "system"
    ),
    "keras with a class of subprocess": described(
        _put(module="subprocess", class_name="Popen", config={"args": ["touch", "ran"]}), "Popen"
    ),
    "keras with a function in its settings": described(
        _settings("head_dense", activation=_function("keras.saving", "load_model")), "function"
    ),
    "keras with a function of builtins": described(
        _settings("head_dense", activation=_function("builtins", "exec")), "function"
    ),
    "keras that switches safe mode off": described(
        _settings("head_dense", activation=_function("keras.config", "enable_unsafe_deserialization")),
        "function",
    ),
    "keras that downloads": described(
        _settings("head_dense", activation=_function("keras.utils", "get_file")), "function"
    ),
    "keras under a registered name": described(_put(registered_name="evil>Layer"), r"keras\.layers\.Activation"),
    "keras with a layer of no module": described(_without_module, "Lambda"),
    "keras with a layer in a layer": described(_wrapped, "TimeDistributed"),
    "keras with TensorFlow's SavedModel": described(
        _put(module="keras.layers", class_name="TFSMLayer", config={"filepath": "OUTSIDE"}), "TFSMLayer"
    ),
    "keras that reads a vocabulary": described(
        _put(module="keras.layers", class_name="StringLookup", config={"vocabulary": "OUTSIDE/secret.txt"}),
        "StringLookup",
    ),
    "keras with torch inside": described(
        _put(module="keras.layers", class_name="TorchModuleWrapper", config={"module": "x"}),
        "TorchModuleWrapper",
    ),
    "keras of a billion units": described(_settings("head_logits", units=10**9), "1000000000"),
    "keras of many units": described(_settings("head_logits", units=2**23), "301,991,968 bytes"),
    "keras built for a large input": described(_built_for("head_logits", None, 2**23), "head_logits|bytes"),
    "keras whose channels double and double": described(_stacked, "4,294,969,192 bytes"),
    "keras with an image of 10**9 pixels": described(
        _settings("pixels", batch_shape=[None, 2**20, 1000, 3]), "3,145,728,000 values"
    ),
    "keras in the wrong order": described(_reversed, r"config\.json"),
    "keras nested 50,000 deep": described(_nested, "nested"),
    "keras with a list for a config": described(lambda _: "[]", r"config\.json"),
    "keras with a config of 18 MB": described(lambda _: " " * 18_000_000, "18,000,000 bytes"),
    "keras without weights": archived(lambda content: content.pop("model.weights.h5"), r"model\.weights\.h5"),
    "keras without a config": archived(lambda content: content.pop("config.json"), r"config\.json"),
    "keras with a path that leads out": archived(_add("../../outside/evil.txt"), r"outside/evil\.txt"),
    "keras with an absolute path": archived(_add("/tmp/evil.txt"), r"/tmp/evil\.txt"),
    "keras with assets": archived(_add("assets/head/vocabulary.txt"), r"vocabulary\.txt"),
    "keras in a keras": archived(_add("model.keras", b"PK\x03\x04"), r"[( ]model\.keras"),
    "keras with a bomb for weights": archived(_bomb, "50,000,000 bytes", DEFLATED),
    "keras packed by a method without limits": archived(lambda content: content, "method 14", zipfile.ZIP_LZMA),
    "keras whose sizes lie": Kind(_lie, load_model, _refused(r"config\.json")),
    "keras with two configs": Kind(_twice, load_model, _refused(r"config\.json is in the archive, too")),
    "keras with a link for weights": Kind(_link, load_model, _refused("")),
    "keras that is a pipe": Kind(_pipe, load_model, _refused("regular file")),
    "keras unchanged": archived(lambda content: content, None),
}
