"""What an OpenVINO graph from anywhere may ask for: no loops, no constants that grow, no shapes beyond images.

OpenVINO computes constant parts of a graph while it compiles it, so a file of a kilobyte could take any memory and any
time. A classifier's graph has its constants in its file, and sizes that follow from the image's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnncli.storage.safe_io import read_bytes

MOST_XML_BYTES = 64 * 2**20
MOST_LAYERS = 20_000
MOST_VALUES = 2**27
"""That one operation may give for one image: half a gigabyte."""
MOST_CONSTANTS = 2**22
"""Values that constant parts of a graph may give beyond those in its file: shapes, paddings, reordered weights."""

_TYPE = re.compile(rb'<layer\b[^>]*?\btype="([^"]{1,64})"')
_REFUSED = frozenset(
    (b"Loop", b"TensorIterator", b"If", b"Assign", b"ReadValue", b"Tile", b"OneHot", b"Eye", b"RandomUniform")
)


def check_graph_file(path: Path) -> None:
    """Look at the text of a graph before OpenVINO does.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no graph as cnncli writes it.
    """
    text = read_bytes(path, MOST_XML_BYTES)
    if not text.startswith((b"<?xml", b"<net")) or b"<!" in text:
        raise ValueError("it is no OpenVINO graph as cnncli writes it")
    types = _TYPE.findall(text)
    if len(types) > MOST_LAYERS:
        raise ValueError(f"it has {len(types):,} layers, at most {MOST_LAYERS:,} are read")
    if refused := sorted(_REFUSED.intersection(types)):
        raise ValueError(f"it has a {refused[0].decode()}, which no classifier needs")


def check_graph(model: Any, batch: int, weights_bytes: int) -> None:
    """Compare the sizes in a graph with those of a classifier, before it is compiled.

    Args:
        model: an OpenVINO model whose inputs have their final shapes.
        batch: images in a request.
        weights_bytes: of the file with the graph's constants.

    Raises: ValueError: something in it is larger, or has no size.
    """
    from_pixels: set[str] = set()
    constants = 0
    for operation in model.get_ordered_ops():
        name = operation.get_name()
        inputs = [value.get_node().get_name() for value in operation.input_values()]
        if operation.get_type_name() == "Parameter" or not from_pixels.isdisjoint(inputs):
            from_pixels.add(name)
        for values in _sizes(operation):
            if name not in from_pixels:
                constants += values
            elif values > MOST_VALUES * batch:
                raise ValueError(f"{operation.get_friendly_name()} gives {values:,} values for {batch} images")
    if constants > 4 * weights_bytes + MOST_CONSTANTS:
        raise ValueError(f"it makes {constants:,} constants of a file of {weights_bytes:,} bytes")


def _sizes(operation: Any) -> Iterator[int]:
    """How many values an operation gives at each of its outputs."""
    for output in operation.outputs():
        shape = output.get_partial_shape()
        if shape.is_dynamic:
            raise ValueError(f"{operation.get_friendly_name()} gives an unknown number of values")
        yield math.prod(shape.to_shape())
