"""Extracting missing features, counting them, and filling requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.augmentation.views import render_view
from cnncli.dataset.build import build_manifest
from cnncli.dataset.records import ImageRecord
from cnncli.engines.engine import EngineChoice
from cnncli.errors import DataError
from cnncli.features.extract import Counts, Extraction, FeatureSet, Trunk, extract, require_cached
from cnncli.features.listing import list_keys
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec, decode
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

PIXELS = PixelSpec(32, 32, "rgb", "stretch", 10**6)
FLIPS = AugmentationConfig(rotation_range=30.0, horizontal_flip=True)


class MeanEngine:
    """A fake engine that computes the mean color and counts images and padding."""

    choice = EngineChoice("keras", "float32")
    identity = {"engine": "mean"}  # noqa: RUF012
    batch, streams = 8, 2

    def __init__(self) -> None:
        self.images = self.padding = 0

    def run(self, inputs: Any) -> list[np.ndarray]:
        """Return one row of three means per image."""
        self.images += len(inputs[0])
        self.padding += -len(inputs[0]) % self.batch
        return [inputs[0].mean(axis=(1, 2)).astype(np.float32)]


class LeftEngine(MeanEngine):
    """A fake engine that computes the mean color of the left half."""

    def run(self, inputs: Any) -> list[np.ndarray]:
        """Return one row of three means per image."""
        return super().run([inputs[0][:, :, : inputs[0].shape[2] // 2]])


@pytest.fixture
def rows(tmp_path: Path) -> tuple[ImageRecord, ...]:
    """Return the records of 24 training images."""
    return tuple(build_manifest(tiny_config(draw_dataset(tmp_path / "data")).data, 0).split("train"))


@pytest.fixture
def console() -> Console:
    """Return a quiet console."""
    return Console(quiet=True)


def test_cached_features_are_not_computed_again(
    rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console
) -> None:
    """A second extraction computes only the features of images that are not cached yet."""
    engine, store = MeanEngine(), FeatureStore(tmp_path / "store")
    extraction = Extraction((Trunk(engine, "mean"),), PIXELS)

    assert extract(FeatureSet(extraction, rows[:14]), store, console)[1] == Counts(14, 0)
    assert extract(FeatureSet(extraction, rows[:14]), store, console)[1] == Counts(0, 14)
    assert extract(FeatureSet(extraction, rows), store, console)[1] == Counts(10, 14)
    assert engine.images == 24


def test_every_view_is_rendered_from_the_decoded_image(
    rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console
) -> None:
    """Features are computed from view 0, the image itself, and from the views that `render_view` returns."""
    extraction = Extraction((Trunk(MeanEngine(), "mean"),), PIXELS, FLIPS)
    views, counts = extract(FeatureSet(extraction, rows, 3), FeatureStore(tmp_path / "store"), console)

    assert counts == Counts(72, 0)
    for number, row in enumerate(rows):
        for view, stored in enumerate(views):
            pixels = render_view(decode(row.path, PIXELS), FLIPS, row.digest, view)
            assert (stored.rows(np.array([number]))[0][0] == pixels.mean(axis=(0, 1)).astype(np.float32)).all()


def test_more_views_reuse_cached_views(rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console) -> None:
    """With more views, cached features of fewer views are reused; view 0 is shared with runs without augmentation."""
    store = FeatureStore(tmp_path / "store")
    extract(FeatureSet(Extraction((Trunk(MeanEngine(), "mean"),), PIXELS), rows), store, console)

    assert extract(FeatureSet(Extraction((Trunk(MeanEngine(), "mean"),), PIXELS, FLIPS), rows, 2), store, console)[
        1
    ] == Counts(24, 24)
    assert extract(FeatureSet(Extraction((Trunk(MeanEngine(), "mean"),), PIXELS, FLIPS), rows, 3), store, console)[
        1
    ] == Counts(24, 48)


def test_an_interrupted_extraction_keeps_its_features(
    rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features computed before an interruption are kept for every view, and the next extraction computes the rest."""
    monkeypatch.setattr("cnncli.runtime.threads.workers", lambda: 1)  # so that tasks run in order

    class Interrupted(MeanEngine):
        def run(self, inputs: Any) -> list[np.ndarray]:
            if self.images >= 24:
                raise KeyboardInterrupt
            return super().run(inputs)

    store, engine = FeatureStore(tmp_path / "store"), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        extract(FeatureSet(Extraction((Trunk(engine, "mean"),), PIXELS, FLIPS), rows, 2), store, console)
    _, counts = extract(FeatureSet(Extraction((Trunk(MeanEngine(), "mean"),), PIXELS, FLIPS), rows, 2), store, console)

    assert 0 < counts.reused == engine.images < 48
    assert counts.computed + counts.reused == 48


