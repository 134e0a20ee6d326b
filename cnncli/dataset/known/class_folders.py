"""Datasets that come as class folders, such as TensorFlow's flower photos."""

from __future__ import annotations

from pathlib import PurePosixPath

from cnncli.catalogue.datasets import DatasetInfo
from cnncli.dataset.known.images import KnownImage
from cnncli.dataset.known.sources import Files
from cnncli.dataset.labels.folders import split_named
from cnncli.storage.image_names import is_image_name


def read(files: Files, info: DatasetInfo) -> list[KnownImage]:
    """Return the images whose folder is named like a class, in the split that the folder above is named like."""
    images = []
    for source in sorted(files):
        *folders, name = PurePosixPath(source).parts
        if folders and folders[-1] in info.classes and is_image_name(name):
            split = split_named(folders[-2]) if len(folders) > 1 else None
            images.append(KnownImage(source, folders[-1], split, name))
    return images
