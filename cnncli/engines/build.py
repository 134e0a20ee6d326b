"""From a graph to an engine that runs it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.engines.engine import Engine, EngineChoice
from cnncli.engines.keras import KerasEngine
from cnncli.engines.openvino import TRUNK, OpenVinoEngine, conversion_versions, convert_graph
from cnncli.errors import EngineError
from cnncli.storage.atomic import touch
from cnncli.storage.checksums import CHECKSUMS, checksummed, damage
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    import keras


def build_engine(
    trunk: keras.Model, fingerprint: str, choice: EngineChoice, graphs: Path, console: Console
) -> tuple[Engine, Path | None]:
    """An engine for a trunk, and its converted graph where it has one; that is kept and converted once.

    Args:
        trunk: pixels to features.
        fingerprint: of the trunk; names the converted graph.
        choice: engine and precision.
        graphs: folder of converted graphs.
        console: told where OpenVINO cannot take the graph; Keras runs it instead, in float32 whatever was chosen.

    Returns:
        The engine, and the `.xml` of the converted graph; None where Keras runs the trunk.
    """
    if choice.engine == "keras":
        return KerasEngine(trunk, choice.precision), None
    try:
        graph = converted_graph(trunk, fingerprint, graphs)
        return OpenVinoEngine(graph, choice.precision), graph
    except EngineError as error:
        console.warn(f"{error}. Keras runs it, in float32.")
        return KerasEngine(trunk, "float32"), None


def converted_graph(trunk: keras.Model, fingerprint: str, graphs: Path) -> Path:
    """The `.xml` of a trunk's OpenVINO graph, converted where that has not been done yet or the file is damaged.

    Raises:
        EngineError: OpenVINO cannot take the graph.
    """
    folder = graphs / f"{fingerprint[:32]}-{conversion_versions()}"
    if damage(folder) is not None:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with checksummed(folder) as temporary:
                convert_graph(trunk, temporary / TRUNK, pixels=True)
        except OSError:  # where another run was faster its graph is the same, and stays
            if damage(folder) is not None:
                raise
    touch(folder / CHECKSUMS)
    return folder / TRUNK
