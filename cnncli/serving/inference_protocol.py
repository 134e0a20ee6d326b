"""Version 2 of the Open Inference Protocol, which KServe, Triton and their clients use, with binary tensors.

A model has two inputs, of which a request has one: `images`, encoded files (in JSON as Base64), or `pixels`, decoded
images of any one size. Both give the results of `cnncli predict` for the same images.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import Message
from cnncli.images.decode import ImageSource
from cnncli.inference.predictor import Answer, Predictor
from cnncli.serving.refusals import Limits, Refused

HEADER_LENGTH = "Inference-Header-Content-Length"
"""Header with the size of the JSON before the binary tensors."""
EXTENSIONS = ("binary_tensor_data",)
VERSION = "1"
MOST_SIDE = 100_000
"""Maximum size of an axis of a tensor."""
MOST_DIGITS = 12
"""Maximum number of digits of a size in bytes."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of an answer; text is an object array."""

    name: str
    datatype: str
    values: NDArray[Any]

    @property
    def binary(self) -> bytes:
        """The tensor in the binary form: text with its length before it, everything else as it is."""
        if self.datatype != "BYTES":
            return self.values.tobytes()
        texts = (str(one).encode() for one in self.values.ravel())
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)


@dataclass(frozen=True)
class InferenceRequest:
    """A request for inference.

    Attributes:
        id: Name that the answer repeats, or None.
        images: The images, by names for errors.
        outputs: Names of the wanted tensors, and whether they are binary; empty for all.
        is_binary: Whether tensors are binary unless `outputs` says otherwise.
    """

    id: str | None
    images: Sequence[tuple[str, ImageSource]]
    outputs: dict[str, bool]
    is_binary: bool


def metadata(name: str, predictor: Predictor) -> dict[str, Any]:
    """Return the metadata of a model."""
    channels, n_classes = predictor.spec.pixels.channels, len(predictor.spec.classes)
    inputs = [("images", "BYTES", [-1]), ("pixels", "UINT8", [-1, -1, -1, channels])]
    answer = Answer(np.zeros(n_classes), *_trust(predictor))
    outputs = [(one.name, one.datatype, [-1, *one.values.shape[1:]]) for one in tensors_of([answer], predictor)]
    return {
        "name": name,
        "versions": [VERSION],
        "platform": f"cnncli_{predictor.spec.engine}",
        "inputs": [dict(zip(("name", "datatype", "shape"), one, strict=True)) for one in inputs],
        "outputs": [dict(zip(("name", "datatype", "shape"), one, strict=True)) for one in outputs],
    }


def _trust(predictor: Predictor) -> tuple[float | None, bool | None]:
    calibration = predictor.calibration
    return (None, None) if calibration is None else (0.0, False if calibration.abstains else None)


def tensors_of(answers: Sequence[Answer], predictor: Predictor) -> list[Tensor]:
    """Return the tensors of an answer: probabilities, the most probable class, confidence and unknown if known."""
    probabilities = np.stack([one.probabilities for one in answers]).astype(np.float32)
    found = [Tensor("probabilities", "FP32", probabilities)]
    if not predictor.spec.is_multi_label:
        labels = [predictor.spec.classes[place] for place in probabilities.argmax(axis=1)]
        found.append(Tensor("label", "BYTES", np.array(labels, object)))
    if answers[0].confidence is not None:
        found.append(Tensor("confidence", "FP32", np.array([one.confidence for one in answers], np.float32)))
    if answers[0].unknown is not None:
        found.append(Tensor("unknown", "BOOL", np.array([one.unknown for one in answers], bool)))
    return found


def read_request(body: bytes, header_length: str | None, limits: Limits, channels: int) -> InferenceRequest:
    """Read a request. Raises Refused if it does not follow the protocol or is too large."""
    length = len(body) if header_length is None else _length(header_length)
    if not 0 < length <= len(body):
        raise invalid(f"{HEADER_LENGTH}: received {str(header_length)[:20]}, expected 1-{len(body)}.")
    document = _mapping(_json(body[:length], limits), "the request")
    inputs = [_mapping(one, "inputs") for one in _list(document.get("inputs"), "inputs")]
    if len(inputs) != 1:
        raise invalid(f"inputs: received {len(inputs)} tensors, expected one, `images` or `pixels`.")
    name, shape = inputs[0].get("name"), _shape(inputs[0].get("shape"))
    if name not in ("images", "pixels"):
        raise invalid(f"inputs: received {str(name)[:40]!r}, expected `images` or `pixels`.")
    if shape[0] > limits.images:
        raise too_many_images(shape[0], limits)
    binary = body[length:]
    is_encoded = name == "images"
    images = _encoded_images(inputs[0], shape, binary) if is_encoded else _pixels(inputs[0], shape, binary, channels)
    return InferenceRequest(
        id=document["id"][:200] if isinstance(document.get("id"), str) else None,
        images=[(f"{name}[{place}]", one) for place, one in enumerate(images)],
        outputs=_wanted(document.get("outputs", [])),
        is_binary=_parameters(document).get("binary_data_output") is True,
    )


