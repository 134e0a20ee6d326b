"""From a graph to an engine that runs it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.console import Console
from cnncli.engines.engine import Engine, EngineChoice
from cnncli.engines.keras import KerasEngine
from cnncli.engines.openvino import OpenVinoEngine, convert_graph, openvino_version
from cnncli.errors import EngineError

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
        console: told where OpenVINO cannot take the graph and Keras runs it instead.
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
    """The `.xml` of a trunk's OpenVINO graph, converted where that has not been done yet."""
    folder = graphs / f"{fingerprint[:32]}-{openvino_version()}"
    path = folder / "trunk.xml"
    if not path.exists():
        aside = graphs / f".{secrets.token_hex(8)}"
        aside.mkdir(parents=True)
        convert_graph(trunk, aside / path.name, pixels=True)
        try:
            aside.rename(folder)
        except OSError:  # another run was faster: its graph is the same
            if not path.exists():
                raise
    return path
