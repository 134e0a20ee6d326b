"""Shards in object stores, for which servers on 127.0.0.1 stand, and the blocks that are fetched."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.config.reader import config_from_mapping
from cnncli.config.writer import dump_config
from cnncli.dataset.build import build_manifest
from cnncli.errors import DataError
from cnncli.shards import files, object_stores
from cnncli.shards.files import open_shard
from cnncli.shards.listing import find_shards
from cnncli.shards.shard import read_image
from tests.shards.writing import samples, write_folders, write_parquet, write_webdataset
from tests.support.hub import serve_dataset

fs = pytest.importorskip("pyarrow.fs")
CHOSEN = samples(40)


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server that behaves like S3, or skip the test where moto is not installed."""
    options = ["-H", "127.0.0.1", "-p"]
    yield from serve("moto_server", options, "pip install 'moto[s3,server]'", tmp_path_factory.mktemp("s3"))


@pytest.fixture(scope="module")
def google_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server that behaves like Google Cloud Storage, or skip the test where there is none."""
    options = ["-host", "127.0.0.1", "-scheme", "http", "-backend", "memory", "-port"]
    where = "github.com/fsouza/fake-gcs-server"
    yield from serve("fake-gcs-server", options, where, tmp_path_factory.mktemp("gs"))


def serve(program: str, options: Sequence[str], where: str, folder: Path) -> Iterator[str]:
    """Run a server, whose last option is its port, and yield its address."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program} ({where})")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with (folder / "log.txt").open("wb") as output:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [found, *options, str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def write_shards(root: Path) -> Path:
    """Write two tars of images of pets and, in a folder of its own, a Parquet file with the same images."""
    write_webdataset(root / "wds/pets-000000.tar", CHOSEN[:25])
    write_webdataset(root / "wds/pets-000001.tar", CHOSEN[25:])
    write_parquet(root / "hf/data/0.parquet", CHOSEN)
    return root


def fill_bucket(store: Any, name: str, root: Path) -> None:
    """Copy the files of a folder into a new bucket."""
    store.create_dir(name)
    for path in filter(Path.is_file, root.rglob("*")):
        with store.open_output_stream(f"{name}/{path.relative_to(root).as_posix()}") as file:
            file.write(path.read_bytes())


@pytest.fixture(params=["s3", "gs", "hf"])
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a folder in each object store that has the shards of `write_shards`."""
    name = f"pets-{random.getrandbits(48):x}"
    shards = write_shards(tmp_path / "shards")
    object_stores._filesystem.cache_clear()
    if request.param == "s3":
        endpoint = f"http://{request.getfixturevalue('s3_server')}"
        variables = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        for variable, value in {**variables, "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true"}.items():
            monkeypatch.setenv(variable, value)
        options = {"allow_bucket_creation": True, "allow_delayed_open": True}  # small files in one request
        fill_bucket(fs.S3FileSystem(endpoint_override=endpoint, **options), name, shards)
        yield f"s3://{name}"
    elif request.param == "gs":
        address = request.getfixturevalue("google_server")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        google = {"anonymous": True, "scheme": "http", "project_id": "pets"}
        fill_bucket(fs.GcsFileSystem(endpoint_override=address, **google), name, shards)
        yield f"gs://{name}"
    else:
        pytest.importorskip("huggingface_hub")
        with serve_dataset(f"zoo/{name}", shards) as (endpoint, _):
            monkeypatch.setenv("HF_ENDPOINT", endpoint)
            yield f"hf://datasets/zoo/{name}"
    object_stores._filesystem.cache_clear()


@pytest.mark.parametrize("path", ["wds", "wds/pets-{000000..000001}.tar", "wds/*.tar", "hf"])
def test_a_store_gives_the_manifest_of_the_folder(root: str, path: str, tmp_path: Path) -> None:
    """Shards in an object store give the digests, labels and drawn splits of the same images in class folders."""
    found = build_manifest(DataConfig(path=Path(f"{root}/{path}")), 0)
    expected = build_manifest(DataConfig(path=write_folders(tmp_path / "folders", CHOSEN)), 0)

    assert {(row.digest, row.labels, row.split) for row in found.rows} == {
        (row.digest, row.labels, row.split) for row in expected.rows
    }
    assert read_image(found.rows[0].path, 10**6) in {content for _, _, content in CHOSEN}


@pytest.mark.parametrize("path", ["none", "none/*.tar", "wds/none-{0..1}.tar", "wds/pets-{000000..000003}.tar"])
def test_what_is_not_in_the_store_is_an_error(root: str, path: str) -> None:
    """Shards that do not exist are mistakes of the user."""
    with pytest.raises(DataError) as error:
        build_manifest(DataConfig(path=Path(f"{root}/{path}")), 0)
    assert [one.code for one in error.value.problems] == ["data-shards-missing"]


def test_hugging_face_learns_nothing_but_the_files_that_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No request but those for the dataset, and none says what else is installed."""
    pytest.importorskip("huggingface_hub")
    code = "import sys; from cnncli.shards.listing import find_shards; print(find_shards(sys.argv[1]))"
    with serve_dataset("zoo/pets", write_shards(tmp_path)) as (endpoint, requests):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        url = "hf://datasets/zoo/pets/wds"
        found = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)

    assert "pets-000001.tar" in found.stdout
    assert all("/datasets/zoo/pets" in path for path, _ in requests)
    assert not any("tensorflow" in agent or "torch" in agent for _, agent in requests)


