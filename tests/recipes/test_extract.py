"""Extracting features without training: in parts, without Keras, for every kind of config."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.errors import CacheError
from cnncli.features.parts import ImagePart
from cnncli.features.segments import map_rows, read_segment, subfolders
from cnncli.recipes.cache import merge_caches
from cnncli.recipes.extract import extract_features
from cnncli.recipes.train import train
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)
N_IMAGES = 2 * (6 + 3 + 3)
EXTRACT = """
import sys
from cnncli.cli import main
code = main(["extract", sys.argv[1], "--shard", sys.argv[2], "-q"])
print(code, *sorted(name for name in ("tensorflow", "keras", "scipy", "sklearn") if name in sys.modules))
"""
BACKBONES = [{"name": "ConvNet", "weights": "none", "options": {"filters": filters}} for filters in ([4, 8], [4])]
KINDS: dict[str, dict[str, Any]] = {
    "exact": {"training": {}},
    "gradient": {"training": {"epochs": 1}},
    "views": {"training": {}, "augmentation": {"views": 3, "horizontal_flip": True, "rotation_range": 20.0}},
    "mirrored": {"training": {}, "evaluation": {"tta": "flip"}},
    "two backbones": {"training": {}, "backbone": BACKBONES},
    "fine-tuning": {"mode": "fine-tuning", "training": {"epochs": 1, "unfreeze": 1}},
    "from scratch": {"mode": "from-scratch", "training": {"epochs": 1}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 6, 3, 3)


def features_in(cache: Path) -> dict[tuple[str, bytes], bytes]:
    """Return the bytes of all cached features by key and digest."""
    return {
        (key.name, bytes(digest)): row.tobytes()
        for key in subfolders(cache / "features")
        for segment in map(read_segment, subfolders(key))
        for digest, row in zip(segment.digests, map_rows(segment), strict=True)
    }


def extracted(config: Config, cache: Path, part: ImagePart | None, monkeypatch: pytest.MonkeyPatch) -> int:
    """Extract a part into a cache, and return the number of computed features."""
    monkeypatch.setenv("CNNCLI_CACHE", str(cache))
    return extract_features(config, CONSOLE, part).features.computed


@pytest.mark.parametrize("kind", KINDS)
def test_training_computes_nothing_after_merged_parts(
    data: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged parts contain the same bits as one extraction, and training and evaluation compute no features."""
    config = tiny_config(data, **KINDS[kind])
    parts = [tmp_path / "one", tmp_path / "two", tmp_path / "three"]
    for number, part in enumerate(parts, start=1):
        assert extracted(config, part, ImagePart(number, 3), monkeypatch) > 0
    merged = merge_caches(parts, tmp_path / "all")
    extracted(config, tmp_path / "alone", None, monkeypatch)
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "all"))
    run = train(config, tmp_path / "runs", CONSOLE)

    assert merged.refused == []
    assert run.features.computed == 0
    assert features_in(tmp_path / "all") == features_in(tmp_path / "alone")
    assert len(features_in(tmp_path / "all")) >= N_IMAGES


def test_a_second_extraction_computes_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached features are not computed again."""
    config = tiny_config(data, training={})

    assert extracted(config, tmp_path, ImagePart(1, 2), monkeypatch) > 0
    assert extracted(config, tmp_path, ImagePart(1, 2), monkeypatch) == 0
    assert extracted(config, tmp_path, None, monkeypatch) == len(features_in(tmp_path)) - _n_in_part(config)


def _n_in_part(config: Config) -> int:
    from cnncli.dataset.build import build_manifest

    return len({image.digest for image in ImagePart(1, 2).images(build_manifest(config.data, 0).rows)})


def test_a_known_network_needs_no_keras(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the network below a linear head is known, extraction imports neither TensorFlow nor scikit-learn."""
    config = tiny_config(data, training={})
    extracted(config, tmp_path / "cache", ImagePart(1, 2), monkeypatch)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    command = [sys.executable, "-c", EXTRACT, str(tmp_path / "config.yaml"), "2/2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "0"
    assert len(features_in(tmp_path / "cache")) == N_IMAGES


def test_features_that_do_not_fit_are_not_computed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that exceed the cap of the cache are an error before any of them is computed."""
    config = tiny_config(data, training={}, cache={"max_gb": 1e-7})
    with pytest.raises(CacheError) as caught:
        extracted(config, tmp_path, None, monkeypatch)

    assert caught.value.code == "cache-too-small"
    assert features_in(tmp_path) == {}
    assert np.isclose(caught.value.facts["expected"], 100)
