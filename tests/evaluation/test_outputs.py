"""The logits of a run are kept by split, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnncli.errors import RunError
from cnncli.evaluation.outputs import load_outputs, save_outputs


def test_the_logits_of_each_split_are_kept(tmp_path: Path) -> None:
    """A split that is evaluated again replaces only its own logits."""
    path, logits = tmp_path / "outputs.npz", np.arange(6, dtype=np.float32).reshape(3, 2)
    save_outputs(path, "test", logits)
    save_outputs(path, "validation", logits[:2])
    save_outputs(path, "test", -logits)

    np.testing.assert_array_equal(load_outputs(path, "test", 3, 2), -logits)
    np.testing.assert_array_equal(load_outputs(path, "validation", 2, 2), logits[:2])
    assert load_outputs(path, "train", 5, 2) is None
    assert load_outputs(tmp_path / "absent.npz", "test", 3, 2) is None


def test_logits_of_other_images_are_refused(tmp_path: Path) -> None:
    """A file with another number of images, or without arrays, is reported as damaged."""
    path = tmp_path / "outputs.npz"
    save_outputs(path, "test", np.zeros((3, 2)))
    with pytest.raises(RunError) as caught:
        load_outputs(path, "test", 4, 2)
    assert caught.value.code == "run-file-damaged"

    path.write_bytes(b"no archive")
    with pytest.raises(RunError) as caught:
        load_outputs(path, "test", 3, 2)
    assert caught.value.code == "run-file-damaged"
