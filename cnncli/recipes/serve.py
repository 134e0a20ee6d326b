"""`cnncli serve`: answer over HTTP with a finished run, without TensorFlow."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cnncli.errors import ConfigError, Message, RunError, reason_of
from cnncli.images.limits import PixelLimit
from cnncli.inference.predictor import Predictor, load_predictor, with_coverage
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.runtime.memory import return_large_blocks
from cnncli.runtime.threads import one_blas_thread

if TYPE_CHECKING:
    from cnncli.explanation.class_activation import ClassActivation
    from cnncli.serving.batching import BatchingPredictor
    from cnncli.serving.refusals import Limits

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
LEAST_TOKEN = 16
"""Minimum length of a token."""

log = logging.getLogger(__name__)


def serve(
    run: RunFolder,
    limits: Limits,
    on_ready: Callable[[str], None],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    coverage: float | None = None,
) -> None:
    """Answer requests until Ctrl-C or another signal, whose exception is raised.

    Args:
        run: The run.
        limits: Limits of a request.
        on_ready: Called with the address as soon as requests are answered.
        host: Address of this machine at which to listen.
        port: Port; 0 for any that is free.
        token: Bearer token that requests must send; required unless the host is a loopback address.
        coverage: Fraction of the validation images that would be answered (0-1); default: that of the run.

    Raises:
        ConfigError: The packages of the server are missing, or the token is missing or too short.
        RunError: The run is unfinished or damaged, has no calibration for a coverage, or the port is in use.
    """
    is_local = _is_loopback(host)
    _check_token(host, token, is_local=is_local)
    require_installed()
    require_finished(run)
    return_large_blocks()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(_load, run, coverage)  # compiles while Python imports the server
        from cnncli.serving.api import PredictionApi
        from cnncli.serving.batching import BatchingPredictor
        from cnncli.serving.http_server import address_of, listen
        from cnncli.serving.http_server import serve as answer_requests
        from cnncli.serving.local import NAMES, as_host
        from cnncli.serving.server_metrics import ServerMetrics

        predictor = loading.result()
    metrics = ServerMetrics()
    max_pixels = min(predictor.spec.max_pixels, PixelLimit(limits.pixels, "--max-pixels"))
    pixels = replace(predictor.spec.pixels, max_pixels=max_pixels)
    batching = BatchingPredictor(predictor, pixels, limits.waiting_images, metrics.batches.observe)
    api = PredictionApi(run.path.name, batching, lambda: _class_activation(run, predictor), limits, metrics)
    with one_blas_thread(), listen(host, port) as listening, ThreadPoolExecutor(1) as pool:
        names = (as_host(host), as_host(listening.getsockname()[0]), *NAMES)
        app = api.application(token, names if is_local else None)
        on_ready(address_of(listening))
        pool.submit(add_single, run, batching)
        answer_requests(app, listening, limits)


def _load(run: RunFolder, coverage: float | None) -> Predictor:
    predictor = load_predictor(run.engine, run.model)
    return predictor if coverage is None else with_coverage(predictor, coverage, run)


def add_single(run: RunFolder, batching: BatchingPredictor) -> None:
    """Load the classifier for single images, or warn; Keras would need the model twice."""
    predictor = batching.predictor
    if "keras" in (predictor.spec.engine, predictor.spec.tail_engine):
        return
    try:
        single = load_predictor(run.engine, run.model, batch=1)
    except Exception as error:  # whatever the engine raises: batches are answered without it
        text = f"Single images are answered more slowly: their classifier cannot be loaded ({reason_of(error)})."
        log.warning(Message("serve-single-slow", text, received=type(error).__name__))
    else:
        batching.single = replace(single, reference=predictor.reference, calibration=predictor.calibration)


def _class_activation(run: RunFolder, predictor: Predictor) -> ClassActivation | None:
    from cnncli.explanation.class_activation import class_activation_of

    return class_activation_of(run, predictor)


def require_installed() -> None:
    """Raise ConfigError if the packages of the server are missing."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        text = f"`cnncli serve` needs {', '.join(missing)}. Install the packages with: pip install 'cnncli[serve]'"
        raise ConfigError(Message("serve-not-installed", text, received=missing))


def _check_token(host: str, token: str | None, *, is_local: bool) -> None:
    if token is None and not is_local:
        text = f"--host {host}: can be reached from other machines, so it needs a token. Set CNNCLI_TOKEN or --token."
        raise ConfigError(Message("serve-token-missing", text, key="host", received=host))
    if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        text = f"--token: expected at least {LEAST_TOKEN} printable ASCII characters, for example: openssl rand -hex 16"
        raise ConfigError(Message("serve-token-short", text, key="token", expected=LEAST_TOKEN))


def _is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address or name. Raises RunError if the name is not known."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        text = f"--host {host}: is not an address or name of this machine ({error.strerror})."
        raise RunError(Message("serve-host-unknown", text, key="host", received=host)) from error
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)
