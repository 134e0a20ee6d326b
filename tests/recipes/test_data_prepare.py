"""`cnncli data prepare`: limits, the draw of validation, copies, and a folder that is complete or absent."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.catalogue.datasets import DATASETS
from cnncli.errors import DataError
from cnncli.storage.download import PublishedFile
from tests.dataset.known.making import arrays, idx_files, pixels_by_name, prepared


def counts(folder: Path) -> dict[str, int]:
    """Return the number of images of each split and class."""
    return dict(Counter(name.rpartition("/")[0] for name in pixels_by_name(folder)))


def test_a_limit_takes_some_images_of_each_class(tmp_path: Path) -> None:
    """A limit takes images of each class and split, drawn with the seed and each a part of those of a higher limit."""
    files = idx_files(arrays(100, 50))
    few = prepared("mnist", files, tmp_path / "few", limit=2)
    assert set(counts(few).values()) == {2}
    assert len(counts(few)) == 20
    more = prepared("mnist", files, tmp_path / "more", limit=4)
    other = prepared("mnist", files, tmp_path / "other", limit=2, seed=1)
    assert pixels_by_name(few).keys() < pixels_by_name(more).keys()
    assert pixels_by_name(few).keys() != pixels_by_name(other).keys()


@pytest.mark.parametrize("validation", [0.2, 20])
def test_validation_is_drawn_from_each_class_of_train(validation: float, tmp_path: Path) -> None:
    """A fraction or number of validation images is taken from train, the same of each class; test stays as it is."""
    files = idx_files(arrays(100, 20))
    found = counts(prepared("mnist", files, tmp_path / "out", validation=validation))
    sizes = {"train": 8, "validation": 2, "test": 2}
    assert found == {f"{split}/{label}": n for split, n in sizes.items() for label in range(10)}
    plain = pixels_by_name(prepared("mnist", files, tmp_path / "plain"))
    drawn = pixels_by_name(tmp_path / "out")
    assert {name.replace("validation", "train") for name in drawn} == plain.keys()
    other = pixels_by_name(prepared("mnist", files, tmp_path / "other", validation=validation, seed=1))
    assert drawn.keys() != other.keys()


def test_validation_cannot_take_all_of_train(tmp_path: Path) -> None:
    """As many validation images as there are training images are refused."""
    with pytest.raises(DataError) as error:
        prepared("mnist", idx_files(arrays(100, 20)), tmp_path / "out", validation=100)
    assert (error.value.code, error.value.facts["received"]) == ("data-prepare-too-few", 100)
    assert not (tmp_path / "out").exists()


def test_test_stays_as_published_and_train_loses_its_copies(tmp_path: Path) -> None:
    """Images of train whose pixels test contains are left out of train; copies within train stay in one split."""
    data = dict(arrays(100, 20))
    pixels, labels = data["train"]
    pixels[0] = data["test"][0][10]
    pixels[21] = pixels[31] = pixels[41] = pixels[1]
    found = pixels_by_name(
        prepared("mnist", idx_files({**data, "train": (pixels, labels)}), tmp_path / "out", validation=40)
    )
    assert "test/0/00010" in found
    assert not any(name.endswith("/00000") and not name.startswith("test") for name in found)
    splits = {
        name.split("/")[0]
        for name in found
        if name.split("/")[2] in ("00001", "00021", "00031", "00041") and "/1/" in name
    }
    assert len(splits - {"test"}) == 1
    np.testing.assert_array_equal(found["test/0/00010"], pixels[0])


class Server(http.server.ThreadingHTTPServer):
    """Serves files by name."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files


class Answer(http.server.BaseHTTPRequestHandler):
    """Handler of one request."""

    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Suppress messages on stderr."""

    def do_GET(self) -> None:
        """Send a file, or fail."""
        content = self.server.files.get(self.path.strip("/"))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """Return the files, by name, of a server that takes the place of MNIST's; its hashes are those of small files."""
    files = idx_files(arrays())
    with Server(files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        published = tuple(
            PublishedFile(name, f"http://127.0.0.1:{server.server_port}/{name}", hashlib.md5(data).hexdigest())
            for name, data in files.items()
        )
        monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], files=published, hashes={}))
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        yield files
        server.shutdown()


def test_without_a_source_the_files_are_downloaded_once(served: dict[str, bytes], tmp_path: Path) -> None:
    """Without a source, the files are downloaded to Keras's folder, and reused afterwards."""
    first = pixels_by_name(prepared("mnist", None, tmp_path / "first"))
    assert {path.name for path in (tmp_path / "keras" / "datasets" / "mnist").iterdir()} == served.keys()
    served.clear()
    assert pixels_by_name(prepared("mnist", None, tmp_path / "again")).keys() == first.keys()
    assert len(first) == 60


@pytest.mark.parametrize("content", [None, b"<html>Please log in</html>"])
def test_a_download_that_fails_is_one_line_with_its_address(
    content: bytes | None, served: dict[str, bytes], tmp_path: Path
) -> None:
    """A file that is missing, or not the published one, is an error with its URL and a remedy, and leaves no file."""
    name = "t10k-labels-idx1-ubyte.gz"
    served.pop(name)
    if content:
        served[name] = content
    with pytest.raises(DataError) as error:
        prepared("mnist", None, tmp_path / "out")
    assert error.value.codes == ("data-prepare-download-failed",)
    assert str(error.value.facts["url"]).endswith(name)
    assert len(str(error.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["keras"]
    assert len(list((tmp_path / "keras" / "datasets" / "mnist").iterdir())) == 3
