"""Which engine and precision run the frozen trunk on this machine."""

from __future__ import annotations

from cnncli.engines.engine import EngineChoice, EngineName, Precision
from cnncli.engines.openvino import has_bfloat16
from cnncli.errors import EngineError, Message
from cnncli.networks.backend import gpus


def choose_engine(engine: str, precision: str) -> EngineChoice:
    """Decide what `auto` means here.

    Args:
        engine: auto (Keras where TensorFlow sees a GPU, else OpenVINO), keras, openvino.
        precision: auto (bfloat16 where the hardware computes in it), float32, bfloat16.

    Raises:
        EngineError: bfloat16 was asked of OpenVINO on a processor that does not have it.
    """
    chosen: EngineName = "keras" if engine == "keras" or (engine == "auto" and gpus()) else "openvino"
    available = has_bfloat16() if chosen == "openvino" else bool(gpus())
    if precision == "auto":
        return EngineChoice(chosen, "bfloat16" if available else "float32")
    decided: Precision = "bfloat16" if precision == "bfloat16" else "float32"
    if decided == "bfloat16" and chosen == "openvino" and not available:
        text = (
            "precision: bfloat16 was asked for, and this processor has neither AMX nor AVX-512-BF16. "
            "Use `precision: auto` or `precision: float32`."
        )
        raise EngineError(Message("engine-no-bfloat16", text, key="precision", received=precision))
    return EngineChoice(chosen, decided)
