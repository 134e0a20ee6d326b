"""Limits of the server, and the refusal of a request as an answer with a status and a message."""

from __future__ import annotations

from dataclasses import dataclass

from cnncli.errors import ImageError, Message

RETRY_S = 1
"""Seconds after which a request that met a full queue is worth another try."""
STATUS_OF_IMAGE = {
    "image-unknown-format": 415,
    "image-reader-not-installed": 415,
    "image-raw": 415,
    "image-mode": 415,
    "image-compression": 415,
    "image-without-pixels": 415,
    "image-too-many-bytes": 413,
    "image-too-many-pixels": 413,
    "image-too-costly": 413,
    "image-out-of-memory": 503,
}
"""HTTP status by the code of an image error; all others are 422."""


@dataclass(frozen=True)
class Limits:
    """Limits of a request, and of all requests together.

    Attributes:
        body_bytes: Size of a request.
        images: Number of images in a request.
        pixels: Number of pixels of an image.
        timeout_s: Seconds for receiving the body of a request, and again for computing its answer.
        json_bytes: Size of JSON, which takes several times as much memory.
        buffered_bytes: Size of all requests that are being answered.
        waiting_images: Number of images of all requests that are being answered.
        connections: Number of connections.
        header_s: Seconds for receiving the headers of a request.
    """

    body_bytes: int = 32_000_000
    images: int = 64
    pixels: int = 50_000_000
    timeout_s: float = 30.0
    json_bytes: int = 8_000_000
    buffered_bytes: int = 256_000_000
    waiting_images: int = 256
    connections: int = 400
    header_s: float = 10.0


class Refused(Exception):  # noqa: N818 - not an error of the server
    """A request that is not answered.

    Args:
        status: HTTP status.
        message: The reason.
    """

    def __init__(self, status: int, message: Message) -> None:
        super().__init__(message)
        self.status, self.message = status, message

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        allowed = str(self.message.facts.get("expected", ""))
        named = {
            401: {"WWW-Authenticate": "Bearer"},
            405: {"Allow": allowed},
            503: {"Retry-After": str(RETRY_S)},
        }
        return named.get(self.status, {})


def status_of(errors: list[ImageError]) -> int:
    """Return the HTTP status for unusable images: that of all of them, or 422 if they differ."""
    found = {STATUS_OF_IMAGE.get(error.code, 422) for error in errors}
    return found.pop() if len(found) == 1 else 422
