"""The HTTP interface of a run: predictions, the Open Inference Protocol, metrics, and the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from cnncli.errors import CnncliError, ImageError, Message, printable
from cnncli.explanation.class_activation import ClassActivation
from cnncli.images.decode import ImageSource, decode
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import Answer
from cnncli.serving.batching import BatchingPredictor, QueueFullError
from cnncli.serving.guard import Guard, busy
from cnncli.serving.inference_protocol import (
    EXTENSIONS,
    HEADER_LENGTH,
    VERSION,
    invalid,
    metadata,
    read_request,
    too_many_images,
    write_answer,
)
from cnncli.serving.local import SECURITY_HEADERS
from cnncli.serving.openapi import BODY, PROBLEMS, ImagePrediction
from cnncli.serving.pages import read_page
from cnncli.serving.refusals import Limits, Refused, status_of
from cnncli.serving.server_metrics import ServerMetrics
from cnncli.terminal.suggestions import did_you_mean
from cnncli.version import __version__

NamedImages = Sequence[tuple[str, ImageSource]]
_POLICY = (
    "default-src 'none'; img-src blob: data:; media-src blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class PredictionApi:
    """The interface of one run.

    Args:
        name: Name of the run.
        batching: Classifies images.
        find_maps: Returns the class activation of the run, or None if it has none. Called once, when it is needed.
        limits: Limits of a request.
        metrics: Where requests are counted.
    """

    def __init__(
        self,
        name: str,
        batching: BatchingPredictor,
        find_maps: Callable[[], ClassActivation | None],
        limits: Limits,
        metrics: ServerMetrics,
    ) -> None:
        self.name, self._batching, self._find_maps = name, batching, find_maps
        self._limits, self._metrics = limits, metrics
        self._explainer = ThreadPoolExecutor(1, "explain")

    def application(self, token: str | None, hosts: Sequence[str] | None) -> Guard:
        """Return the application with its guard; see `Guard`."""
        app = FastAPI(
            telemetry={"tracing": False, "metrics": False, "logs": False},
            title="cnncli",
            version=__version__,
            docs_url=None,  # its scripts come from elsewhere
            redoc_url=None,
            lifespan=self._lifespan,
        )
        responses: dict[int | str, dict[str, Any]] = {200: {"model": list[ImagePrediction]}, **PROBLEMS}
        app.add_api_route("/", self.page, response_class=HTMLResponse, include_in_schema=False)
        app.add_api_route(
            "/predict", self.predict, methods=["POST"], responses=responses, openapi_extra={"requestBody": BODY}
        )
        app.add_api_route("/run", self.run)
        app.add_api_route("/run/maps", self.maps)
        app.add_api_route("/health", self.health)
        app.add_api_route("/metrics", self.metrics, response_class=Response)
        app.add_api_route("/v2", self.server_metadata)
        app.add_api_route("/v2/health/live", self.live)
        app.add_api_route("/v2/health/ready", self.ready)
        open_paths = {
            "/": self.page,
            "/health": self.health,
            "/v2/health/live": self.live,
            "/v2/health/ready": self.ready,
        }
        for path, answer in open_paths.items():
            app.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)
        for model in ("/v2/models/{name}", f"/v2/models/{{name}}/versions/{VERSION}"):
            app.add_api_route(model, self.model_metadata)
            app.add_api_route(f"{model}/ready", self.model_ready)
            app.add_api_route(f"{model}/infer", self.infer, methods=["POST"], responses=PROBLEMS)
        guard = Guard(app, self._limits, self._metrics, token, hosts)
        app.add_exception_handler(Refused, lambda _, error: guard.refuse(_refusal(error)))
        app.add_exception_handler(HTTPException, lambda _, error: guard.refuse(_http_refusal(error)))
        app.add_exception_handler(RequestValidationError, lambda _, error: guard.refuse(_query_refusal(error)))
        app.add_exception_handler(CnncliError, lambda _, error: guard.refuse(_engine_refusal(error)))
        # Starlette raises the exception again after this answer, so that its traceback is in the log.
        app.add_exception_handler(Exception, lambda _, __: guard.refuse(_failure()))
        return guard

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        yield
        self._explainer.shutdown(cancel_futures=True)
        self._batching.close()

    async def page(self) -> HTMLResponse:
        """Return the page."""
        page, policy = read_page("prediction_page.html", _POLICY)
        return HTMLResponse(page, headers={**SECURITY_HEADERS, "Content-Security-Policy": policy})

    async def health(self) -> dict[str, str]:
        """Return that the server runs."""
        return {"status": "ok"}

    async def maps(self) -> dict[str, bool]:
        """Return whether the run has class activation maps; the first answer can take seconds."""
        async with self._time_limit("ask again later"):
            maps = await asyncio.get_running_loop().run_in_executor(self._explainer, lambda: self._maps)
        return {"has_maps": maps is not None}

    async def run(self) -> dict[str, Any]:
        """Return the facts of the run for the page."""
        spec = self._batching.predictor.spec
        return {
            "name": self.name,
            "classes": spec.classes,
            "is_multi_label": spec.is_multi_label,
            "width": spec.width,
            "height": spec.height,
            "fit": spec.fit,
            "max_bytes": self._limits.body_bytes,
            "version": __version__,
        }

    async def metrics(self) -> Response:
        """Return the numbers of the server for Prometheus."""
        self._metrics.waiting.set(self._batching.n_waiting)
        return Response(self._metrics.text(), media_type=self._metrics.content_type)

    async def predict(
        self,
        request: Request,
        top: Annotated[int | None, Query(ge=1, description="Maximum number of classes; default: 5")] = None,
        maps: Annotated[bool, Query(description="Whether to add class activation maps, if the run has them")] = False,
    ) -> Response:
        """Classify images: the body is an image file, or multipart with several."""
        _require_known(request.query_params, ("top", "maps"))
        images = await self._read_images(request)
        found, errors = [], []
        async with self._time_limit():
            for (name, source), result in zip(images, await self._classify(images), strict=True):
                if isinstance(result, ImageError):
                    errors.append(result)
                else:
                    prediction = Prediction.of(name, result, self._batching.predictor.spec, top)
                    shown = await self._class_maps(source, prediction.labels) if maps else {}
                    found.append({**prediction.to_dict(), **shown})
        if errors:
            return _refuse_images(errors, found)
        return Response(json.dumps(found), media_type="application/json")

    async def _classify(self, images: NamedImages) -> list[Answer | ImageError]:
        """Return the answer for each image, or why there is none."""
        try:
            futures = self._batching.submit(images)
        except QueueFullError:
            raise busy() from None
        results: list[Answer | ImageError] = []
        for result in await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True):
            if isinstance(result, ImageError):
                self._metrics.rejected.labels(result.code).inc()
            elif isinstance(result, BaseException):
                raise result
            else:
                self._metrics.images.labels("unknown" if result.unknown else "classes").inc()
            results.append(result)
        return results

    @asynccontextmanager
    async def _time_limit(self, remedy: str = "send fewer images at a time") -> AsyncIterator[None]:
        """Bound the time for computing all of an answer. Raises Refused when it is over."""
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                yield
        except TimeoutError:
            text = f"there was no answer within {self._limits.timeout_s:g} s (--timeout); {remedy}."
            raise Refused(503, Message("serve-timeout", text, expected=self._limits.timeout_s)) from None

    async def _class_maps(self, source: ImageSource, labels: Sequence[str]) -> dict[str, Any]:
        """Return the class activation maps of an image for some classes; nothing if the run has none."""
        return await asyncio.get_running_loop().run_in_executor(self._explainer, self._explain, source, labels)

    def _explain(self, source: ImageSource, labels: Sequence[str]) -> dict[str, Any]:
        if self._maps is None:
            return {}
        maps = self._maps.maps(decode(source, self._batching.pixels))
        classes = self._batching.predictor.spec.classes
        return {"maps": {label: maps[classes.index(label)].tolist() for label in labels}}

    @cached_property
    def _maps(self) -> ClassActivation | None:
        """The class activation; used by one thread only."""
        return self._find_maps()

    async def _read_images(self, request: Request) -> NamedImages:
        """Return the images of a request with their names."""
        if "content-encoding" in request.headers:
            raise invalid("compressed requests are not supported.")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return await self._read_multipart(request)
        return [("images[0]", await _read_body(request))]

    async def _read_multipart(self, request: Request) -> NamedImages:
        parser = MultiPartParser(
            request.headers, _parts_of(request), max_files=self._limits.images, max_fields=self._limits.images
        )
        parser.spool_max_size = self._limits.body_bytes  # nothing is written to disk
        try:
            form = await parser.parse()
        except UnicodeError:  # Starlette expects only some of the errors of Python's codecs
            raise invalid("the names in the multipart body cannot be decoded; send them in UTF-8.") from None
        except MultiPartException as error:
            if error.message.startswith("Too many files"):
                raise too_many_images(self._limits.images + 1, self._limits) from None
            raise invalid(f"the multipart body cannot be read ({printable(error.message)[:200]})") from None
        uploads = [one for _, one in form.multi_items() if not isinstance(one, str)]
        images = [(one.filename or f"images[{n}]", await one.read()) for n, one in enumerate(uploads)]
        await form.close()
        if not images:
            raise invalid("the multipart body has no file.")
        return images

    async def server_metadata(self) -> dict[str, Any]:
        """Return the metadata of the server."""
        return {"name": "cnncli", "version": __version__, "extensions": EXTENSIONS}

    async def live(self) -> dict[str, bool]:
        """Return that the server runs."""
        return {"live": True}

    async def ready(self) -> dict[str, bool]:
        """Return that the server can answer."""
        return {"ready": True}

    async def model_metadata(self, name: str) -> dict[str, Any]:
        """Return the inputs and outputs of the model."""
        self._require_model(name)
        return metadata(self.name, self._batching.predictor)

    async def model_ready(self, name: str) -> dict[str, Any]:
        """Return that the model can answer."""
        self._require_model(name)
        return {"name": self.name, "ready": True}

    async def infer(self, name: str, request: Request) -> Response:
        """Classify a tensor of encoded or decoded images."""
        self._require_model(name)
        if "content-encoding" in request.headers:
            raise invalid("compressed requests are not supported.")
        predictor, length = self._batching.predictor, request.headers.get(HEADER_LENGTH)
        found = read_request(await _read_body(request), length, self._limits, predictor.spec.pixels.channels)
        async with self._time_limit():
            results = await self._classify(found.images)
        answers = []
        for answer in results:
            if isinstance(answer, ImageError):
                return _refuse_images([answer], [])
            answers.append(answer)
        body, headers = write_answer(found, self.name, answers, predictor)
        return Response(body, headers=headers)

    def _require_model(self, name: str) -> None:
        if name != self.name:
            text = f"no model is named {printable(name)[:200]}; the server has {printable(self.name)}."
            raise Refused(404, Message("serve-model-unknown", text, received=name, expected=self.name))


async def _parts_of(request: Request) -> AsyncGenerator[bytes, None]:
    """Yield the parts of a body. Unlike Request.stream, it leaves a closed connection to the guard."""
    more = True
    while more:
        event = await request.receive()
        yield event.get("body", b"")
        more = event.get("more_body", False)


async def _read_body(request: Request) -> bytes:
    return b"".join([part async for part in _parts_of(request)])


def _refuse_images(errors: list[ImageError], predictions: list[dict[str, Any]]) -> JSONResponse:
    """Return the answer for a request with unusable images."""
    document = {
        "error": printable(str(errors[0])),
        "code": errors[0].code,
        "errors": [
            {"path": printable(one.path), "code": one.code, "message": printable(str(one.reason))} for one in errors
        ],
        "predictions": predictions,
    }
    status = status_of(errors)
    return JSONResponse(document, status, Refused(status, Message.of("")).headers)


def _failure() -> Refused:
    text = "the server failed to answer this request; its log has the reason."
    return Refused(500, Message("serve-failed", text))


def _refusal(error: Exception) -> Refused:
    return error if isinstance(error, Refused) else Refused(500, Message.of(str(error)))


def _http_refusal(error: Exception) -> Refused:
    if not isinstance(error, HTTPException):
        return _refusal(error)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        text = f"the address does not accept this method; expected {allowed}."
        return Refused(405, Message("serve-method", text, expected=allowed))
    if error.status_code == 404:
        return Refused(404, Message("serve-not-found", "there is no such address; GET /openapi.json lists all."))
    return Refused(error.status_code, Message("serve-request-invalid", f"the request is refused ({error.detail})."))


def _require_known(parameters: Iterable[str], known: Sequence[str]) -> None:
    """Raise Refused for a misspelled parameter, which would be ignored otherwise."""
    for name in parameters:
        if name not in known:
            hint = did_you_mean(name, known) or f"Parameters: {', '.join(known)}."
            raise invalid(f"{printable(name)}: there is no such parameter. {hint}")


def _query_refusal(error: Exception) -> Refused:
    details = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    return invalid(f"{details.get('loc', ('', ''))[-1]}: {details.get('msg', 'invalid')}.")


def _engine_refusal(error: Exception) -> Refused:
    return Refused(500, Message.of(error.problems[0] if isinstance(error, CnncliError) else str(error)))
