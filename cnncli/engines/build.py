"""From a graph to an engine that runs it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.engines.engine import Engine, EngineChoice
from cnncli.engines.keras import KerasEngine
from cnncli.engines.openvino import TRUNK, OpenVinoEngine, conversion_versions, convert_graph
from cnncli.errors import CacheError, EngineError, Message, printable
from cnncli.storage.atomic import touch
from cnncli.storage.checksums import CHECKSUMS, checksummed, damage
from cnncli.storage.locks import Lock, shared
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    import keras

GRAPHS_LOCK = "lock"
"""Name of the lock file in the directory of converted graphs."""


def graphs_in_use(graphs: Path) -> Lock:
    """Keep the converted graphs in a directory from being deleted until the lock is released.

    Raises:
        CacheError: The directory cannot be written.
    """
    try:
        graphs.mkdir(parents=True, exist_ok=True)
        return shared(graphs / GRAPHS_LOCK)
    except OSError as error:
        path, reason = error.filename or graphs, error.strerror or str(error)
        text = f"{printable(path)}: {reason}. Set CNNCLI_CACHE to another folder."
        raise CacheError(Message("cache-not-writable", text, path=path, reason=reason)) from error


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