def test_equal_images_are_computed_once(rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console) -> None:
    """The features of images that are listed several times are computed only once."""
    engine = MeanEngine()
    (features,), counts = extract(
        FeatureSet(Extraction((Trunk(engine, "mean"),), PIXELS), rows[:2] * 3),
        FeatureStore(tmp_path / "store"),
        console,
    )

    assert (engine.images, counts, len(features.rows_of)) == (2, Counts(2, 0), 6)


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "last"])
def test_one_of_identical_images_is_enough(
    rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console, is_first: bool
) -> None:
    """Features are computed from any copy whose file is there; if all are gone, each of them counts."""
    copy = replace(rows[0], file=str(tmp_path / "copy.png"))
    images = [rows[0], copy] if is_first else [copy, rows[0]]
    features, store = FeatureSet(Extraction((), PIXELS), images), FeatureStore(tmp_path / "store")
    require_cached([features], images, store)
    (stored,), _ = extract(features, store, console)
    rows[0].path.unlink()
    with pytest.raises(DataError) as caught:
        require_cached([features], [*images, rows[1]], FeatureStore(tmp_path / "empty"), "Or draw them.")

    assert len(stored.rows_of) == 2
    assert (caught.value.code, caught.value.facts["n"], caught.value.facts["total"]) == ("data-images-gone", 2, 3)


def test_an_empty_trunk_caches_the_pixels(rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console) -> None:
    """If the trunk is empty, the decoded pixels are cached."""
    (features,), _ = extract(FeatureSet(Extraction((), PIXELS), rows), FeatureStore(tmp_path / "store"), console)

    assert (features.rows(np.array([3]))[0][0] == decode(rows[3].path, PIXELS)).all()


def test_all_changed_and_missing_images_are_reported(
    rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console
) -> None:
    """Missing and changed images are reported together, and the features of all other images are kept."""
    rows[0].path.unlink()
    rows[1].path.write_bytes(rows[2].path.read_bytes())
    store = FeatureStore(tmp_path / "store")
    with pytest.raises(DataError) as caught:
        extract(FeatureSet(Extraction((Trunk(MeanEngine(), "mean"),), PIXELS), rows), store, console)

    assert [(problem.code, problem.facts["path"]) for problem in caught.value.problems] == [
        ("image-not-found", rows[0].path),
        ("image-changed", rows[1].path),
    ]
    assert FeatureSet(Extraction((Trunk(MeanEngine(), "mean"),), PIXELS), rows).missing(store) == 2


def test_a_missing_folder_is_one_problem(rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console) -> None:
    """If all images are missing, one problem is reported instead of one per image."""
    for row in rows:
        row.path.unlink()
    with pytest.raises(DataError) as caught:
        extract(
            FeatureSet(Extraction((Trunk(MeanEngine(), "mean"),), PIXELS), rows),
            FeatureStore(tmp_path / "store"),
            console,
        )

    assert caught.value.codes == ("image-all-missing",)
    assert (caught.value.facts["path"], caught.value.facts["received"]) == (rows[0].path, 24)


