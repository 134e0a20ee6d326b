"""The logits of a run are kept by split, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnncli.errors import RunError
from cnncli.evaluation.outputs import Outputs, load_outputs, save_outputs


def outputs(n: int, sign: int = 1) -> Outputs:
    """Return the outputs for n images."""
    return Outputs(sign * np.arange(2 * n, dtype=np.float32).reshape(n, 2), sign * np.linspace(0, 1, n))


def test_the_outputs_for_each_split_are_kept(tmp_path: Path) -> None:
    """A split that is evaluated again replaces only its own outputs."""
    path = tmp_path / "outputs.npz"
    save_outputs(path, {"test": outputs(3)})
    save_outputs(path, {"validation": outputs(2)})
    save_outputs(path, {"test": outputs(3, -1)})

    for split, n, sign in (("test", 3, -1), ("validation", 2, 1)):
        found = load_outputs(path, split, n, 2)
        assert found is not None
        np.testing.assert_array_equal(found.logits, outputs(n, sign).logits)
        np.testing.assert_array_equal(found.distances, outputs(n, sign).distances)
    assert load_outputs(path, "train", 5, 2) is None
    assert load_outputs(tmp_path / "absent.npz", "test", 3, 2) is None


def test_outputs_for_other_images_are_refused(tmp_path: Path) -> None:
    """A file with another number of images, or without arrays, is reported as damaged."""
    path = tmp_path / "outputs.npz"
    save_outputs(path, {"test": outputs(3)})
    with pytest.raises(RunError) as caught:
        load_outputs(path, "test", 4, 2)
    assert caught.value.code == "run-file-damaged"

    path.write_bytes(b"no archive")
    with pytest.raises(RunError) as caught:
        load_outputs(path, "test", 3, 2)
    assert caught.value.code == "run-file-damaged"


def test_batches_are_joined_in_their_order() -> None:
    """Outputs for several batches become those for all images; without a reference, there are no distances."""
    joined = Outputs.concatenate([outputs(2), outputs(3)])

    assert joined.logits.shape == (5, 2)
    assert joined.distances is not None
    np.testing.assert_array_equal(joined.distances[2:], outputs(3).distances)
    assert Outputs.concatenate([Outputs(outputs(2).logits)]).distances is None
