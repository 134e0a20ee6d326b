"""The page on which a person confirms or corrects labels: a server on 127.0.0.1 that writes the table of corrections.

The address contains a random key, the name of the host is checked, and the page loads nothing from elsewhere. So only
the person who started the server can use it, and no page of another site can.
"""

from __future__ import annotations

import io
import json
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any

from PIL import Image

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.labels.corrections import Corrections
from cnncli.dataset.quality import preview_spec
from cnncli.dataset.records import ImageRecord
from cnncli.errors import DataError, ImageError
from cnncli.images.bands import preview
from cnncli.images.decode import decode
from cnncli.serving.local import HOST, LocalHandler
from cnncli.serving.pages import read_page

IMAGE_PX = 480
"""Longer side of the images on the page, in pixels."""
MAX_BODY_BYTES = 65_536
KEPT_IMAGES = 256
"""Number of encoded images that are kept in memory."""
_POLICY = "default-src 'none'; img-src 'self' data:; connect-src 'self'"


@dataclass(frozen=True)
class Card:
    """An image on the page.

    Attributes:
        section: Heading under which it is listed.
        detail: Why it is listed.
        suggested: Suggested labels; None if there is no suggestion.
        other: An image to show beside it.
    """

    row: ImageRecord
    section: str
    detail: str
    suggested: tuple[str, ...] | None = None
    other: ImageRecord | None = None


class LabelReviewServer(ThreadingHTTPServer):
    """Serves the page until it is closed or the person is done.

    Args:
        cards: The images to show.
        corrections: The decisions, which are saved after each one.
        classes: Names of the classes.
        data: Settings for decoding.
        facts: Further facts of the page: `title`, and `command`, which trains with the corrections.
        port: Port; 0 for any that is free.
    """

    daemon_threads = True

    def __init__(
        self,
        cards: Sequence[Card],
        corrections: Corrections,
        classes: Sequence[str],
        data: DataConfig,
        facts: Mapping[str, str],
        port: int = 0,
    ) -> None:
        self.key = secrets.token_urlsafe(16)
        self.corrections, self.data = corrections, data
        self.images = list({row.file: row for card in cards for row in (card.row, card.other) if row}.values())
        self._cards, self._classes, self._facts = cards, classes, facts
        self._lock = threading.Lock()
        self.encoded = lru_cache(KEPT_IMAGES)(self._encode)
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.server_port}/{self.key}/"

    @cached_property
    def _place(self) -> dict[str, int]:
        return {row.file: place for place, row in enumerate(self.images)}

    def state(self) -> dict[str, Any]:
        """Return what the page shows; the command is empty as long as it cannot be used."""
        return {
            **self._facts,
            "command": self._facts["command"] if self.corrections.is_label_source else "",
            "classes": list(self._classes),
            "multiLabel": self.corrections.is_multi_label,
            "table": str(self.corrections.path),
            "isSaved": self.corrections.path.is_file(),
            "images": [
                {"file": row.file, "split": row.split, "given": list(row.labels), **self._decided(row)}
                for row in self.images
            ],
            "cards": [
                {
                    "image": self._place[card.row.file],
                    "other": None if card.other is None else self._place[card.other.file],
                    "section": card.section,
                    "detail": card.detail,
                    "suggested": None if card.suggested is None else list(card.suggested),
                }
                for card in self._cards
            ],
        }

    def _decided(self, row: ImageRecord) -> dict[str, Any]:
        labels = self.corrections.labels.get(row.file)
        return {"decision": self.corrections.decision(row), "labels": list(row.labels if labels is None else labels)}

    def decide(self, place: int, labels: Sequence[str] | None, decision: str) -> dict[str, Any]:
        """Record a decision (`label`, `exclude` or `undo`) about an image, save all, and return the image's state.

        Raises:
            ValueError: There is no such image, label or decision.
        """
        row = self.images[place] if 0 <= place < len(self.images) else None
        chosen = tuple(sorted(set(labels or ())))
        is_complete = self.corrections.is_multi_label or len(chosen) == 1
        if row is None or (decision == "label" and not (is_complete and set(chosen) <= set(self._classes))):
            raise ValueError(f"no image {place}, or no such label")
        with self._lock:
            if decision == "undo":
                self.corrections.labels.pop(row.file, None)
            elif decision in ("label", "exclude"):
                self.corrections.labels[row.file] = chosen if decision == "label" else None
            else:
                raise ValueError(f"{decision}: no such decision")
            self.corrections.save()
            return self._decided(row)

    def _encode(self, place: int) -> bytes:
        """Return an image as JPEG. Raises ImageError."""
        row = self.images[place]
        pixels = decode(row.path, preview_spec(row, self.data, IMAGE_PX))
        file = io.BytesIO()
        Image.fromarray(preview(pixels)).save(file, "JPEG", quality=88)
        return file.getvalue()

    def close_soon(self) -> None:
        """Stop serving after the current request."""
        threading.Thread(target=self.shutdown, daemon=True).start()


class _Handler(LocalHandler):
    """Answers the requests of the page."""

    server: LabelReviewServer

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        """Send the page, its state, or an image."""
        path = self._path()
        if path == "":
            self._send_page()
        elif path == "state":
            self._send_json(self.server.state())
        elif path is not None and path.startswith("image/") and path[6:].isdecimal():
            self._send_image(int(path[6:]))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        """Record a decision, or end the review."""
        path = self._path()
        body = self._body()
        if path == "done":
            self._send_json(self.server.corrections.counts())
            self.server.close_soon()
        elif path == "decide" and body is not None:
            try:
                self._send_json(self.server.decide(body["image"], body.get("labels"), body["decision"]))
            except (KeyError, TypeError, ValueError) as error:
                self.send_error(HTTPStatus.BAD_REQUEST, explain=str(error))
            except (OSError, DataError) as error:  # the tables cannot be written, or were damaged in the meantime
                self.send_error(HTTPStatus.INSUFFICIENT_STORAGE, explain=str(error))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _path(self) -> str | None:
        """Return the path below the key, or None if the request is not the page's."""
        prefix = f"/{self.server.key}/"
        return self.path[len(prefix) :] if self.is_local and self.path.startswith(prefix) else None

    def _body(self) -> dict[str, Any] | None:
        """Return the JSON object of a request, or None."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            return None
        try:
            body = json.loads(self.rfile.read(int(length)) or "{}")
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _send_page(self) -> None:
        page, policy = read_page("label_review.html", _POLICY)
        self.send(page.encode(), "text/html; charset=utf-8", policy)

    def _send_image(self, place: int) -> None:
        try:
            self.send(self.server.encoded(place), "image/jpeg")
        except (ImageError, IndexError):
            self.send_error(HTTPStatus.NOT_FOUND)

    def _send_json(self, document: Mapping[str, Any]) -> None:
        self.send(json.dumps(document).encode(), "application/json")
