"""Check untrusted OpenVINO graphs: no loops, no growing constants, no shapes larger than images.

OpenVINO computes constant parts of a graph while compiling it, so a file of one kilobyte could use any amount of memory
and time. A classifier's graph stores its constants in a file, and its sizes follow from the image size.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from cnncli.storage.safe_io import read_bytes

MAX_XML_BYTES = 64 * 2**20
MAX_LAYERS = 20_000
MAX_VALUES = 2**27
"""Values that one operation may output for one image: half a gigabyte."""
MAX_CONSTANTS = 2**22
"""Values that constant parts of a graph may output beyond those in its file: shapes, paddings, reordered weights."""

_TYPE = re.compile(rb'<layer\b[^>]*?\btype="([^"]{1,64})"')
_REFUSED = {b"Loop", b"TensorIterator", b"If", b"Assign", b"ReadValue", b"Tile", b"OneHot", b"Eye", b"RandomUniform"}


def check_graph_file(path: Path) -> None:
    """Check the text of a graph before OpenVINO parses it. Raises OSError or ValueError."""
    text = read_bytes(path, MAX_XML_BYTES)
    if not text.startswith((b"<?xml", b"<net")) or b"<!" in text:
        raise ValueError("not an OpenVINO graph as cnncli writes it")
    types = _TYPE.findall(text)
    if len(types) > MAX_LAYERS:
        raise ValueError(f"{len(types):,} layers, expected at most {MAX_LAYERS:,}")
    if refused := sorted(_REFUSED.intersection(types)):
        raise ValueError(f"operation {refused[0].decode()}, which no classifier needs")


def check_graph(model: Any, batch: int, weights_bytes: int) -> None:
    """Check that no size in an OpenVINO model, whose inputs have their final shapes, exceeds that of a classifier.

    Raises ValueError if a size is too large or unknown. `weights_bytes` is the size of the file of constants.
    """
    depend_on_pixels: set[str] = set()
    constants = 0.0
    for operation in model.get_ordered_ops():
        inputs = {value.get_node().get_name() for value in operation.input_values()}
        is_constant = operation.get_type_name() != "Parameter" and depend_on_pixels.isdisjoint(inputs)
        if not is_constant:
            depend_on_pixels.add(operation.get_name())
        shapes = [output.get_partial_shape() for output in operation.outputs()]
        sizes = [math.inf if shape.is_dynamic else math.prod(shape.to_shape()) for shape in shapes]
        constants += sum(sizes) if is_constant else 0
        largest = 0 if is_constant else max(sizes, default=0)
        if largest > MAX_VALUES * batch or constants > 4 * weights_bytes + MAX_CONSTANTS:
            raise ValueError(f"{operation.get_friendly_name()} outputs more values than in any classifier")
