"""Evaluation gives the same metrics with and without cached features."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.build import manifest_of_folder
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.errors import DataError
from cnncli.features.extract import Counts, FeatureSet
from cnncli.features.store import FeatureStore
from cnncli.inference.evaluate_rows import compute_outputs, evaluate_manifest, extraction_of
from cnncli.inference.predictor import Predictor, load_predictor
from cnncli.metrics.classification import Metrics
from cnncli.recipes.train import train
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 6, 3, 50)


@pytest.fixture(scope="module", params=["feature-extraction", pytest.param("from-scratch", marks=pytest.mark.slow)])
def predictor(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Return the predictor of a run with a trunk, and of one without."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        run = train(tiny_config(data, mode=request.param, training={"epochs": 1}), folder / "runs", CONSOLE).folder
    return load_predictor(run.engine, run.model)


def _tested(folder: Path) -> tuple[Manifest, tuple[ImageRecord, ...]]:
    manifest = manifest_of_folder(DataConfig(path=folder), ("dots", "stripes"))
    return manifest, manifest.split("test")


def _evaluate(
    predictor: Predictor, manifest: Manifest, rows: tuple[ImageRecord, ...], *cache: Any, **options: Any
) -> tuple[Metrics, Counts]:
    outputs, counts = compute_outputs(predictor, rows, *cache, networks=["net"], **options)
    return evaluate_manifest(predictor.spec, manifest, rows, outputs.logits), counts


def test_metrics_are_the_same_if_features_do_not_fit(predictor: Predictor, data: Path, tmp_path: Path) -> None:
    """If features do not fit into the cache, images are evaluated without storing or counting features."""
    manifest, rows = _tested(data)
    kept, counts = _evaluate(predictor, manifest, rows, FeatureStore(tmp_path / "large"), CONSOLE)
    err = io.StringIO()
    small = FeatureStore(tmp_path / "small", max_bytes=0)
    streamed, none = _evaluate(predictor, manifest, rows, small, Console(err, live=False))

    assert streamed == kept
    assert (counts, none) == (Counts(100, 0), Counts(0, 0))
    assert err.getvalue().startswith("evaluating: 100 images in ")
    assert not (tmp_path / "small").exists()


def test_cached_features_are_used_in_a_full_cache(predictor: Predictor, data: Path, tmp_path: Path) -> None:
    """Cached features are used even if the cache is full."""
    manifest, rows = _tested(data)
    _evaluate(predictor, manifest, rows, FeatureStore(tmp_path), CONSOLE)

    store = FeatureStore(tmp_path, max_bytes=0)

    assert _evaluate(predictor, manifest, rows, store, CONSOLE)[1] == Counts(0, 100)


def test_only_images_without_cached_features_are_read(predictor: Predictor, data: Path, tmp_path: Path) -> None:
    """If not all features fit, those in the cache are used, so that the files of their images can be gone."""
    manifest, rows = _tested(Path(shutil.copytree(data, tmp_path / "data")))
    expected, _ = _evaluate(predictor, manifest, rows, FeatureStore(tmp_path / "all"), CONSOLE)
    _evaluate(predictor, manifest, rows[::2], FeatureStore(tmp_path / "half"), CONSOLE)
    for row in rows[::2]:
        row.path.unlink()
    found = _evaluate(predictor, manifest, rows, FeatureStore(tmp_path / "half", max_bytes=0), CONSOLE)

    assert found == (expected, Counts(0, 50))


def test_features_that_do_not_fit_are_not_stored(predictor: Predictor, data: Path, tmp_path: Path) -> None:
    """Features are stored only if storing is allowed and they fit into the cache together with those in use."""
    manifest, rows = _tested(data)
    features = FeatureSet(extraction_of(predictor), rows)
    store = FeatureStore(tmp_path, features.size_bytes())
    in_use = [FeatureSet(features.extraction, manifest.split("test")[:1])]

    assert _evaluate(predictor, manifest, rows, store, CONSOLE, in_use=in_use)[1] == Counts()
    assert _evaluate(predictor, manifest, rows, store, CONSOLE, may_store=False)[1] == Counts()
    assert _evaluate(predictor, manifest, rows, store, CONSOLE)[1] == Counts(100, 0)


@pytest.mark.parametrize("max_bytes", [0, None], ids=["streamed", "stored"])
def test_all_images_that_cannot_be_evaluated_are_named(
    predictor: Predictor, data: Path, tmp_path: Path, max_bytes: int | None
) -> None:
    """One error names all missing and changed images, whether features are stored or not."""
    manifest, rows = _tested(Path(shutil.copytree(data, tmp_path / "data")))
    rows[0].path.unlink()
    rows[-1].path.write_bytes(b"other")
    with pytest.raises(DataError) as caught:
        _evaluate(predictor, manifest, rows, FeatureStore(tmp_path / "store", max_bytes), CONSOLE)

    assert caught.value.codes == ("image-not-found", "image-changed")
    assert [problem.facts["path"] for problem in caught.value.problems] == [rows[0].path, rows[-1].path]
