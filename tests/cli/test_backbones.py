"""`cnncli backbones`, the list of available networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnncli.catalogue.networks import NETWORKS
from cnncli.cli.app import app

KEYS = {"name", "parameters", "size_mb", "depth", "top1", "top5", "input_size", "weights_here"}
KEYS |= {"multiply_adds", "published_error"}


def _listed(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["backbones", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_json_has_one_object_for_each_network() -> None:
    """--json prints one object with all keys per network, and nothing else, to stdout."""
    listed = json.loads(_listed("--json"))
    assert [row["name"] for row in listed] == list(NETWORKS)
    assert all(set(row) == KEYS for row in listed)
    vgg16 = next(row for row in listed if row["name"] == "VGG16")
    assert vgg16 == {
        "name": "VGG16",
        "parameters": 138_357_544,
        "size_mb": 528,
        "depth": 16,
        "top1": 71.3,
        "top5": 90.1,
        "input_size": 224,
        "weights_here": False,
        "multiply_adds": 15_470_264_320,
        "published_error": {
            "top5_error": 7.3,
            "source": "ILSVRC 2014 (arXiv 1409.1556): seven networks, many crops",
        },
    }


def test_table_has_a_line_for_each_network() -> None:
    """A line per network, in two tables; large numbers have thousands separators, and unknown values are dashes."""
    lines = _listed().splitlines()
    assert len(lines) == 3 + len(NETWORKS)
    assert next(line.split() for line in lines if line.startswith("ResNet20")) == [
        "ResNet20",
        "271,098",
        "0.0406",
        "G",
        "1",
        "39",
        "–",
        "32",
    ]
    convnext = next(line.split() for line in lines if line.startswith("ConvNeXtTiny"))
    assert convnext == ["ConvNeXtTiny", "28,589,128", "4.46", "G", "109", "–", "81.3", "–", "–", "224", "no"]


def test_weights_are_here_if_their_file_is_in_the_keras_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights are available if their file is in `$KERAS_HOME/models`, or in a package, as for EfficientNetLite0."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    before = _with_local_weights()
    (tmp_path / "models" / "nasnet_mobile_no_top.h5").write_bytes(b"weights")
    assert "EfficientNetLite0" in before
    assert _with_local_weights() - before == {"NASNetMobile"}


def _with_local_weights() -> set[str]:
    return {row["name"] for row in json.loads(_listed("--json")) if row["weights_here"]}


def test_listing_imports_neither_keras_nor_tensorflow() -> None:
    """Listing the networks imports neither Keras nor TensorFlow, so that it is fast."""
    code = (
        "import sys; from cnncli.cli.app import app; app(['backbones'], standalone_mode=False); "
        "print([m for m in ('keras', 'tensorflow', 'h5py') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_accuracies_and_winners_are_drawn(tmp_path: Path, suffix: str) -> None:
    """Rows 166, 195 and 196: --plot writes a figure, and the list is printed as without it."""
    path = tmp_path / f"networks.{suffix}"

    assert _listed("--plot", str(path)) == _listed()
    assert path.stat().st_size > 50_000
