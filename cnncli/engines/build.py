"""Choose an engine, and build it from a graph."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.engines import int8
from cnncli.engines.engine import Engine, EngineChoice, EngineName
from cnncli.engines.keras import KerasEngine
from cnncli.engines.openvino import TRUNK, OpenVinoEngine, conversion_versions, convert_graph, has_bfloat16
from cnncli.errors import EngineError, Message
from cnncli.networks.backend import gpus
from cnncli.storage.atomic import touch
from cnncli.storage.cache_dir import not_writable, warn_of_damage
from cnncli.storage.checksums import CHECKSUMS, checksummed, damage
from cnncli.storage.locks import Lock, shared

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

GRAPHS_LOCK = "lock"
"""Name of the lock file in the directory of converted graphs."""


def choose_engine(engine: str, precision: str) -> EngineChoice:
    """Return the engine and precision to use.

    `auto` selects Keras if TensorFlow sees a GPU, otherwise OpenVINO, and bfloat16 if the hardware supports it. int8
    needs OpenVINO; the precision then is that of everything except the quantized trunk.

    Raises:
        EngineError: bfloat16 was requested for OpenVINO, but the processor does not support it, or int8 without NNCF.
    """
    if precision == "int8" and not int8.is_installed():
        text = "precision: int8 needs NNCF. Install it with: pip install 'cnncli[int8]'"
        raise EngineError(Message("engine-int8-not-installed", text, key="precision", received=precision))
    is_keras = engine == "keras" or (engine == "auto" and precision != "int8" and gpus())
    chosen: EngineName = "keras" if is_keras else "openvino"
    available = has_bfloat16() if chosen == "openvino" else bool(gpus())
    if precision == "bfloat16" and chosen == "openvino" and not available:
        text = "precision: received bfloat16, but this processor has neither AMX nor AVX-512-BF16."
        remedy = "Use `precision: auto` or `precision: float32`."
        raise EngineError(Message("engine-no-bfloat16", f"{text} {remedy}", key="precision", received=precision))
    is_bfloat16 = available if precision in ("auto", "int8") else precision == "bfloat16"
    return EngineChoice(chosen, "bfloat16" if is_bfloat16 else "float32")


def graphs_in_use(graphs: Path) -> Lock:
    """Lock the converted graphs in a directory, so that they are not deleted. Raises CacheError."""
    try:
        graphs.mkdir(parents=True, exist_ok=True)
        return shared(graphs / GRAPHS_LOCK)
    except OSError as error:
        raise not_writable(error, graphs) from error


def build_engine(
    trunk: keras.Model, fingerprint: str, choice: EngineChoice, graphs: Path
) -> tuple[Engine, Path | None]:
    """Build an engine for a trunk, a functional model from pixels to features.

    If OpenVINO cannot convert the graph, a warning is logged and Keras runs it in float32, regardless of the choice.

    Returns:
        The engine, and the `.xml` file of the converted graph, or None if Keras runs the trunk.
    """
    if choice.engine == "keras":
        return KerasEngine(trunk, choice.precision), None
    try:
        graph = converted_graph(trunk, fingerprint, graphs)
        return OpenVinoEngine(graph, choice.precision), graph
    except EngineError as error:
        log.warning(Message("engine-fallback", f"{error}. Keras is used instead, in float32.", reason=str(error)))
        return KerasEngine(trunk, "float32"), None


def known_engine(fingerprint: str, choice: EngineChoice, graphs: Path) -> tuple[Engine, Path] | None:
    """Return the OpenVINO engine of a trunk whose graph was converted before, and its `.xml` file, or None."""
    folder = _graph_folder(fingerprint, graphs)
    if choice.engine != "openvino" or damage(folder) is not None:
        return None
    touch(folder / CHECKSUMS)
    return OpenVinoEngine(folder / TRUNK, choice.precision, when_needed=True), folder / TRUNK


def _graph_folder(fingerprint: str, graphs: Path) -> Path:
    return graphs / f"{fingerprint[:32]}-{conversion_versions()}"


def converted_graph(trunk: keras.Model, fingerprint: str, graphs: Path) -> Path:
    """Return the `.xml` file of a trunk's OpenVINO graph; convert the trunk if the file is missing or damaged."""
    folder = _graph_folder(fingerprint, graphs)
    if (reason := damage(folder)) is not None:
        if folder.is_dir():
            warn_of_damage(folder, reason)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with checksummed(folder) as temporary:
                convert_graph(trunk, temporary / TRUNK, pixels=True)
        except OSError:  # another process has written the same graph in the meantime
            if damage(folder) is not None:
                raise
    touch(folder / CHECKSUMS)
    return folder / TRUNK
