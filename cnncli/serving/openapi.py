"""Models of request bodies and answers for the description of the interface, /openapi.json."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class ClassProbability(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class ImagePrediction(BaseModel):
    """The prediction for an image, as in `cnncli predict --json`."""

    path: str
    predictions: list[ClassProbability]
    confidence: float | None = None
    unknown: bool | None = None
    reason: str | None = None
    maps: dict[str, list[list[float]]] | None = None


class ImageProblem(BaseModel):
    """Why an image cannot be used."""

    path: str
    code: str
    message: str


class Problem(BaseModel):
    """Why a request is refused; with unusable images, also the predictions for the others."""

    error: str
    code: str
    errors: list[ImageProblem] = []
    predictions: list[ImagePrediction] = []


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The request does not follow the interface.",
        401: "The token is missing or wrong.",
        403: "The request comes from a page of another site.",
        408: "The body arrived too slowly.",
        413: "The request or an image is too large.",
        415: "An image has a format that cannot be read.",
        422: "An image is damaged.",
        500: "The server failed.",
        503: "The server is busy; try again.",
    }.items()
}
BODY = {
    "required": True,
    "content": {
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
    },
}