def test_large_features_are_written_in_several_segments(
    rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large features are divided into several segments, which are read as one."""
    monkeypatch.setattr("cnncli.features.extract.SEGMENT_BYTES", 60)
    store = FeatureStore(tmp_path / "store")
    extraction = Extraction((Trunk(MeanEngine(), "mean"),), PIXELS)
    (features,), _ = extract(FeatureSet(extraction, rows), store, console)

    (key,) = FeatureSet(extraction, rows).keys
    segments = [path for path in (tmp_path / "store" / key.name).iterdir() if path.is_dir()]
    assert len(segments) == 2
    assert len(features.rows(np.arange(24))[0]) == 24


@pytest.mark.parametrize("views", [1, 2, 3, 4, 6, 8, 12])
def test_requests_are_full_whatever_the_number_of_views(
    rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console, views: int
) -> None:
    """Requests are filled without padding for any number of views, if the total allows it."""
    engine = MeanEngine()
    extract(
        FeatureSet(Extraction((Trunk(engine, "mean"),), PIXELS, FLIPS), rows, views),
        FeatureStore(tmp_path / "store"),
        console,
    )

    assert (engine.images, engine.padding) == (24 * views, 0)


def test_only_missing_views_count_for_requests(rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console) -> None:
    """Only missing views count when requests are filled, so that no request is padded."""
    store, engine = FeatureStore(tmp_path / "store"), MeanEngine()
    extract(FeatureSet(Extraction((Trunk(MeanEngine(), "mean"),), PIXELS, FLIPS), rows), store, console)
    extract(FeatureSet(Extraction((Trunk(engine, "mean"),), PIXELS, FLIPS), rows, 4), store, console)

    assert (engine.images, engine.padding) == (72, 0)


@pytest.mark.parametrize("batch", [8, 16, 64])
def test_padding_is_at_most_a_sixth_for_any_number_of_views(batch: int) -> None:
    """At most a sixth of each task is padding, and a task has at most eight requests unless it is a single image."""
    engine = MeanEngine()
    engine.batch = batch
    for views in range(1, 4 * batch):
        images = Extraction((Trunk(engine, "mean"),), PIXELS).images_at_a_time(views)
        total = images * views

        assert -total % batch <= total / 6
        assert total <= 8 * batch or images == 1


def test_decoded_pixels_are_listed_without_a_network(
    rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console
) -> None:
    """Cached pixels are listed as `pixels`, and features under the name of their network."""
    with FeatureStore(tmp_path / "store") as store:
        extract(FeatureSet(Extraction((), PIXELS), rows), store, console)
        extract(FeatureSet(Extraction((Trunk(MeanEngine(), "mean", "VGG16"),), PIXELS), rows), store, console)

    assert {key.network for key in list_keys(tmp_path / "store")} == {"pixels", "VGG16"}


def test_only_mirror_images_are_computed_for_cached_images(
    rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console
) -> None:
    """Averaging over mirror images reuses cached features, caches those of the mirrors, and gives the mean of both."""
    store, engine = FeatureStore(tmp_path / "store"), LeftEngine()
    plain = FeatureSet(Extraction((Trunk(engine, "left"),), PIXELS), rows)
    averaged = FeatureSet(Extraction((Trunk(engine, "left"),), PIXELS, tta="flip"), rows)
    extract(plain, store, console)

    assert extract(averaged, store, console)[1] == Counts(24, 24)
    (stored,), counts = extract(averaged, store, console)
    assert counts == Counts(0, 48)
    pixels = np.stack([decode(row.path, PIXELS) for row in rows])
    halves = (pixels[:, :, :16].mean(axis=(1, 2)) + pixels[:, :, 16:].mean(axis=(1, 2))) / 2
    np.testing.assert_allclose(stored.rows(np.arange(24))[0], halves, rtol=1e-5)
    np.testing.assert_array_equal(averaged.extraction.run(pixels)[0], stored.rows(np.arange(24))[0])
    assert stored.checksum() != extract(plain, store, console)[0][0].checksum()


def test_every_view_has_its_own_mirror_image(rows: tuple[ImageRecord, ...], tmp_path: Path, console: Console) -> None:
    """With augmentation, each rendered view is averaged with its own mirror image."""
    extraction = Extraction((Trunk(LeftEngine(), "left"),), PIXELS, FLIPS, tta="flip")
    views, counts = extract(FeatureSet(extraction, rows, 2), FeatureStore(tmp_path / "store"), console)

    assert counts == Counts(96, 0)
    pixels = render_view(decode(rows[3].path, PIXELS), FLIPS, rows[3].digest, 1)
    halves = (pixels[:, :16].mean(axis=(0, 1)) + pixels[:, 16:].mean(axis=(0, 1))) / 2
    np.testing.assert_allclose(views[1].rows(np.array([3]))[0][0], halves, rtol=1e-5)
