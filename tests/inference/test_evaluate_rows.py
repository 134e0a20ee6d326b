"""Scoring gives the same figures whether features are stored or not."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from cnncli.dataset.build import manifest_of_folder
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.errors import DataError
from cnncli.features.extract import Counts, Extraction, Wanted
from cnncli.features.store import FeatureStore
from cnncli.inference.evaluate_rows import score_rows
from cnncli.inference.predictor import Scorer, load_scorer
from cnncli.recipes.train import train
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 6, 3, 50)


@pytest.fixture(scope="module", params=["feature-extraction", "from-scratch"])
def scorer(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """Of a run with a trunk, and of one without."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        run = train(tiny_config(data, mode=request.param, training={"epochs": 1}), folder / "runs", CONSOLE).folder
    return load_scorer(run.engine, run.model)


def _tested(folder: Path) -> tuple[Manifest, tuple[ImageRecord, ...]]:
    manifest = manifest_of_folder(folder, ("dots", "stripes"))
    return manifest, manifest.split("test")


def test_figures_are_the_same_where_features_do_not_fit(scorer: Scorer, data: Path, tmp_path: Path) -> None:
    """Nothing is stored then, and nothing counted; more than one part of the images was scored."""
    manifest, rows = _tested(data)
    kept, counts = score_rows(scorer, manifest, rows, FeatureStore(tmp_path / "large"), CONSOLE, "net")
    said = io.StringIO()
    small = FeatureStore(tmp_path / "small", max_bytes=0)
    streamed, none = score_rows(scorer, manifest, rows, small, Console(said, live=False), "net")

    assert streamed == kept
    assert (counts, none) == (Counts(100, 0), Counts(0, 0))
    assert said.getvalue().startswith("scoring: 100 images in ")
    assert not (tmp_path / "small").exists()


def test_stored_features_are_used_in_a_store_without_room(scorer: Scorer, data: Path, tmp_path: Path) -> None:
    """Reading takes none."""
    manifest, rows = _tested(data)
    score_rows(scorer, manifest, rows, FeatureStore(tmp_path), CONSOLE, "net")

    assert score_rows(scorer, manifest, rows, FeatureStore(tmp_path, max_bytes=0), CONSOLE, "net")[1] == Counts(0, 100)


def test_features_that_fit_beside_others_alone_are_not_stored(scorer: Scorer, data: Path, tmp_path: Path) -> None:
    """What is in use stays, so both have to fit; nor is anything stored where it may not be."""
    manifest, rows = _tested(data)
    wanted = Wanted(Extraction(scorer.trunk, scorer.recipe.trunk, scorer.recipe.pixels), [row.digest for row in rows])
    store = FeatureStore(tmp_path, wanted.size_bytes())
    beside = [Wanted(wanted.extraction, ["0" * 64])]

    assert score_rows(scorer, manifest, rows, store, CONSOLE, "net", beside)[1] == Counts()
    assert score_rows(scorer, manifest, rows, store, CONSOLE, "net", may_store=False)[1] == Counts()
    assert score_rows(scorer, manifest, rows, store, CONSOLE, "net")[1] == Counts(100, 0)


@pytest.mark.parametrize("max_bytes", [0, None], ids=["streamed", "stored"])
def test_all_images_that_cannot_be_scored_are_named(
    scorer: Scorer, data: Path, tmp_path: Path, max_bytes: int | None
) -> None:
    """Together, whether features are stored or not."""
    manifest, rows = _tested(Path(shutil.copytree(data, tmp_path / "data")))
    rows[0].path.unlink()
    rows[-1].path.write_bytes(b"other")
    with pytest.raises(DataError) as caught:
        score_rows(scorer, manifest, rows, FeatureStore(tmp_path / "store", max_bytes), CONSOLE, "net")

    assert caught.value.problems == (
        f"{rows[0].path}: No such file or directory",
        f"{rows[-1].path}: changed since it was indexed. Start again.",
    )
