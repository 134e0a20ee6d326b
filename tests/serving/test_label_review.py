"""The page of `cnncli data review --open`: it saves decisions, and refuses requests of other sites."""

from __future__ import annotations

import csv
import http.client
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.labels.corrections import Corrections
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.verification import add_facts
from cnncli.serving.label_review import MAX_BODY_BYTES, Card, LabelReviewServer
from cnncli.serving.local import HOST
from cnncli.terminal.console import Console
from tests.images.making import drawn_image

CLASSES = ("cats", "dogs")


class Client:
    """Sends requests to a server."""

    def __init__(self, server: LabelReviewServer) -> None:
        self.server = server

    def send(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, host: str | None = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Return status, content and headers of the answer."""
        connection = http.client.HTTPConnection(HOST, self.server.server_port, timeout=20)
        headers = {"Host": host or f"{HOST}:{self.server.server_port}"}
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection.request(method, f"/{self.server.key if key is None else key}/{path}", content, headers)
        answer = connection.getresponse()
        result = answer.status, answer.read(), answer.headers
        connection.close()
        return result

    def decide(self, image: int, decision: str, labels: list[str] | None = None) -> tuple[int, Any]:
        """Send a decision, and return the status and the document of the answer."""
        status, content, _ = self.send("POST", "decide", {"image": image, "decision": decision, "labels": labels})
        return status, json.loads(content) if status == 200 else None


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Serve three images with labels."""
    rows = []
    for number, label in enumerate(("cats", "dogs", "cats")):
        path = tmp_path / f"{number}.png"
        drawn_image(600, 900, seed=number).save(path)
        rows.append(ImageRecord(str(path), (label,), "train"))
    data = DataConfig(path=tmp_path)
    rows = add_facts(rows, data, Console(quiet=True))
    corrections = Corrections(tmp_path / "corrections.csv", rows, is_multi_label=False)
    cards = [Card(rows[1], "Labels", "score 0.9", ("cats",)), Card(rows[0], "Duplicate", "97 %", other=rows[2])]
    with LabelReviewServer(cards, corrections, CLASSES, data, {"title": "Review", "command": "cnncli train"}) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Client(server)
        server.shutdown()
        thread.join()


def _table(client: Client) -> dict[str, tuple[str, str]]:
    with client.server.corrections.path.open(newline="") as file:
        return {Path(row["path"]).name: (row["label"], row["decision"]) for row in csv.DictReader(file)}


def test_every_decision_is_in_the_table_at_once(client: Client) -> None:
    """Labels that are confirmed, corrected, excluded and undone are saved with each answer."""
    state = json.loads(client.send("GET", "state")[1])
    first, second, third = (Path(image["file"]).name for image in state["images"])

    assert client.decide(0, "label", ["cats"]) == (200, {"decision": "corrected", "labels": ["cats"]})
    assert client.decide(1, "label", ["cats"]) == (200, {"decision": "confirmed", "labels": ["cats"]})
    assert client.decide(2, "exclude") == (200, {"decision": "excluded", "labels": ["cats"]})
    assert _table(client) == {first: ("cats", "corrected"), second: ("cats", "confirmed")}
    assert client.decide(2, "undo")[1]["decision"] is None
    assert _table(client)[third] == ("cats", "")


def test_the_state_lists_cards_and_images(client: Client) -> None:
    """The page learns which images are shown, why, and what is suggested."""
    state = json.loads(client.send("GET", "state")[1])

    assert [card["section"] for card in state["cards"]] == ["Labels", "Duplicate"]
    assert state["cards"][0]["suggested"] == ["cats"]
    assert state["images"][state["cards"][1]["other"]]["given"] == ["cats"]
    assert state["table"] == str(client.server.corrections.path)


def test_images_are_reduced(client: Client) -> None:
    """An image is sent as a JPEG with its aspect ratio."""
    status, content, headers = client.send("GET", "image/0")

    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (480, 320)


def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    """The page contains no address, and its policy allows only its own scripts and images."""
    status, content, headers = client.send("GET", "")

    assert status == 200
    assert b"http" not in content
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "state"), ("GET", "image/0"), ("POST", "decide"), ("POST", "done")]
)
@pytest.mark.parametrize("other", [{"key": "guess"}, {"key": ""}, {"host": "attacker.example"}])
def test_others_are_not_answered(client: Client, method: str, path: str, other: dict[str, str]) -> None:
    """Without the key, or under another name of the host, every request is refused and nothing is written."""
    body = {"image": 0, "decision": "exclude"} if method == "POST" else None

    assert client.send(method, path, body, **other)[0] == 404
    assert not client.server.corrections.path.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"image": 9, "decision": "exclude"},
        {"image": -1, "decision": "exclude"},
        {"image": 0, "decision": "label", "labels": ["birds"]},
        {"image": 0, "decision": "label", "labels": []},
        {"image": 0, "decision": "label", "labels": ["cats", "dogs"]},
        {"image": 0, "decision": "delete"},
        {"image": "0", "decision": "exclude"},
        {"decision": "exclude"},
        {},
    ],
    ids=str,
)
def test_invalid_decisions_are_refused(client: Client, body: dict[str, Any]) -> None:
    """A decision about no image, or with no such label, is refused and nothing is written."""
    assert client.send("POST", "decide", body)[0] == 400
    assert not client.server.corrections.path.exists()


@pytest.mark.parametrize("body", [b"no JSON", b"[1]", b" " * (MAX_BODY_BYTES + 1)], ids=["text", "list", "large"])
def test_other_bodies_are_refused(client: Client, body: bytes) -> None:
    """A request whose body is not a small JSON object is refused."""
    assert client.send("POST", "decide", body)[0] in (400, 404)


@pytest.mark.parametrize("path", ["image/9", "image/-1", "image/x", "other", "../state"])
def test_what_does_not_exist_is_not_found(client: Client, path: str) -> None:
    """Unknown paths are not found."""
    assert client.send("GET", path)[0] == 404


def test_done_ends_the_server(client: Client) -> None:
    """After `done`, the server stops, and its answer counts the decisions."""
    client.decide(0, "exclude")
    status, content, _ = client.send("POST", "done", {})

    assert (status, json.loads(content)) == (200, {"confirmed": 0, "corrected": 0, "excluded": 1})


def test_all_images_can_be_left_out_and_taken_back(client: Client) -> None:
    """After the last image is left out, decisions are still saved; training is suggested only if images are left."""

    def ends() -> tuple[bool, str]:
        state = json.loads(client.send("GET", "state")[1])
        return state["isSaved"], state["command"]

    assert ends() == (False, "")
    assert [client.decide(place, "exclude")[0] for place in (0, 1)] == [200, 200]
    assert ends() == (True, "cnncli train")
    assert client.decide(2, "exclude")[0] == 200
    assert (_table(client), ends()) == ({}, (True, ""))
    assert client.decide(1, "undo") == (200, {"decision": None, "labels": ["cats"]})
    assert (len(_table(client)), ends()) == (1, (True, "cnncli train"))
