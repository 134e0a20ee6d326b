"""`cnncli embed` and `cnncli similar`: the features of a run's images, a map of them, and the nearest images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.config.reader import cache_settings, load_resolved
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import LABEL_SEPARATOR, ImageRecord
from cnncli.errors import DataError, ImageError, Message, RunError, printable
from cnncli.explanation.projection import Method, project
from cnncli.features.extract import Extraction
from cnncli.images.decode import PixelSpec, decode
from cnncli.inference.embeddings import Vectors, embedding_of
from cnncli.report.contact_sheet import SheetRow, draw_contact_sheet
from cnncli.report.embedding_map import MapPoint, draw_embedding_map
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.storage.atomic import output_path, replacing
from cnncli.storage.tables import import_parquet
from cnncli.terminal.console import Console

Split = Literal["train", "validation", "test", "all"]
SUFFIXES = (".npz", ".parquet")
NAMES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
LEAST_IMAGES = 3
"""Minimum number of images of a map."""


@dataclass(frozen=True)
class Embedded:
    """The features of images of a run.

    Attributes:
        rows: The images.
        vectors: float32 (n, features).
        source: What the features are, as network and layer.
    """

    run: RunFolder
    config: Config
    rows: tuple[ImageRecord, ...]
    vectors: Vectors
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `embed --json`."""
        return {
            "run": str(self.run),
            "features": self.source,
            "n": len(self.rows),
            "size": self.vectors.shape[1],
        }

    def write(self, path: Path) -> Path:
        """Write the features with path, label and split of each image as .npz or .parquet, and return the path.

        Raises:
            CnncliError: The name ends otherwise, its folder does not exist, or pyarrow is missing.
        """
        path = output_path(path, SUFFIXES)
        if path.suffix.lower() == ".parquet":
            import_parquet(path)
        columns = {
            "path": [row.file for row in self.rows],
            "label": [LABEL_SEPARATOR.join(row.labels) for row in self.rows],
            "split": [row.split for row in self.rows],
            "digest": [row.digest for row in self.rows],
        }
        with replacing(path) as temporary:
            if path.suffix.lower() == ".npz":
                arrays = {name: np.array(cells) for name, cells in columns.items()}
                np.savez(temporary, allow_pickle=False, features=self.vectors, **arrays)
            else:
                _write_parquet(temporary, columns, self.vectors)
        return path


def _write_parquet(path: Path, columns: dict[str, list[str]], vectors: Vectors) -> None:
    pyarrow, parquet = import_parquet(path)
    values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), vectors.shape[1])
    parquet.write_table(pyarrow.table({**columns, "features": values}), path)


def embed(run: RunFolder, console: Console, split: Split = "all") -> Embedded:
    """Return the features of the images of a finished run: those of its frozen layers, averaged over places.

    Features that are cached need neither TensorFlow nor the images.

    Raises:
        DataError: Images are missing or have changed, and their features are not cached.
        RunError: The run is unfinished or damaged, or has no such split.
    """
    require_finished(run)
    config, manifest = load_resolved(run.config), Manifest.from_csv(run.manifest)
    config = config.model_copy(update={"cache": cache_settings(config.cache)})
    rows = tuple(row for row in manifest.rows if split in ("all", row.split))
    if not rows:
        splits = list(manifest.counts())
        text = f"{printable(run.path)}: the dataset has no {split} split, only {', '.join(splits)}."
        raise RunError(Message("run-split-missing", text, path=run.path, received=split, expected=splits))
    with embedding_of(run, config) as embedding:
        vectors = embedding.of_rows(rows, console)
        return Embedded(run, config, rows, vectors, _source(embedding.extraction))


def _source(extraction: Extraction) -> str:
    return " + ".join(f"{trunk.network or 'network'} up to {trunk.cut or 'the cut'}" for trunk in extraction.trunks)


def _decoded(row: ImageRecord, spec: PixelSpec) -> NDArray[np.uint8] | None:
    try:
        return decode(row.path, spec)
    except ImageError:  # features may be cached although the image was deleted
        return None


