"""Shards in object stores: in S3, for which moto's server on 127.0.0.1 stands, and the blocks that are fetched."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.config.reader import config_from_mapping
from cnncli.config.writer import dump_config
from cnncli.dataset.build import build_manifest
from cnncli.errors import DataError
from cnncli.shards import files
from cnncli.shards.files import open_shard
from cnncli.shards.shard import read_image
from tests.shards.writing import samples, write_folders, write_parquet, write_webdataset

fs = pytest.importorskip("pyarrow.fs")
CHOSEN = samples(40)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server that behaves like S3, or skip the test where moto is not installed."""
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip("needs moto_server (pip install 'moto[s3,server]') to stand in for S3")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "log.txt"
    with log.open("wb") as output:
        command = [program, "-H", "127.0.0.1", "-p", str(port)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        server = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return an S3 bucket with two tars of images of pets and, in a folder of its own, a Parquet file."""
    name = f"pets-{random.getrandbits(48):x}"
    variables = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    for variable, value in {**variables, "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(variable, value)
    files._filesystem.cache_clear()
    options = {"allow_bucket_creation": True, "allow_delayed_open": True}  # small files in one request
    store = fs.S3FileSystem(endpoint_override=endpoint, **options)
    store.create_dir(name)
    local = {
        "wds/pets-000000.tar": write_webdataset(tmp_path / "0.tar", CHOSEN[:25]),
        "wds/pets-000001.tar": write_webdataset(tmp_path / "1.tar", CHOSEN[25:]),
        "hf/data/0.parquet": write_parquet(tmp_path / "0.parquet", CHOSEN),
    }
    for key, path in local.items():
        with store.open_output_stream(f"{name}/{key}") as file:
            file.write(path.read_bytes())
    return name


@pytest.mark.parametrize("path", ["wds", "wds/pets-{000000..000001}.tar", "wds/*.tar", "hf"])
def test_a_bucket_gives_the_manifest_of_the_folder(bucket: str, path: str, tmp_path: Path) -> None:
    """Shards in S3 give the digests, labels and drawn splits of the same images in class folders."""
    found = build_manifest(DataConfig(path=Path(f"s3://{bucket}/{path}")), 0)
    expected = build_manifest(DataConfig(path=write_folders(tmp_path / "folders", CHOSEN)), 0)

    assert {(row.digest, row.labels, row.split) for row in found.rows} == {
        (row.digest, row.labels, row.split) for row in expected.rows
    }
    assert read_image(found.rows[0].path, 10**6) in {content for _, _, content in CHOSEN}


@pytest.mark.parametrize("path", ["none", "wds/none-{0..1}.tar"])
def test_what_is_not_in_the_bucket_is_an_error(bucket: str, path: str) -> None:
    """Shards that do not exist are mistakes of the user."""
    with pytest.raises(DataError):
        build_manifest(DataConfig(path=Path(f"s3://{bucket}/{path}")), 0)


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
    monkeypatch.setattr(files, "_filesystem", lambda _scheme: store)
    monkeypatch.setattr(files, "BLOCK_BYTES", 1_000)
    files._remote_key.cache_clear()
    files._blocks.forget()
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