def test_a_store_that_cannot_be_reached_is_not_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message gives the reason of the connection instead of saying that there are no shards."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    object_stores._filesystem.cache_clear()

    with pytest.raises(OSError, match="pets"):
        find_shards(Path("s3://pets/*.tar"))
    object_stores._filesystem.cache_clear()


@pytest.mark.parametrize("url", ["s3://bucket/train-{00..99}.tar", "gs://bucket/folder", "hf://datasets/a/b/data"])
def test_a_config_keeps_the_url(url: str) -> None:
    """A URL is neither made absolute nor looked up, and is written as it was."""
    config = config_from_mapping({"data": {"path": url}}, environment={})

    assert f"path: {url}\n" in dump_config(config)


class Counted:
    """A file in memory that counts the bytes that are fetched, as an object store would charge them."""

    def __init__(self, content: bytes) -> None:
        self.content, self.requests = content, list[tuple[int, int]]()

    def info(self, _path: str) -> dict[str, Any]:
        """Return the size."""
        return {"size": len(self.content), "type": "file", "etag": "1"}

    def cat_file(self, _path: str, start: int, end: int, **_options: Any) -> bytes:
        """Return a part."""
        self.requests.append((start, end))
        return self.content[start:end]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Return a remote file of 100 blocks of 1,000 bytes."""
    store = Counted(random.Random(1).randbytes(99_500))
    monkeypatch.setattr(object_stores, "_filesystem", lambda _scheme: store)
    monkeypatch.setattr(files, "BLOCK_BYTES", 1_000)
    files.forget_remote()
    return store


def test_a_file_that_is_read_in_order_is_fetched_once(counted: Counted) -> None:
    """Reading from start to end fetches every block once, and keeps only the last ones."""
    with open_shard("s3:/bucket/a.tar") as file:
        assert b"".join(iter(lambda: file.read(777), b"")) == counted.content

    assert sorted(counted.requests) == [(k * 1_000, min(99_500, (k + 1) * 1_000)) for k in range(100)]
    assert len(files._blocks._kept) <= files.MAX_BLOCKS


def test_reads_out_of_order_fetch_no_blocks(counted: Counted) -> None:
    """An image that is read on its own costs little more than its bytes."""
    with open_shard("s3:/bucket/a.tar") as file:
        file.seek(50_100)
        assert file.read(20) == counted.content[50_100:50_120]

    assert len(counted.requests) == 1