def _length(text: str) -> int:
    """Return a size in bytes, or -1 if the text is not one. Python refuses to convert thousands of digits."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else -1


def _wanted(outputs: object) -> dict[str, bool]:
    found = [_mapping(one, "outputs") for one in _list(outputs, "outputs")]
    return {str(one.get("name")): _parameters(one).get("binary_data") is True for one in found}


def _encoded_images(tensor: dict[str, Any], shape: list[int], binary: bytes) -> list[ImageSource]:
    _require(tensor, "BYTES", shape, [shape[0]])
    if "data" not in tensor:
        return list(_split(_binary(tensor, binary), shape[0]))
    texts = _list(tensor["data"], "data")
    if len(texts) != shape[0] or not all(isinstance(text, str) for text in texts):
        raise invalid(f"data: expected {shape[0]} texts, each an image file in Base64.")
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except ValueError:
        raise invalid("data: a text is not Base64.") from None


def _split(content: bytes, n: int) -> list[bytes]:
    """Return the values of a binary tensor of bytes, each of which follows its length."""
    found: list[bytes] = []
    place = 0
    while place + 4 <= len(content) and len(found) < n:
        (size,) = struct.unpack_from("<I", content, place)
        found.append(content[place + 4 : place + 4 + size])
        place += 4 + size
    if place != len(content) or len(found) != n:
        raise invalid(f"images: the binary data do not consist of {n} lengths and values.")
    return found


def _pixels(tensor: dict[str, Any], shape: list[int], binary: bytes, channels: int) -> list[ImageSource]:
    _require(tensor, "UINT8", shape, [shape[0], *shape[1:3], channels])
    if "data" not in tensor:
        content = _binary(tensor, binary)
        if len(content) != math.prod(shape):
            raise invalid(f"pixels: received {len(content):,} bytes, expected {math.prod(shape):,}.")
        return list(np.frombuffer(content, np.uint8).reshape(shape))
    try:
        values = np.array(tensor["data"], np.float64)
        if values.size == math.prod(shape) and ((values >= 0) & (values <= 255) & (values == np.floor(values))).all():
            return list(values.astype(np.uint8).reshape(shape))
    except (TypeError, ValueError, OverflowError):
        pass
    raise invalid(f"data: expected {math.prod(shape):,} integers of 0-255.")


def _require(tensor: dict[str, Any], datatype: str, shape: list[int], expected: list[int]) -> None:
    if tensor.get("datatype") != datatype or shape != expected:
        received = f"{str(tensor.get('datatype'))[:20]} {shape}"
        raise invalid(f"{tensor['name']}: received {received}, expected {datatype} {expected}.")


def _binary(tensor: dict[str, Any], binary: bytes) -> bytes:
    size = _parameters(tensor).get("binary_data_size")
    if type(size) is not int or size != len(binary):
        raise invalid(
            f"binary_data_size: received {str(size)[:20]}, expected {len(binary):,}, the bytes after the JSON."
        )
    return binary


def _shape(value: object) -> list[int]:
    shape = _list(value, "shape")
    if not 1 <= len(shape) <= 4 or not all(type(one) is int and 0 < one <= MOST_SIDE for one in shape):
        raise invalid(f"shape: received {str(shape)[:60]}, expected 1-4 sizes of 1-{MOST_SIDE:,}.")
    return shape


def _json(content: bytes, limits: Limits) -> object:
    if len(content) > limits.json_bytes:
        text = f"the JSON has {len(content):,} bytes, the limit is {limits.json_bytes:,}; send binary tensors."
        raise Refused(413, Message("serve-too-large", text, received=len(content), expected=limits.json_bytes))
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise invalid("the request is not valid JSON.") from None


def _parameters(document: dict[str, Any]) -> dict[str, Any]:
    return _mapping(document.get("parameters", {}), "parameters")


def _mapping(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"{name}: expected an object.")
    return value


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid(f"{name}: expected a list.")
    return value


def invalid(text: str) -> Refused:
    """Return the refusal of a request that does not follow the protocol."""
    return Refused(400, Message("serve-request-invalid", text))


def too_many_images(n: int, limits: Limits) -> Refused:
    """Return the refusal of a request with too many images."""
    text = f"the request has {n:,} images or more, and the server accepts {limits.images:,} (--max-images)."
    return Refused(413, Message("serve-too-many-images", text, received=n, expected=limits.images))


def write_answer(
    request: InferenceRequest, name: str, answers: Sequence[Answer], predictor: Predictor
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of an answer. Raises Refused if the request wants an unknown tensor."""
    tensors = {one.name: one for one in tensors_of(answers, predictor)}
    if unknown := [wanted for wanted in request.outputs if wanted not in tensors]:
        raise invalid(f"outputs: received {unknown[0][:40]!r}, expected some of {', '.join(tensors)}.")
    outputs, binary = [], b""
    for wanted in request.outputs or tensors:
        tensor = tensors[wanted]
        entry: dict[str, Any] = {"name": wanted, "datatype": tensor.datatype, "shape": list(tensor.values.shape)}
        if request.outputs.get(wanted, request.is_binary):
            entry["parameters"] = {"binary_data_size": len(tensor.binary)}
            binary += tensor.binary
        else:
            entry["data"] = tensor.values.ravel().tolist()
        outputs.append(entry)
    named = {} if request.id is None else {"id": request.id}
    header = json.dumps({"model_name": name, "model_version": VERSION, **named, "outputs": outputs}).encode()
    if not binary:
        return header, {"Content-Type": "application/json"}
    return header + binary, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
