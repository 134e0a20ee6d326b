"""`weights: imagenet` is tested against a local server that takes the place of Keras's."""

from __future__ import annotations

import hashlib
import http.server
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.errors import WeightsError
from cnncli.networks.architectures import NetworkSpec, has_local_weights
from cnncli.networks.architectures.keras_applications import build_for_imagenet
from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras
from cnncli.networks.weights.download import fetch, weights_folder
from cnncli.storage import download
from cnncli.storage.download import PublishedFile
from cnncli.terminal.console import Console
from tests.networks.filled import features, filled

MOBILENET = "mobilenet_2_5_224_tf_no_top.h5"


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` in the given manner, and counts requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.manner, self.asked = b"", "whole", 0
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Answer(http.server.BaseHTTPRequestHandler):
    """Handler of one request."""

    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Suppress messages on stderr."""

    def do_GET(self) -> None:
        """Send the whole file, or fail as the server is configured to."""
        server, content = self.server, self.server.content
        server.asked += 1
        if server.manner == "missing":
            self.send_error(404)
            return
        if server.manner == "dropped":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(200)
        if server.manner != "without length":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if server.manner in ("whole", "without length") else content[: len(content) // 2])
        if server.manner == "reset":
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Return a server that replaces Keras's for MobileNet and VGG16, with a weights folder of the test."""
    from keras.src.applications import mobilenet, vgg16

    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(mobilenet, "BASE_WEIGHT_PATH", server.url)
        monkeypatch.setattr(vgg16, "WEIGHTS_PATH_NO_TOP", f"{server.url}vgg16.h5")
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any]:
    """Return a MobileNet in the legacy format that Keras publishes, and features of its network."""
    plain = import_keras().applications.MobileNet(alpha=0.25, weights=None, include_top=False, input_shape=(32, 32, 3))
    path = tmp_path_factory.mktemp("published") / "x.h5"
    filled(plain).save(path)
    return path.read_bytes(), features(plain, 32)


def _backbone() -> Any:
    return build_backbone(BackboneConfig(name="MobileNet", options={"alpha": 0.25}), (32, 32, 3), seed=0)


def _file(server: Server, digest: str | None = None) -> PublishedFile:
    return PublishedFile("some.h5", f"{server.url}some.h5", digest)


def _refusal(get: Callable[[], object]) -> dict[str, object]:
    """Return the facts of the only problem of a download."""
    with pytest.raises(WeightsError) as error:
        get()
    assert error.value.codes == ("weights-download-failed",)
    assert len(str(error.value).splitlines()) == 1
    return dict(error.value.facts)


def _nothing_left() -> bool:
    folder = weights_folder()
    return not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize("manner", ["whole", pytest.param("without length", marks=pytest.mark.slow)])
def test_download_gives_the_features_of_plain_keras(manner: str, server: Server, published: tuple[bytes, Any]) -> None:
    """The file is downloaded once to Keras's folder, under Keras's name, and reused afterwards."""
    server.content, expected = published
    server.manner = manner
    np.testing.assert_allclose(features(_backbone(), 32), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features(_backbone(), 32), expected, rtol=1e-5, atol=1e-6)
    assert server.asked == 1
    assert [path.name for path in weights_folder().iterdir()] == [MOBILENET]


def test_progress_keeps_away_from_stdout(
    server: Server, published: tuple[bytes, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """A download prints nothing to stdout and, without a terminal, one line to stderr."""
    server.content = published[0]
    Console()
    _backbone()
    captured = capfd.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert f"{server.url}{MOBILENET}" in line


SLOW = [pytest.param(manner, marks=pytest.mark.slow) for manner in ("reset", "dropped")]


@pytest.mark.parametrize("manner", ["cut off", *SLOW])
def test_download_that_broke_off_leaves_nothing_and_works_the_next_time(
    manner: str, server: Server, published: tuple[bytes, Any]
) -> None:
    """An interrupted download leaves no file, since Keras has no hash by which to detect a partial MobileNet file."""
    server.content, expected = published
    server.manner = manner
    _refusal(_backbone)
    assert _nothing_left()
    server.manner = "whole"
    np.testing.assert_allclose(features(_backbone(), 32), expected, rtol=1e-5, atol=1e-6)


def test_file_that_the_server_does_not_have_is_an_error(server: Server) -> None:
    """The error has the status, the URL, and the path where the file belongs."""
    server.manner = "missing"
    assert _refusal(_backbone) == {
        "key": "backbone.weights",
        "url": f"{server.url}{MOBILENET}",
        "path": weights_folder() / MOBILENET,
        "reason": "HTTP Error 404: Not Found",
    }
    assert _nothing_left()


def test_refused_connection_is_an_error(server: Server) -> None:
    """A refused connection is an error with the URL and the path for the file."""
    server.shutdown()  # closing alone leaves a server that may still take one connection, and reset it
    server.server_close()
    assert _refusal(_backbone)["reason"] == "Connection refused"
    assert _nothing_left()


def test_missing_network_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that cannot be resolved, as without a network, is an error."""

    def no_network(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert _refusal(_backbone)["reason"] == "Temporary failure in name resolution"


def test_server_that_falls_silent_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops responding is an error after a timeout."""
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        file = PublishedFile("some.h5", f"http://127.0.0.1:{mute.getsockname()[1]}/some.h5", None)
        assert _refusal(lambda: fetch(file))["reason"] == "timed out"


def test_download_that_is_not_hdf5_is_not_kept(server: Server) -> None:
    """A web page served with status 200, such as a hotel's login page, is not kept, even if Keras has no hash."""
    server.content = b"<html>Please log in</html>"
    assert "not the one that was published" in str(_refusal(_backbone)["reason"])
    assert _nothing_left()


def test_other_hash_than_keras_expects_is_refused(server: Server) -> None:
    """A VGG16 file whose hash is not the one in Keras is refused."""
    server.content = b"other weights"
    facts = _refusal(lambda: build_backbone(BackboneConfig(name="VGG16"), (32, 32, 3), seed=0))
    assert facts["path"] == weights_folder() / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert _nothing_left()


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_hash_of_either_kind_is_checked(algorithm: str, server: Server) -> None:
    """Both MD5 and SHA-256 hashes, as Keras uses them, are checked."""
    server.content = b"weights"
    path = fetch(_file(server, hashlib.new(algorithm, b"weights").hexdigest()))
    assert path == weights_folder() / "some.h5"
    assert path.read_bytes() == b"weights"


def test_file_that_lies_there_damaged_is_fetched_again(server: Server) -> None:
    """An existing file with the wrong hash is downloaded again."""
    server.content = b"weights"
    weights_folder().mkdir(parents=True)
    (weights_folder() / "some.h5").write_bytes(b"weig")
    assert fetch(_file(server, hashlib.md5(b"weights").hexdigest())).read_bytes() == b"weights"


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-100], lambda data: data[:1_000] + b"\xff" * 4_000 + data[5_000:]]
)
def test_damaged_file_without_a_hash_is_downloaded_again(
    damage: Callable[[bytes], bytes], server: Server, published: tuple[bytes, Any]
) -> None:
    """A file without a published hash is replaced if HDF5 finds it truncated or its structure damaged."""
    server.content = published[0]
    weights_folder().mkdir(parents=True)
    (weights_folder() / "some.h5").write_bytes(damage(published[0]))
    assert fetch(_file(server)).read_bytes() == published[0]


def test_damaged_file_stays_where_it_is_when_there_is_no_network(server: Server) -> None:
    """Without a network, a damaged file is not deleted, since it may belong to the user."""
    server.server_close()
    weights_folder().mkdir(parents=True)
    (weights_folder() / "some.h5").write_bytes(b"weig")
    _refusal(lambda: fetch(_file(server, hashlib.md5(b"weights").hexdigest())))
    assert (weights_folder() / "some.h5").read_bytes() == b"weig"


def test_leftovers_of_killed_downloads_go_after_a_day(server: Server) -> None:
    """Partial downloads older than a day are deleted; newer ones may belong to a process that is still downloading."""
    server.content = b"weights"
    weights_folder().mkdir(parents=True)
    for name, age_s in ((".some.old.h5", 25 * 3600), (".some.new.h5", 60)):
        (weights_folder() / name).touch()
        os.utime(weights_folder() / name, (time.time() - age_s,) * 2)
    fetch(_file(server, hashlib.md5(b"weights").hexdigest()))
    assert sorted(path.name for path in weights_folder().iterdir()) == [".some.new.h5", "some.h5"]


def test_whole_file_in_a_folder_that_cannot_be_written_is_used(
    server: Server, published: tuple[bytes, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A complete file in a read-only KERAS_HOME is used without writing or downloading anything."""
    weights_folder().mkdir(parents=True)
    (weights_folder() / "some.h5").write_bytes(published[0])
    weights_folder().chmod(0o555)
    assert fetch(_file(server)) == weights_folder() / "some.h5"
    assert server.asked == 0
    weights_folder().chmod(0o755)


def test_folder_that_cannot_be_made_is_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A KERAS_HOME that is a file is an error; Keras itself would fall back to /tmp/.keras, which any user can fill."""
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    facts = _refusal(lambda: fetch(_file(server)))
    assert facts["path"] == tmp_path / "home" / "models" / "some.h5"
    assert facts["reason"] == "Not a directory"
    assert server.asked == 0


def test_folder_is_the_one_of_keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder is KERAS_HOME or, by default, `.keras` in the user's home."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "elsewhere"))
    assert weights_folder() == tmp_path / "elsewhere" / "models"
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / ".keras" / "models"


def test_weights_are_local_once_downloaded(server: Server, published: tuple[bytes, Any]) -> None:
    """After the download, `cnncli backbones` lists the weights as local."""
    server.content = published[0]
    assert not has_local_weights(NETWORKS["MobileNet"])
    fetch(PublishedFile(str(NETWORKS["MobileNet"].weights_file), server.url, None))
    assert has_local_weights(NETWORKS["MobileNet"])


@pytest.mark.slow
def test_efficientnet_gets_the_graph_of_its_imagenet_weights(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A weights file that descends from ImageNet weights gets the additional layer that Keras builds for those."""
    from keras.src.applications import efficientnet

    keras = import_keras()
    model, _ = build_for_imagenet(NetworkSpec(NETWORKS["EfficientNetB0"], (32, 32, 3)))
    filled(model)
    normalization = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.finalize_state()
    expected = features(model, 32)
    model.save(tmp_path / "x.h5")
    model.save_weights(tmp_path / "x.weights.h5")
    server.content = (tmp_path / "x.h5").read_bytes()
    monkeypatch.setattr(efficientnet, "BASE_WEIGHTS_PATH", server.url)
    monkeypatch.setitem(efficientnet.WEIGHTS_HASHES, "b0", ("", hashlib.md5(server.content).hexdigest()))
    plain = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))
    for weights in ("imagenet", str(tmp_path / "x.h5"), str(tmp_path / "x.weights.h5")):
        backbone = build_backbone(BackboneConfig(name="EfficientNetB0", weights=weights), (32, 32, 3), seed=0)
        assert len(backbone.layers) == len(plain.layers) + 1
        np.testing.assert_allclose(features(backbone, 32), expected, rtol=1e-5, atol=1e-6)
    plain.save_weights(tmp_path / "scratch.weights.h5")
    scratch = BackboneConfig(name="EfficientNetB0", weights=str(tmp_path / "scratch.weights.h5"))
    assert len(build_backbone(scratch, (32, 32, 3), seed=0).layers) == len(plain.layers)
