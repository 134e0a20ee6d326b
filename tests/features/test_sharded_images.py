"""Features of images in shards: those of the same files, bit for bit, also after the process was killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.config.data_settings import DataConfig
from cnncli.dataset.build import build_manifest
from cnncli.errors import DataError
from cnncli.features.extract import Counts, Extraction, FeatureSet, Trunk, extract
from cnncli.features.segments import read_segment, subfolders
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec
from cnncli.terminal.console import Console
from tests.features.test_extract import MeanEngine
from tests.shards.writing import samples, write_folders, write_parquet, write_webdataset

CHOSEN = samples(120)
PIXELS = PixelSpec(12, 12)
CHILD = """
import sys, time
from pathlib import Path
from cnncli.features import extract as module
from cnncli.features.store import FeatureStore
from cnncli.terminal.console import Console
from tests.features.test_extract import MeanEngine
from tests.features.test_sharded_images import features_of

class SlowEngine(MeanEngine):
    def run(self, inputs):
        time.sleep(0.1)
        return super().run(inputs)

module.SEGMENT_ROWS = 16
module.extract(features_of(Path(sys.argv[1]), SlowEngine()), FeatureStore(Path(sys.argv[2])), Console(quiet=True))
"""


def features_of(data: Path, engine: MeanEngine, views: int = 1) -> FeatureSet:
    """Return the features of all images of a dataset, in the order of their digests."""
    rows = build_manifest(DataConfig(path=data), 0).rows
    augmentation = AugmentationConfig(horizontal_flip=True, rotation_range=20.0)
    extraction = Extraction((Trunk(engine, "mean"),), PIXELS, augmentation)
    return FeatureSet(extraction, sorted(rows, key=lambda row: row.digest), views)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Return a folder of three shards, two tars and a Parquet file."""
    write_webdataset(tmp_path / "shards" / "0.tar", CHOSEN[:50])
    write_parquet(tmp_path / "shards" / "1.parquet", CHOSEN[50:90])
    write_webdataset(tmp_path / "shards" / "2.tar", CHOSEN[90:])
    return tmp_path / "shards"


def test_features_are_those_of_the_files(shards: Path, tmp_path: Path) -> None:
    """All views of images in shards give the same bytes as files in class folders, under the same keys."""
    folders = write_folders(tmp_path / "folders", CHOSEN)
    ours, theirs = features_of(shards, MeanEngine(), 3), features_of(folders, MeanEngine(), 3)
    first, _ = extract(ours, FeatureStore(tmp_path / "a"), Console(quiet=True))
    second, _ = extract(theirs, FeatureStore(tmp_path / "b"), Console(quiet=True))
    everything = np.arange(len(CHOSEN))

    assert [key.name for key in ours.keys] == [key.name for key in theirs.keys]
    for one, other in zip(first, second, strict=True):
        assert one.rows(everything)[0].tobytes() == other.rows(everything)[0].tobytes()


def test_a_killed_extraction_keeps_its_segments(shards: Path, tmp_path: Path) -> None:
    """After a kill, only images without a segment are computed, and the features equal those of one process."""
    cache = tmp_path / "cache"
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", CHILD, str(shards), str(cache)], cwd=root) as child:
        deadline = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < deadline:
            if sum(map(len, map(subfolders, subfolders(cache)))) >= 2:
                child.kill()
            time.sleep(0.01)
    kept = sum(len(read_segment(one).digests) for key in subfolders(cache) for one in subfolders(key))
    assert 16 <= kept < len(CHOSEN)

    engine = MeanEngine()
    features = features_of(shards, engine)
    (found,), counts = extract(features, FeatureStore(cache), Console(quiet=True))
    assert counts == Counts(len(CHOSEN) - kept, kept)
    assert engine.images == len(CHOSEN) - kept

    (whole,), _ = extract(features_of(shards, MeanEngine()), FeatureStore(tmp_path / "other"), Console(quiet=True))
    everything = np.arange(len(CHOSEN))
    assert found.rows(everything)[0].tobytes() == whole.rows(everything)[0].tobytes()


def test_a_changed_shard_is_noticed(shards: Path, tmp_path: Path) -> None:
    """An image whose bytes in the shard are not those of the manifest is an error that names it."""
    features = features_of(shards, MeanEngine())
    write_webdataset(shards / "0.tar", CHOSEN[1:51])

    with pytest.raises(DataError) as error:
        extract(features, FeatureStore(tmp_path / "cache"), Console(quiet=True))
    assert {one.code for one in error.value.problems} == {"image-not-found"}
    assert str(error.value.problems[0].facts["path"]).endswith("0.tar/cats/00000.jpg")


def test_a_shard_that_is_gone_is_one_error(shards: Path, tmp_path: Path) -> None:
    """If no image is left, there is one message instead of one for each."""
    features = features_of(shards, MeanEngine())
    for path in shards.iterdir():
        path.rename(path.with_suffix(".away"))

    with pytest.raises(DataError) as error:
        extract(features, FeatureStore(tmp_path / "cache"), Console(quiet=True))
    assert [one.code for one in error.value.problems] == ["image-all-missing"]