def draw_map(embedded: Embedded, method: Method, path: Path) -> Path:
    """Draw the images of a run on a plane, so that images with similar features are close, and return the path.

    Raises:
        CnncliError: The path is not that of a PNG, UMAP is not installed, or there are too few images.
    """
    path, rows = output_path(path, (".png",)), embedded.rows
    if (n := len(rows)) < LEAST_IMAGES:
        text = f"{printable(embedded.run.path)}: {n} images are too few for a map; at least {LEAST_IMAGES} are needed."
        raise DataError(Message("data-too-few-for-map", text, received=n, expected=LEAST_IMAGES))
    places = project(embedded.vectors, method, embedded.config.seed)
    data = embedded.config.data
    spec = data.pixel_spec_of(64, 64, "crop")

    points = [MapPoint(x, y, row.labels[0] if row.labels else "") for (x, y), row in zip(places, rows, strict=True)]
    title = f"{printable(embedded.run.path.name)}: {len(rows):,} images by {NAMES[method]}"
    source = f"features of {embedded.source}"
    draw_embedding_map(points, lambda number: _decoded(rows[number], spec), title, source, path)
    return path


@dataclass(frozen=True)
class Neighbor:
    """An image of a run that resembles another one. `similarity` is the cosine of their centered features, -1 to 1."""

    row: ImageRecord
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `similar --json`."""
        label = LABEL_SEPARATOR.join(self.row.labels)
        return {"path": self.row.file, "label": label, "split": self.row.split, "similarity": self.similarity}


@dataclass(frozen=True)
class Neighbors:
    """An image, its decoded pixels, and the images of a run that are nearest to it, the nearest first."""

    path: Path
    pixels: NDArray[np.uint8]
    nearest: tuple[Neighbor, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `similar --json`."""
        return {"path": str(self.path), "similar": [one.to_dict() for one in self.nearest]}


def find_similar(
    run: RunFolder, images: Sequence[Path], console: Console, top: int = 8, split: Split = "train"
) -> tuple[Neighbors, ...]:
    """Return the images of a finished run that are nearest to some images, by the cosine of their centered features.

    Raises:
        ImageError: An image cannot be used.
        DataError: Images of the run are missing or have changed, and their features are not cached.
        RunError: The run is unfinished or damaged, or has no such split.
    """
    embedded = embed(run, console, split)
    with embedding_of(run, embedded.config) as embedding:
        pixels = np.stack([decode(image, embedding.extraction.pixels) for image in images])
        vectors = embedding.of_pixels(pixels)
    mean = embedded.vectors.mean(axis=0)
    cosines = _unit(vectors - mean) @ _unit(embedded.vectors - mean).T
    found = []
    for path, image, row in zip(images, pixels, cosines, strict=True):
        order = np.argsort(-row, kind="stable")[:top]
        nearest = tuple(Neighbor(embedded.rows[n], round(float(row[n].clip(-1, 1)), 6)) for n in order)
        found.append(Neighbors(path, image, nearest))
    return tuple(found)


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def draw_similar(run: RunFolder, found: Sequence[Neighbors], path: Path) -> Path:
    """Draw each image, and next to it its nearest images with similarity and class, as a PNG; return the path.

    The tiles of images that can no longer be decoded are empty.
    """
    path, data = output_path(path, (".png",)), load_resolved(run.config).data
    rows = []
    for one in found:
        height, width, _ = one.pixels.shape
        spec, empty = data.pixel_spec((height, width)), np.full((height, width, 3), 255, np.uint8)
        decoded = [_decoded(neighbor.row, spec) for neighbor in one.nearest]
        images = [one.pixels, *(empty if pixels is None else pixels for pixels in decoded)]
        captions = [f"{neighbor.similarity:.3f} {printable(neighbor.row.label)}" for neighbor in one.nearest]
        rows.append(SheetRow(printable(one.path.name), "", images, ("", *captions)))
    columns = ("image", *(f"{n}" for n in range(1, len(found[0].nearest) + 1)))
    draw_contact_sheet(
        rows, columns, "Most similar images", f"by the features of {run.path.name}: similarity (−1 to 1), class", path
    )
    return path
