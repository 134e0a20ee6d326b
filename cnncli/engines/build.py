"""From a graph to an engine that runs it."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.console import Console
from cnncli.engines.engine import Engine, EngineChoice
from cnncli.engines.graphs import damage, seal, touch
from cnncli.engines.keras import KerasEngine
from cnncli.engines.openvino import TRUNK, OpenVinoEngine, conversion_versions, convert_graph
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
        aside = graphs / f".{secrets.token_hex(8)}"
        aside.mkdir(parents=True)
        try:
            convert_graph(trunk, aside / TRUNK, pixels=True)
            seal(aside)
            _take_place(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    touch(folder)
    return folder / TRUNK


def _take_place(aside: Path, folder: Path) -> None:
    """Rename; where another run was faster its graph is the same, and stays."""
    try:
        aside.rename(folder)
    except OSError:
        if damage(folder) is not None:
            raise
